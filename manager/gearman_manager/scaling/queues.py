"""What waits on the job servers, and who works there: one greenlet a server, so a stalled one stalls nobody.

What is said is `queue_dialogue`'s business; here are the sockets, the waiting and the sums. Each connection is named
`gm:MANAGER`, by which managers on the same servers count each other.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import gevent
import gevent.event

from gearman_client import Address, GearmanError, Timeout
from gearman_client.errors import ConnectionLost
from gearman_manager.job_servers.connection import connect_to
from gearman_manager.scaling.neighbours import PREFIX, Peers
from gearman_manager.scaling.queue_dialogue import ANSWER_TIMEOUT_S, FunctionQueue, QueueDialogue

_log = logging.getLogger("queues")
CONNECT_TIMEOUT_S: Final = 2.0
FIRST_RETRY_S: Final = 0.1
MAX_RETRY_S: Final = 2.0
#: The first change is told at once, those that follow together: under load a queue changes with every job.
TELL_INTERVAL_S: Final = 0.05
RECEIVE_BYTES: Final = 64 * 1024
_NOTHING: Final = FunctionQueue()
_NOBODY: Final = Peers()


class ServerWatch:
    """One job server's queues, as last heard."""

    def __init__(self, address: Address, client_id: str, changed: Callable[[], None]) -> None:
        self.address = address
        self.up = False
        self.since = 0.0  # wall-clock time of the last change between up and down
        self._client_id = client_id
        self._changed = changed
        self._heard: QueueDialogue | None = None
        self._offer_events = True
        self._retry_now = gevent.event.Event()
        self._greenlet = gevent.spawn(self._run)

    @property
    def answers(self) -> bool | None:
        """Whether it can be reached; None: not known yet."""
        return self.up if self.since else None

    @property
    def functions(self) -> Mapping[str, FunctionQueue]:
        """Every function that the server knows; none while it is down."""
        return self._heard.functions if self._heard is not None and self.up else {}

    @property
    def peers(self) -> Peers:
        """Who is connected to it; nobody while it is down."""
        return self._heard.peers if self._heard is not None and self.up else _NOBODY

    @property
    def is_pushed(self) -> bool:
        """It tells of changes by itself."""
        return self._heard is not None and self._heard.is_pushed is True

    def ask_now(self) -> None:
        """If it is down, don't wait any longer before the next attempt."""
        self._retry_now.set()

    def close(self) -> None:
        """Stop asking."""
        self._greenlet.kill()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            was_up = False
            try:
                with contextlib.closing(connect_to(self.address, CONNECT_TIMEOUT_S)) as sock:
                    self._converse(sock)
            except (OSError, GearmanError) as error:
                was_up = self.up
                self._set_up(False, str(error))
            retry_s = FIRST_RETRY_S if was_up else retry_s
            self._retry_now.wait(retry_s)
            self._retry_now.clear()
            retry_s = min(retry_s * 2, MAX_RETRY_S)

    def _converse(self, sock: Any) -> None:
        """Ask and listen until the connection is lost."""
        dialogue = QueueDialogue(self._client_id, offer_events=self._offer_events)
        # A server that answers an option it does not know with silence or a hang-up is asked without it next time.
        self._offer_events = not self._offer_events
        _send(sock, dialogue.greet(time.monotonic()))
        while True:
            now = time.monotonic()
            if dialogue.is_overdue(now):
                raise Timeout(f"no answer within {ANSWER_TIMEOUT_S:g} s")
            if question := dialogue.ask(now):
                _send(sock, question)
            data = _receive(sock, dialogue.wakes_at() - now)
            if data is None:
                continue
            has_changed = dialogue.feed(data, time.monotonic())
            if dialogue.is_informed and has_changed:
                self._heard, self._offer_events = dialogue, True
                self._set_up(True, "")
                self._changed()

    def _set_up(self, up: bool, reason: str) -> None:
        if self.since and up == self.up:
            return
        self.up = up
        self.since = time.time()
        if up:
            how = "tells of its queues" if self.is_pushed else "is asked for its queues"
            _log.info("job server %s answers and %s", self.address, how)
        else:
            _log.warning("job server %s can't be reached: %s; the pools keep their sizes", self.address, reason)
        self._changed()


def _send(sock: Any, data: bytes) -> None:
    sock.settimeout(ANSWER_TIMEOUT_S)
    sock.sendall(data)


def _receive(sock: Any, timeout_s: float) -> bytes | None:
    """What came; None when nothing did in time."""
    sock.settimeout(max(0.001, timeout_s))
    try:
        data: bytes = sock.recv(RECEIVE_BYTES)
    except TimeoutError:
        return None
    if not data:
        raise ConnectionLost("closed by the job server")
    return data


class Queues:
    """All job servers together."""

    def __init__(self, addresses: Sequence[Address], client_id: str, changed: Callable[[], None]) -> None:
        self.manager = client_id.removeprefix(PREFIX)
        self._tell = changed
        self._told_at = 0.0
        self._telling: Any = None
        self.servers = [ServerWatch(address, client_id, self._changed) for address in addresses]

    def close(self) -> None:
        """Stop asking all of them."""
        for server in self.servers:
            server.close()
        if self._telling is not None:
            self._telling.kill()

    def ask_now(self) -> None:
        """Try those that are down again at once."""
        for server in self.servers:
            server.ask_now()

    @property
    def reachable(self) -> bool:
        """Every server answers: only then do the sums say how much work there is."""
        return all(server.up for server in self.servers)

    @property
    def peers(self) -> list[Peers]:
        """Who is connected to each server."""
        return [server.peers for server in self.servers]

    def of(self, function: str) -> FunctionQueue:
        """One function over the servers that answer: jobs are summed, of workers the largest count of any one server
        counts, because each worker registers with every server."""
        entries = [server.functions.get(function, _NOTHING) for server in self.servers]
        return FunctionQueue(
            queued=sum(entry.queued for entry in entries),
            running=sum(entry.running for entry in entries),
            workers=max((entry.workers for entry in entries), default=0),
            waiting=sum(entry.waiting for entry in entries),
        )

    def _changed(self) -> None:
        """Something is known that was not: tell at once, unless that was done a moment ago."""
        if self._telling is not None:
            return
        wait_s = self._told_at + TELL_INTERVAL_S - time.monotonic()
        if wait_s > 0:
            self._telling = gevent.spawn_later(wait_s, self._tell_now)
        else:
            self._tell_now()

    def _tell_now(self) -> None:
        self._telling = None
        self._told_at = time.monotonic()
        self._tell()
