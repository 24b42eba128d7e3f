"""The queues and the workers of all job servers: one greenlet for each server, so a stalled one delays no other.

`queue_dialogue` knows the messages; this module has the sockets, the waiting and the sums. Each connection is named
`gm:MANAGER`, which lets managers on the same servers count each other.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import gevent
import gevent.event
import gevent.lock

from gearman_client import Address, GearmanError, Timeout
from gearman_client.errors import ConnectionLost
from gearman_manager.job_servers.connection import connect_to
from gearman_manager.scaling.known_servers import KnownServers
from gearman_manager.scaling.neighbours import PREFIX, Peers, announced_name
from gearman_manager.scaling.queue_dialogue import ANSWER_TIMEOUT_S, FunctionQueue, Hold, QueueDialogue, StoppedJob

_log = logging.getLogger("queues")
CONNECT_TIMEOUT_S: Final = 2.0
FIRST_RETRY_S: Final = 0.1
#: A server that has come up waits 1.5 seconds for words about jobs.
MAX_RETRY_S: Final = 1.0
#: The first change is told at once, later ones together after this time: under load every job changes a queue.
TELL_INTERVAL_S: Final = 0.05
RECEIVE_BYTES: Final = 64 * 1024
#: After so many lost connections in a row that offered events, one does not: of a server that has never pushed, and of
#: one that has.
LOSSES: Final = 2
LOSSES_OF_ONE_THAT_PUSHED: Final = 20
_NOTHING: Final = FunctionQueue()
_NOBODY: Final = Peers()

Learn = Callable[[Address, bytes], None]


class JobNews(Protocol):
    """Is told what job servers say of the jobs of our workers."""

    def stop(self, server: Address, job: StoppedJob) -> None:
        """This job is to be stopped."""

    def found(self, server: ServerWatch) -> None:
        """The store of this server is known, and it can be told of jobs."""

    def lost(self, server: Address, store_id: bytes) -> None:
        """The connection to this server, which had that store, is gone."""


class NoNews:
    """Nobody wants to know."""

    def stop(self, server: Address, job: StoppedJob) -> None:
        """Nothing."""

    def found(self, server: ServerWatch) -> None:
        """Nothing."""

    def lost(self, server: Address, store_id: bytes) -> None:
        """Nothing."""


class ServerWatch:
    """One job server's queues, as last reported."""

    def __init__(
        self,
        address: Address,
        client_id: str,
        changed: Callable[[], None],
        answers: Callable[[], None],
        news: JobNews,
        learn: Learn,
    ) -> None:
        """`changed` is called after every change, `answers` when the server answers for the first time, or again,
        `learn` with what it tells of its cluster."""
        self.address = address
        self.is_up = False
        self.since = 0.0  # wall-clock time of the last change of `is_up`
        self.client_id = client_id  #: the connection's name; may change at any time
        self._changed = changed
        self._answers = answers
        self._learn = learn
        self._news = news
        #: The id of the server's store; empty while it is down, or if nobody takes over its jobs.
        self.store_id = b""
        self._is_dead = False
        #: The connection, while it is up, and who sends over it.
        self._socket: Any = None
        self._sending = gevent.lock.RLock()
        self._told_trouble = ""
        self._heard: QueueDialogue | None = None
        #: The connections in a row that were lost before the server had told of its queues, and whether it ever pushed.
        self._losses = 0
        self._has_pushed = False
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

    def tell(self, packets: bytes) -> None:
        """Send packets that have no answer, soon."""
        gevent.spawn(self._tell, self._socket, packets)

    def _tell(self, sock: Any, packets: bytes) -> None:
        with contextlib.suppress(OSError, GearmanError):  # the reader notices the loss, too
            if sock is not None:
                self._send(sock, packets)

    def _send(self, sock: Any, data: bytes) -> None:
        with self._sending:
            sock.settimeout(ANSWER_TIMEOUT_S)
            sock.sendall(data)

    def ask_now(self) -> None:
        """If the server is down, try again now."""
        if not self.is_up:
            self._retry_now.set()

    def note_dead(self, is_dead: bool) -> None:
        """Note whether the others of its cluster have declared the server dead: then they adopt its jobs, though the
        connection may be there still."""
        was_dead, self._is_dead = self._is_dead, is_dead
        if is_dead and not was_dead and self.store_id:
            self._news.lost(self.address, self.store_id)

    def close(self) -> None:
        """Stop following the server."""
        self._greenlet.kill(block=gevent.getcurrent() is not self._greenlet)

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            was_up = False
            try:
                with contextlib.closing(connect_to(self.address, CONNECT_TIMEOUT_S)) as sock:
                    self._converse(sock)
            except (OSError, GearmanError) as error:
                was_up = self.is_up
                self._lose_store()
                self._set_up(False, str(error))
            retry_s = FIRST_RETRY_S if was_up else retry_s
            self._retry_now.wait(retry_s)
            self._retry_now.clear()
            retry_s = min(retry_s * 2, MAX_RETRY_S)

    def _lose_store(self) -> None:
        store_id, self.store_id, self._socket = self.store_id, b"", None
        if store_id:
            self._news.lost(self.address, store_id)

    def _converse(self, sock: Any) -> None:
        """Ask and listen until the connection is lost."""
        dialogue = QueueDialogue(self.client_id, offer_events=self._offers_events)
        self._losses += 1
        self._socket = sock
        self._send(sock, dialogue.greet(time.monotonic()))
        while True:
            now = time.monotonic()
            if dialogue.is_overdue(now):
                raise Timeout(f"no answer within {ANSWER_TIMEOUT_S:g} s")
            dialogue.client_id = self.client_id
            if question := dialogue.ask(now):
                self._send(sock, question)
            data = _receive(sock, dialogue.wakes_at() - now)
            if data is None:
                continue
            has_changed = dialogue.feed(data, time.monotonic())
            while dialogue.stops:
                self._news.stop(self.address, dialogue.stops.pop(0))
            if dialogue.store_id != self.store_id:
                self.store_id = dialogue.store_id
                self._news.found(self)
            if dialogue.cluster is not None:
                told, dialogue.cluster = dialogue.cluster, None
                self._learn(self.address, told)
            if dialogue.is_informed and has_changed:
                self._heard, self._losses = dialogue, 0
                self._has_pushed |= dialogue.is_pushed is True
                self._set_up(True, "")
                self._log_trouble()
                self._changed()

    @property
    def _offers_events(self) -> bool:
        """Not to a server that seems to answer the unknown option with silence or a hang-up. But one that is killed may
        hang up on a connection that came just then, and one that has pushed will do so again."""
        most = LOSSES_OF_ONE_THAT_PUSHED if self._has_pushed else LOSSES
        return self._losses % (most + 1) < most

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


def _together(holds: Sequence[Hold]) -> Hold | None:
    """One for all servers: from the first beginning to the last end."""
    if len(holds) < 2:
        return holds[0] if holds else None
    paused_at = min((hold.paused_at for hold in holds if hold.paused_at), default=0.0)
    held_at = min((hold.held_at for hold in holds if hold.held_at), default=0.0)
    throttled_until = max(hold.throttled_until for hold in holds)
    return Hold(paused_at, held_at, max(hold.held_until for hold in holds), throttled_until)


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

    def __init__(
        self,
        client_id: str,
        changed: Callable[[], None],
        answers: Callable[[], None] = lambda: None,
        news: JobNews | None = None,
        learned: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called after changes, `answers` when a server answers for the first time, or again, `learned`
        when other servers of a cluster have come or gone."""
        self.manager = client_id.removeprefix(PREFIX)
        self.servers: list[ServerWatch] = []
        self._client_id = client_id
        self._tell = changed
        self._answers = answers
        self._news = news or NoNews()
        self._learned = learned
        #: All servers, also those that `follow` did not name.
        self.known = KnownServers(self._note_known, self._is_up)
        self._told_at = 0.0
        self._telling: Any = None

    def follow(self, addresses: Sequence[Address]) -> None:
        """From now on these servers, and the others of their clusters; what was known of others is forgotten, and those
        that are down are tried again.

        A server that stays keeps its connection. Without it the work there would be unknown for a moment, and this
        manager would be out of the other managers' sight.
        """
        self.known.give(addresses)
        self._follow_known()

    def _learn(self, told_by: Address, table: bytes) -> None:
        self.known.learn(told_by, table)
        for server in self.servers:
            server.note_dead(server.address in self.known.dead)

    def _is_up(self, address: Address) -> bool:
        return any(server.is_up for server in self.servers if server.address == address)

    def _note_known(self) -> None:
        self._follow_known()
        self._learned()

    def _follow_known(self) -> None:
        addresses = self.known.addresses
        known = {(server.address, server.address.tls): server for server in self.servers}
        kept = [known.pop((address, address.tls), None) for address in addresses]
        for server in known.values():
            server.close()
        self.ask_now()
        self.servers = [
            server or ServerWatch(address, self._client_id, self._changed, self._answers, self._news, self._learn)
            for server, address in zip(kept, addresses, strict=True)
        ]
        if known:
            self._changed()

    def close(self) -> None:
        """Stop following all servers."""
        self.known.close()
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
            hold=_together([entry.hold for entry in entries if entry.hold is not None]),
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
