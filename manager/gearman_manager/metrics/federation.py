"""Fetches the metrics of the bundled job servers, which have them on a port of their own (`server.metrics_listen`).

The servers label and bound their series themselves, so the text need not be looked into. One that does not answer in
time is left out, and a metric says so.
"""

from __future__ import annotations

import http.client
import logging
import socket
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import gevent
import gevent.socket
from gevent.lock import BoundedSemaphore

from gearman_client import Address
from gearman_manager.config import reachable
from gearman_manager.job_servers.bundled import BundledServer
from gearman_manager.job_servers.job_servers import JobServers

_log = logging.getLogger("metrics")
TIMEOUT_S: Final = 2.0
MAX_BYTES: Final = 32 * 1024 * 1024
_READ_BYTES: Final = 256 * 1024
_WAKE_BYTES: Final = 64 * 1024


class Federation:
    """Asks the servers at each scrape, all at once; of several scrapes one at a time."""

    def __init__(self, job_servers: JobServers, most_functions: int) -> None:
        self._job_servers = job_servers
        self._most_functions = most_functions
        self._turn = BoundedSemaphore()
        self._silent: set[Address] = set()

    def pages(self, accept: str) -> Mapping[Address, bytes | None]:
        """The page of each bundled server that has metrics, in the wished format; None of one that does not answer."""
        with self._turn:
            instances = [each for each in self._job_servers.instances if each.listens.metrics is not None]
            fetches = [gevent.spawn(self._page, instance, accept) for instance in instances]
            gevent.joinall(fetches)
            return {instance.address: fetch.value for instance, fetch in zip(instances, fetches, strict=True)}

    def _page(self, instance: BundledServer, accept: str) -> bytes | None:
        address, metrics = instance.address, instance.listens.metrics
        assert metrics is not None
        query = urlencode({"functions": self._most_functions, "server": str(address)})
        try:
            with gevent.Timeout(TIMEOUT_S, TimeoutError(f"no answer within {TIMEOUT_S:g} s")):
                page = _get(reachable(metrics), f"/metrics?{query}", accept)
        except (OSError, http.client.HTTPException) as error:
            if address not in self._silent:  # of failures in a row only the first is logged
                _log.warning("no metrics of %s: %s", instance.title, str(error) or type(error).__name__)
            self._silent.add(address)
            return None
        self._silent.discard(address)
        return page


class _Connection(http.client.HTTPConnection):
    """A connection that lets other greenlets run while it waits."""

    def connect(self) -> None:
        self.sock: Any = gevent.socket.create_connection((self.host, self.port))
        # The page comes in many small pieces, and each would wake us. The end of the connection does too.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _WAKE_BYTES)


def _get(address: Address, resource: str, accept: str) -> bytes:
    """The body of an answer.

    Raises:
        OSError, HTTPException: there is none, or it is too large.
    """
    connection = _Connection(address.host, address.port)
    try:
        connection.request("GET", resource, headers={"Accept": accept, "Connection": "close"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError(f"it answers {answer.status} {answer.reason}")
        pieces, size_bytes = [], 0
        while piece := answer.read(_READ_BYTES):
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes > MAX_BYTES:
                raise OSError(f"its page has more than {MAX_BYTES} bytes")
        return b"".join(pieces)
    finally:
        connection.close()
