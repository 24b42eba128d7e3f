"""A link to one job server that holds several jobs at once. It never waits for an answer: the worker's poll reports it.

Several grabs may be under way, each for a free place of the worker. A server that has jobs gets more and more grabs at
once (the number doubles after each answer that brought a job); a server that has none gets a single grab. So neither a
long round trip nor a hundred free places cost anything. Jobs may send their reports from any greenlet; everything
else, above all reading, happens only in the greenlet that drives the worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from time import monotonic
from typing import Final

from gearman_client.address import Address
from gearman_client.connection.connection import Connection
from gearman_client.errors import ConnectionLost
from gearman_client.worker.assignments import MakeJob
from gearman_client.worker.link_context import LinkContext
from gearman_client.worker.link_state import LinkEvent, LinkState
from gearman_client.worker.orphan_link import OrphanLink
from gearman_client.worker.server_link import MAX_UNSENT_BYTES
from gearman_client.worker.worker_job import WorkerJob

MAX_ASKED: Final = 1024
#: How often a job that waits for a slow server checks whether the connection is still the same.
_LOOK_S: Final = 0.5


class ConcurrentLink(OrphanLink):
    """One job server of a worker with several places. `wake` ends the wait of the greenlet that drives the worker."""

    def __init__(self, address: Address, context: LinkContext, wake: Callable[[], None]) -> None:
        super().__init__(address, context)
        self._wake = wake
        #: The jobs of this connection, and when they came: only if they go on without their server.
        self._running: dict[bytes, tuple[WorkerJob, float]] = {}
        #: Whether the server is to be asked for no more jobs.
        self.is_leaving = False
        self._arrived: list[WorkerJob] = []
        self._start_anew()

    def _start_anew(self) -> None:
        """Reset the fields that hold for one connection."""
        #: The number of jobs without an answer.
        self._unanswered = 0
        #: For each grab under way: the number of answers sent before it.
        self._asked: deque[int] = deque()
        self._answers = self._confirmed = 0
        #: The number of grabs that may be under way at once.
        self._at_once = 1
        #: The error that a job met when it sent something.
        self._broken = ""
        self._watches_for_room = False
        self._sent_bytes = 0
        #: The server counts as lost if it is silent beyond these times.
        self._reply_by = self._room_by = inf

    @property
    def asked(self) -> int:
        """The number of grabs under way, each of which may bring a job."""
        return len(self._asked)

    @property
    def wants_to_be_asked(self) -> bool:
        """Whether the server may have more jobs than the grabs under way ask for."""
        if self.is_leaving:
            return False
        if self.state is LinkState.GRABBING:
            return len(self._asked) < self._at_once
        return self.state is LinkState.READY

    @property
    def is_busy(self) -> bool:
        """Whether jobs are under way, or may be on their way."""
        return bool(self._unanswered or self._asked or self._arrived)

    def ask(self, now: float) -> None:
        """Queue one grab for the next `push`."""
        connection = self.connection
        if connection is None:
            return
        if not self._asked:
            self._to(LinkEvent.GRAB)
            self._reply_by = now + self._context.settings.reply_timeout_s
        connection.queue(self._grab.packet)
        self._asked.append(self._answers)

    def take(self) -> list[WorkerJob]:
        """The jobs that arrived since the last call."""
        jobs, self._arrived = self._arrived, []
        return jobs

    def push(self, now: float) -> None:
        """Send what the server takes now, and watch for the moment when it takes the rest."""
        if self._broken:
            self._lose(self._broken)
        elif self.state >= LinkState.READY:
            self._guard(self._push)
        if self.state >= LinkState.READY:
            self._note_silence(now)

    def on_ready(self) -> None:
        """Bytes arrived, the server takes bytes again, or the connection is established."""
        if self.state is LinkState.CONNECTING:
            super().on_ready()
        else:
            self._guard(lambda connection: self._handle(connection.try_receive()))

    def tick(self, now: float) -> None:
        """Do what is due. A server that answers no grab, or takes no byte, for too long counts as lost."""
        if self.state < LinkState.READY:
            super().tick(now)
        elif now >= min(self._reply_by, self._room_by):
            self._lose(f"no answer for {self._context.settings.reply_timeout_s:g} s")
        elif now >= self._probe.due_at:
            self._ask_whether_there(now)

    # --- called by jobs, in greenlets of their own

    def answer(self, connection: Connection | None, handle: bytes, packet: bytes, attempt: int = 0) -> None:
        """Queue a job's final answer for the next `push`."""
        if connection is not None and connection is self.connection:
            self._answers += 1
            self._unanswered -= 1
            if self._running.pop(handle, None) is not None and self._is_dead:
                self._context.orphans.ended(self.store_id, handle)
        super().answer(connection, handle, packet, attempt)

    def pass_on(self, packet: bytes) -> None:
        """Queue a word about a job of another server for the next `push`: this may be any greenlet."""
        if self.connection is not None:
            self.connection.queue(packet)
            self._wake()

    def _look_for_stops(self) -> None:
        """Nothing: the greenlet that drives the worker reads all that arrives."""

    def hear(self) -> None:
        """Nothing, as above."""

    def listen(self) -> None:
        """Nothing, as above."""

    def _assigned_jobs(self) -> Mapping[bytes, tuple[WorkerJob, float]]:
        arrived = {job.handle_bytes for job in self._arrived}
        return {handle: job for handle, job in self._running.items() if handle not in arrived}

    def tell(self, connection: Connection | None, packet: bytes, attempt: int = 0) -> None:
        """Send a report of a running job, as far as the server takes it now; wait while too much is unsent."""
        if connection is None or connection is not self.connection:
            super().tell(connection, packet, attempt)
            return
        if self._is_dead:
            self._report_to_others(packet, attempt)
        connection.queue(packet)
        try:
            if not connection.try_flush():
                self._wake()
                self._wait_for_room(connection)
        except ConnectionLost as error:
            # The greenlet that drives the worker may be waiting for this connection, so only that one closes it.
            if connection is self.connection:
                self._broken = str(error)
                self._wake()

    def _wait_for_room(self, connection: Connection) -> None:
        while connection is self.connection and not self._broken and connection.unsent_bytes > MAX_UNSENT_BYTES:
            if connection.wait_writable(_LOOK_S):
                connection.try_flush()

    # --- sending and receiving

    def _push(self, connection: Connection) -> None:
        needs_room = not connection.try_flush()
        if needs_room is not self._watches_for_room:
            self._watches_for_room = needs_room
            readiness = self._context.readiness
            (readiness.watch_both if needs_room else readiness.watch_readable)(self, connection.fileno())

    def _note_silence(self, now: float) -> None:
        """Set `due_at` to the time when the server counts as lost if it stays silent."""
        connection = self.connection
        if connection is None or not self._watches_for_room:
            self._room_by = inf
        elif self._room_by == inf or connection.sent_bytes != self._sent_bytes:
            self._sent_bytes = connection.sent_bytes
            self._room_by = now + self._context.settings.reply_timeout_s
        self._schedule_probe()

    def _schedule_probe(self) -> None:
        self.due_at = min(self._reply_by, self._room_by, self._probe.due_at)

    def _replied(self, event: LinkEvent) -> None:
        """A grab was answered, so the server has read everything sent before it; other grabs may be under way."""
        if len(self._asked) <= 1:
            self._to(event)  # with other grabs under way the state stays the same
        answers = self._asked.popleft()
        del self._unconfirmed[: answers - self._confirmed]
        self._confirmed = answers
        self._at_once = 1 if event is LinkEvent.NO_JOB else min(self._at_once * 2, MAX_ASKED)
        self._reply_by = inf
        if self._asked:
            self._reply_by = monotonic() + self._context.settings.reply_timeout_s

    def assign(
        self, handle: bytes, function: bytes, unique: bytes, workload: bytes, make: MakeJob = WorkerJob
    ) -> WorkerJob:
        """Take a job; others may follow."""
        job = super().assign(handle, function, unique, workload, make)
        self._assigned = None
        self._unanswered += 1
        self._arrived.append(job)
        if self.store_id:
            self._running[handle] = job, monotonic()
        return job

    def _forget_connection(self) -> None:
        running, self._running = self._running, {}
        for job in self._arrived:
            running.pop(job.handle_bytes, None)
        super()._forget_connection()
        self._tell_of_running(running)
        self._arrived.clear()  # the server gives these jobs to another worker
        self._start_anew()
