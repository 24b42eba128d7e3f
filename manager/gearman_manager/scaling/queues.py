"""The queues and the workers of all job servers: one greenlet for each server, so a stalled one delays no other.

`queue_dialogue` knows the messages; this module has the sockets, the waiting and the sums. Each connection is named
`gm:MANAGER`, which lets managers on the same servers count each other.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import gevent
import gevent.event

from gearman_client import Address, GearmanError, Timeout
from gearman_client.errors import ConnectionLost
from gearman_manager.job_servers.connection import connect_to
from gearman_manager.scaling.neighbours import PREFIX, Peers, announced_name
from gearman_manager.scaling.queue_dialogue import ANSWER_TIMEOUT_S, FunctionQueue, QueueDialogue

_log = logging.getLogger("queues")
CONNECT_TIMEOUT_S: Final = 2.0
FIRST_RETRY_S: Final = 0.1
MAX_RETRY_S: Final = 2.0
#: The first change is told at once, later ones together after this time: under load every job changes a queue.
TELL_INTERVAL_S: Final = 0.05
RECEIVE_BYTES: Final = 64 * 1024
_NOTHING: Final = FunctionQueue()
_NOBODY: Final = Peers()


class ServerWatch:
    """One job server's queues, as last reported."""

    def __init__(
        self, address: Address, client_id: str, changed: Callable[[], None], answers: Callable[[], None]
    ) -> None:
        """`changed` is called after every change, `answers` when the server answers for the first time, or again."""
        self.address = address
        self.is_up = False
        self.since = 0.0  # wall-clock time of the last change of `is_up`
        self.client_id = client_id  #: the connection's name; may change at any time
        self._changed = changed
        self._answers = answers
        self._told_trouble = ""
        self._heard: QueueDialogue | None = None
        self._offer_events = True
        self._retry_now = gevent.event.Event()
        self._greenlet = gevent.spawn(self._run)

    @property
    def is_answering(self) -> bool | None:
        """Whether the server can be reached; None if not known yet."""
        return self.is_up if self.since else None

    @property
    def trouble(self) -> str:
        """What keeps the server from doing all of its work, as it says; empty if nothing does, or while it is down."""
        return self._heard.trouble if self._heard is not None and self.is_up else ""

    @property
    def functions(self) -> Mapping[str, FunctionQueue]:
        """Every function that the server knows; none while the server is down."""
        return self._heard.functions if self._heard is not None and self.is_up else {}

    @property
    def peers(self) -> Peers:
        """The server's connections; none while the server is down."""
        return self._heard.peers if self._heard is not None and self.is_up else _NOBODY

    @property
    def is_pushed(self) -> bool:
        """Whether the server pushes its changes."""
        return self._heard is not None and self._heard.is_pushed is True

    def ask_now(self) -> None:
        """If the server is down, try again now."""
        self._retry_now.set()

    def close(self) -> None:
        """Stop following the server."""
        self._greenlet.kill()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            was_up = False
            try:
                with contextlib.closing(connect_to(self.address, CONNECT_TIMEOUT_S)) as sock:
                    self._converse(sock)
            except (OSError, GearmanError) as error:
                was_up = self.is_up
                self._set_up(False, str(error))
            retry_s = FIRST_RETRY_S if was_up else retry_s
            self._retry_now.wait(retry_s)
            self._retry_now.clear()
            retry_s = min(retry_s * 2, MAX_RETRY_S)

    def _converse(self, sock: Any) -> None:
        """Ask and listen until the connection is lost."""
        dialogue = QueueDialogue(self.client_id, offer_events=self._offer_events)
        # A server that answers the unknown option with silence or a hang-up is asked without it next time.
        self._offer_events = not self._offer_events
        _send(sock, dialogue.greet(time.monotonic()))
        while True:
            now = time.monotonic()
            if dialogue.is_overdue(now):
                raise Timeout(f"no answer within {ANSWER_TIMEOUT_S:g} s")
            dialogue.client_id = self.client_id
            if question := dialogue.ask(now):
                _send(sock, question)
            data = _receive(sock, dialogue.wakes_at() - now)
            if data is None:
                continue
            has_changed = dialogue.feed(data, time.monotonic())
            if dialogue.is_informed and has_changed:
                self._heard, self._offer_events = dialogue, True
                self._set_up(True, "")
                self._log_trouble()
                self._changed()

    def _set_up(self, is_up: bool, reason: str) -> None:
        if self.since and is_up == self.is_up:
            return
        self.is_up = is_up
        self.since = time.time()
        if is_up:
            how = "tells of its queues" if self.is_pushed else "is asked for its queues"
            _log.info("job server %s answers and %s", self.address, how)
            self._answers()
        else:
            _log.warning("job server %s can't be reached: %s; the pools keep their sizes", self.address, reason)
            self._told_trouble = ""
        self._changed()

    def _log_trouble(self) -> None:
        if self.trouble == self._told_trouble:
            return
        if self.trouble:
            _log.error("job server %s is in trouble: %s", self.address, self.trouble)
        else:
            _log.info("job server %s is in trouble no longer", self.address)
        self._told_trouble = self.trouble


def _send(sock: Any, data: bytes) -> None:
    sock.settimeout(ANSWER_TIMEOUT_S)
    sock.sendall(data)


def _receive(sock: Any, timeout_s: float) -> bytes | None:
    """The received bytes; None if none came in time."""
    sock.settimeout(max(0.001, timeout_s))
    try:
        data: bytes = sock.recv(RECEIVE_BYTES)
    except TimeoutError:
        return None
    if not data:
        raise ConnectionLost("closed by the job server")
    return data


class Queues:
    """All job servers together; none before `follow` names some."""

    def __init__(self, client_id: str, changed: Callable[[], None], answers: Callable[[], None] = lambda: None) -> None:
        """`changed` is called after changes, `answers` when a server answers for the first time, or again."""
        self.manager = client_id.removeprefix(PREFIX)
        self.servers: list[ServerWatch] = []
        self._client_id = client_id
        self._tell = changed
        self._answers = answers
        self._told_at = 0.0
        self._telling: Any = None

    def follow(self, addresses: Sequence[Address]) -> None:
        """From now on these servers, and asked anew; what was known of others is forgotten."""
        self.close()
        self.servers = [ServerWatch(address, self._client_id, self._changed, self._answers) for address in addresses]

    def close(self) -> None:
        """Stop following all servers."""
        for server in self.servers:
            server.close()
        if self._telling is not None:
            self._telling.kill()
            self._telling = None

    def ask_now(self) -> None:
        """Try servers that are down again at once."""
        for server in self.servers:
            server.ask_now()

    @property
    def away(self) -> list[str]:
        """The servers that do not answer, or have not yet: only without any do the sums count all work."""
        return [str(server.address) for server in self.servers if not server.is_up]

    @property
    def is_all_pushed(self) -> bool:
        """Whether every server that answers pushes its changes, and so tells startable jobs from others."""
        return all(server.is_pushed for server in self.servers if server.is_up)

    def announce(self, pools: Iterable[str]) -> None:
        """Show the other managers which pools here have a maximum over all managers."""
        self._client_id = PREFIX + announced_name(self.manager, pools)
        for server in self.servers:
            server.client_id = self._client_id

    @property
    def heard(self) -> list[Peers]:
        """The connections of each server that answers."""
        return [server.peers for server in self.servers if server.is_up]

    @property
    def peers(self) -> list[Peers]:
        """The connections of each server."""
        return [server.peers for server in self.servers]

    def of(self, function: str) -> FunctionQueue:
        """One function on all servers that answer. Jobs are summed; the workers are the largest count of one server,
        because each worker registers with every server."""
        entries = [server.functions.get(function, _NOTHING) for server in self.servers]
        return FunctionQueue(
            queued=sum(entry.queued for entry in entries),
            running=sum(entry.running for entry in entries),
            workers=max((entry.workers for entry in entries), default=0),
            waiting=sum(entry.waiting for entry in entries),
            doubtful=sum(
                entry.queued for server, entry in zip(self.servers, entries, strict=True) if not server.is_pushed
            ),
        )

    def _changed(self) -> None:
        """Tell of a change at once, or a little later if one was told just now."""
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
