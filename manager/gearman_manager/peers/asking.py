"""Asks a peer for its summary: one request over HTTP, bounded in time and size, that holds up no other greenlet."""

from __future__ import annotations

from typing import Final, Protocol
from urllib.parse import urlsplit

import gevent
import h11

from gearman_client import Address, GearmanError
from gearman_client.tls import Tls
from gearman_manager.control.turns import Turns
from gearman_manager.errors import ManagerError
from gearman_manager.job_servers.connection import connect_to
from gearman_manager.peers.summary import Summary, read_summary

#: For all of it, from the look-up of the name to the last byte.
TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 256 * 1024
_MAX_HEAD_BYTES: Final = 16 * 1024
_READ_BYTES: Final = 16 * 1024
SUMMARY: Final = "/api/v1/summary"
_PORTS: Final = {"http": 80, "https": 443}


class NoAnswer(ManagerError):
    """A peer did not tell of itself; the text says why."""


class _Stream(Protocol):
    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


def ask(url: str, token: str, ca_file: str | None, timeout_s: float = TIMEOUT_S) -> Summary:
    """The summary of the manager at this address. `ca_file` names certificates that may sign the peer's; None: the
    system's.

    Raises:
        NoAnswer: there is none, or no proper one.
    """
    try:
        with gevent.Timeout(timeout_s, NoAnswer(f"no answer within {timeout_s:g} s")):
            return read_summary(_get(url, token, ca_file))
    except (OSError, GearmanError) as error:
        raise NoAnswer(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error
    except h11.ProtocolError as error:
        raise NoAnswer(f"it speaks no proper HTTP: {error}") from error
    except ValueError as error:
        raise NoAnswer(f"its answer is no summary of a manager: {error}") from error


def _get(url: str, token: str, ca_file: str | None) -> bytes:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    address = Address(host, port, Tls(ca_file) if parts.scheme == "https" else None)
    stream: _Stream = connect_to(address, TIMEOUT_S)
    try:
        return _exchange(stream, parts.netloc, parts.path.rstrip("/") + SUMMARY, token)
    finally:
        stream.close()


def _exchange(stream: _Stream, host: str, path: str, token: str) -> bytes:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
    headers = {
        "Host": host,
        "Authorization": f"Bearer {token}",
        "Accept": "application/json",
        "User-Agent": "gearman-manager",
        "Connection": "close",
    }
    request = h11.Request(method="GET", target=path, headers=list(headers.items()))
    stream.sendall((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    body, size, turns = [], 0, Turns()
    while True:
        turns.others()  # of what is there already a peer can make very many small events
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = stream.recv(_READ_BYTES)
            size += len(data)
            if size > MAX_BYTES:
                raise NoAnswer(f"its answer has more than {MAX_BYTES} bytes")
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            _check(event)
        elif isinstance(event, h11.Data):
            body.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            return b"".join(body)
        elif not isinstance(event, h11.InformationalResponse):
            raise NoAnswer("it ends the connection")


def _check(answer: h11.Response) -> None:
    status = answer.status_code
    if status == 401:
        raise NoAnswer("it refuses the token (401): its read_token_file has the one for us")
    if status == 403:
        raise NoAnswer("it refuses the request (403): its control.hosts may lack this name")
    if 300 <= status < 400:
        raise NoAnswer(f"it redirects ({status}), which is not followed: name the address to which it leads")
    if status != 200:
        raise NoAnswer(f"it answers {status}, so it may be no manager, or one of another version")
    kind = dict(answer.headers).get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise NoAnswer("it answers, but not with JSON: the address may be that of something else")
