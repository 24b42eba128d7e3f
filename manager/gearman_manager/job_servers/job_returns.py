"""Gives jobs back that a worker has fetched and not begun, and hears when an idle worker could do them.

Only for pools with `prefetch`: one connection to each of their job servers, beside the one that follows the queues.
A server that does not know our extension gives its workers one job at a time, so there is never one to give back.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import gevent
import gevent.select

from gearman_client import Address, GearmanError
from gearman_client.errors import ConnectionLost
from gearman_client.extensions import HELD_JOBS_OPTION, JOBS_HELD, JOBS_HELD_ARGUMENTS, RETURN_JOBS
from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request
from gearman_client.text import to_argument, to_text
from gearman_manager.job_servers.connection import connect_to

_log = logging.getLogger("returns")
CONNECT_TIMEOUT_S: Final = 2.0
FIRST_RETRY_S: Final = 0.1
MAX_RETRY_S: Final = 2.0
#: Without a connection only the newest packets are kept.
MAX_UNSENT: Final = 1000
_RECEIVE_BYTES: Final = 64 * 1024
_MAX_BODY_BYTES: Final = 64 * 1024

#: Takes the client id of a worker that holds jobs which an idle worker could do.
Held = Callable[[str], None]


class JobReturns:
    """The connections to all servers from which a worker fetches jobs ahead; each lives as long as one needs it."""

    def __init__(self, client_id: str, held: Held) -> None:
        self._client_id = client_id
        self._held = held
        self._connections: dict[Address, ReturnConnection] = {}
        self._users: dict[Address, int] = {}

    def begin(self, servers: Iterable[Address]) -> None:
        """A worker that fetches jobs from these servers is about to start."""
        for address in servers:
            self._users[address] = self._users.get(address, 0) + 1
            if address not in self._connections:
                self._connections[address] = ReturnConnection(address, self._client_id, self._held)

    def end(self, servers: Iterable[Address]) -> None:
        """Such a worker is gone."""
        for address in servers:
            self._users[address] -= 1
            if not self._users[address]:
                del self._users[address]
                self._connections.pop(address).close()

    def give_back(self, server: Address, key: bytes, handles: Sequence[bytes]) -> None:
        """Give these jobs of a worker's set back, as soon as the server takes it. `key` is that of the set."""
        connection = self._connections.get(server)
        if connection is not None:
            connection.send(encode_request(RETURN_JOBS, key, *handles))


class ReturnConnection:
    """The connection to one server, opened again whenever it is lost."""

    def __init__(self, address: Address, client_id: str, held: Held) -> None:
        self._address = address
        self._client_id = client_id
        self._held = held
        self._unsent: list[bytes] = []
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._greenlet = gevent.spawn(self._run)
        self._greenlet.link(lambda _greenlet: os.close(self._wake))

    def send(self, packet: bytes) -> None:
        """Send the packet, in another greenlet, once there is a connection. What comes too late does no harm: the
        server knows by the set's key."""
        del self._unsent[: -MAX_UNSENT + 1]
        self._unsent.append(packet)
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """End it; this may be called in the hub."""
        self._greenlet.kill(block=False)

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                with contextlib.closing(connect_to(self._address, CONNECT_TIMEOUT_S)) as sock:
                    self._greet(sock)
                    retry_s = FIRST_RETRY_S
                    self._converse(sock)
            except (OSError, GearmanError) as error:
                _log.debug("job server %s: %s", self._address, error)
            gevent.sleep(retry_s)
            retry_s = min(retry_s * 2, MAX_RETRY_S)

    def _greet(self, sock: Any) -> None:
        identified = encode_request(PacketType.SET_CLIENT_ID, to_argument(self._client_id, "client id"))
        sock.sendall(identified + encode_request(PacketType.OPTION_REQ, HELD_JOBS_OPTION))

    def _converse(self, sock: Any) -> None:
        """Send and listen until the connection is lost."""
        parser = PacketParser(RESPONSE_MAGIC, max_body_bytes=_MAX_BODY_BYTES)
        while True:
            ready, _, _ = gevent.select.select([sock, self._wake], [], [])
            if self._wake in ready:
                os.eventfd_read(self._wake)
                self._send_unsent(sock)
            if sock in ready:
                data = sock.recv(_RECEIVE_BYTES)
                if not data:
                    raise ConnectionLost("closed by the job server")
                for packet_type, body in parser.feed(data):
                    self._hear(packet_type, body)
                if parser.violation is not None:
                    raise parser.violation

    def _send_unsent(self, sock: Any) -> None:
        packets, self._unsent = self._unsent, []
        try:
            sock.sendall(b"".join(packets))
        except OSError:
            self._unsent[:0] = packets  # for the next connection: the worker may be in a job that takes long
            os.eventfd_write(self._wake, 1)
            raise

    def _hear(self, packet_type: int, body: bytes) -> None:
        """Everything else is an answer to the option, or the refusal of one that it does not know."""
        arguments = body.split(b"\0")
        if packet_type == JOBS_HELD and len(arguments) == JOBS_HELD_ARGUMENTS:
            self._held(to_text(arguments[0]))
