"""Asks the manager for its page of metrics, over its control socket."""

from __future__ import annotations

import http.client
from typing import Final

from gearman_process.http.unix_connection import UnixConnection

TIMEOUT_S: Final = 20.0
MAX_BYTES: Final = 64 << 20


class NoPage(Exception):
    """The manager gave no page of metrics; the text says why."""


def metrics_page(control_socket: str) -> str:
    """The page of `/metrics`.

    Raises:
        NoPage: the manager does not answer, or refuses.
    """
    connection = UnixConnection(control_socket, TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        page = answer.read(MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise NoPage(f"the manager does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise NoPage(f"the manager answers {answer.status}")
    return page.decode(errors="replace")
