"""What waits on the job servers: one greenlet a server asks it for its `status`, so a stalled one stalls nobody.

Asks every 100 ms while something is queued, every second otherwise. Each connection is named `gm:MANAGER`, by which
managers on the same servers count each other.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import gevent
import gevent.event
import gevent.socket

from gearman_client import Address, GearmanError
from gearman_client.admin import AdminClient
from gearman_client.admin_tables import FunctionStatus

_log = logging.getLogger("queues")
BUSY_INTERVAL_S: Final = 0.1
IDLE_INTERVAL_S: Final = 1.0
CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 2.0
MAX_RETRY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class FunctionQueue:
    """A function over all job servers."""

    queued: int = 0
    running: int = 0
    workers: int = 0  # the largest count of any one server: each worker registers with every server


class ServerWatch:
    """One job server's queues, as last heard."""

    def __init__(self, address: Address, client_id: str, changed: Callable[[], None]) -> None:
        self.address = address
        self.up = False
        self.since = 0.0  # wall-clock time of the last change between up and down
        self.functions: Mapping[str, FunctionStatus] = {}
        self._client_id = client_id
        self._changed = changed
        self._ask_now = gevent.event.Event()
        self._greenlet = gevent.spawn(self._run)

    def ask_now(self) -> None:
        """Don't wait for the next interval."""
        self._ask_now.set()

    def close(self) -> None:
        """Stop asking."""
        self._greenlet.kill()

    def _run(self) -> None:
        retry_s = BUSY_INTERVAL_S
        while True:
            try:
                sock = gevent.socket.create_connection((self.address.host, self.address.port), CONNECT_TIMEOUT_S)
                with sock:
                    sock.settimeout(ANSWER_TIMEOUT_S)
                    admin = AdminClient(sock)
                    admin.set_client_id(self._client_id)
                    retry_s = BUSY_INTERVAL_S
                    self._ask(admin)
            except (OSError, GearmanError) as error:
                self._set_up(False, str(error))
            self._pause(retry_s)
            retry_s = min(retry_s * 2, MAX_RETRY_S)

    def _ask(self, admin: AdminClient) -> None:
        while True:
            functions = {entry.function: entry for entry in admin.status()}
            self._set_up(True, "")
            if functions != self.functions:
                self.functions = functions
                self._changed()
            queued = any(entry.total > entry.running for entry in functions.values())
            self._pause(BUSY_INTERVAL_S if queued else IDLE_INTERVAL_S)

    def _pause(self, seconds: float) -> None:
        self._ask_now.wait(seconds)
        self._ask_now.clear()

    def _set_up(self, up: bool, reason: str) -> None:
        if self.since and up == self.up:
            return
        self.up = up
        self.since = gevent.get_hub().loop.now()
        if up:
            _log.info("job server %s answers", self.address)
        else:
            _log.warning("job server %s can't be reached: %s; the pools keep their sizes", self.address, reason)
        self._changed()


class Queues:
    """All job servers together."""

    def __init__(self, addresses: Sequence[Address], client_id: str, changed: Callable[[], None]) -> None:
        self.servers = [ServerWatch(address, client_id, changed) for address in addresses]

    def close(self) -> None:
        """Stop asking all of them."""
        for server in self.servers:
            server.close()

    def ask_now(self) -> None:
        """Ask all of them at once."""
        for server in self.servers:
            server.ask_now()

    @property
    def reachable(self) -> bool:
        """Every server answers: only then do the sums say how much work there is."""
        return all(server.up for server in self.servers)

    def of(self, function: str) -> FunctionQueue:
        """One function, summed over the servers that answer."""
        entries = [server.functions[function] for server in self.servers if server.up and function in server.functions]
        return FunctionQueue(
            queued=sum(entry.total - entry.running for entry in entries),
            running=sum(entry.running for entry in entries),
            workers=max((entry.workers for entry in entries), default=0),
        )
