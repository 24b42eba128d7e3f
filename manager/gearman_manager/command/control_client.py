"""The command line's client of a running manager: HTTP over its control socket, with the standard library."""

from __future__ import annotations

import http.client
import json
import os
import select
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from gearman_manager.errors import ManagerError, NotFound
from gearman_process.http.unix_connection import UnixConnection

TIMEOUT_S: Final = 10.0
#: Before the path of each resource.
API: Final = "/api/v1"


class NotRunning(ManagerError):
    """No manager answers on the control socket."""


def request(path: Path, method: str, resource: str, body: object = None, timeout_s: float = TIMEOUT_S) -> Any:
    """Ask the manager behind a control socket; returns its decoded JSON answer.

    Raises:
        NotRunning: no process listens there.
        NotFound: the manager answers that there is no such thing.
        ManagerError: no permission, no answer in time, or the manager refused.
    """
    connection = UnixConnection(path, timeout_s)
    try:
        response = _send(connection, path, method, resource, body)
        try:
            answer = json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ManagerError(f"the manager's answer on {path} is cut off: {error}") from error
    finally:
        connection.close()
    if response.status >= 400:
        kind = NotFound if response.status == HTTPStatus.NOT_FOUND else ManagerError
        raise kind(str(answer.get("detail", answer)))
    return answer


def stream(path: Path, resource: str, silence_s: float | None = None) -> Iterator[str]:
    """The lines of an answer as they arrive, until the manager ends. The next line may take any time, or `silence_s`.

    Raises:
        NotRunning, ManagerError: as `request`; or no line came within `silence_s`.
    """
    connection = UnixConnection(path, TIMEOUT_S)
    try:
        response = _send(connection, path, "GET", resource, None)
        if response.status >= 400:
            raise ManagerError(str(json.loads(response.read())["detail"]))
        if connection.sock is not None:
            connection.sock.settimeout(silence_s)
        for line in response:
            yield line.decode(errors="replace").rstrip("\n")
    except TimeoutError as error:
        raise ManagerError(f"the manager has said nothing on {path} for {silence_s:g} s") from error
    except (ConnectionError, http.client.HTTPException):
        return
    finally:
        connection.close()


def _send(connection: UnixConnection, path: Path, method: str, resource: str, body: object) -> http.client.HTTPResponse:
    content = None if body is None else json.dumps(body)
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, API + resource, content, headers)
        return connection.getresponse()
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotRunning(f"no manager runs with this configuration (nobody listens on {path})") from error
    except PermissionError as error:
        raise ManagerError(f"{path} belongs to another user: ask as the user who runs the manager") from error
    except (OSError, http.client.HTTPException) as error:
        raise ManagerError(f"the manager does not answer on {path}: {error}") from error


def wait_until_gone(pid: int, timeout_s: float) -> bool:
    """Wait for the end of a process that is not our child; returns False if it still lives."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], timeout_s)[0])
    finally:
        os.close(pidfd)
