"""A link to one job server whose jobs go on when the server is gone: the extension `orphaned-jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import partial
from time import monotonic
from typing import ClassVar

from gearman_client.address import Address
from gearman_client.connection.connection import Connection
from gearman_client.extensions import JOB_STOPPING, JOBS_COMPLETE, ORPHAN_WORK, SERVERS, STORE_ID
from gearman_client.packet import HEADER_BYTES, encode_request
from gearman_client.text import to_text
from gearman_client.worker.assignments import Handlers
from gearman_client.worker.link_context import LinkContext
from gearman_client.worker.link_state import LinkState
from gearman_client.worker.orphans import TELL_S, SentAnswer, SentAnswers
from gearman_client.worker.server_link import ServerLink
from gearman_client.worker.worker_job import WorkerJob


class OrphanLink(ServerLink):
    """One job server of a worker, and what becomes of its jobs."""

    def __init__(self, address: Address, context: LinkContext) -> None:
        super().__init__(address, context)
        #: The id of the server's store; empty while there is no connection, or if the server has no such extension.
        self.store_id = b""
        #: Those of the last connection that had one.
        self._former_store_id = b""
        #: When that was lost (monotonic seconds).
        self._lost_at = 0.0
        #: Whether it is known which store the server has.
        self._is_greeted = False
        #: Whether the server was declared dead by the others, though its connection is there: it stands still, say.
        self._is_dead = False
        self._sent = SentAnswers()

    def _on_store_id(self, body: bytes) -> None:
        self.store_id = self._former_store_id = body
        self._is_greeted = True
        self._context.orphans.greet(self, monotonic())

    def _on_servers(self, body: bytes) -> None:
        self._context.learn(self.address, body)

    def _on_stopping(self, body: bytes) -> None:
        self._stops.note(body)

    _handlers: ClassVar[Handlers] = {
        **ServerLink._handlers,
        JOB_STOPPING: _on_stopping,
        SERVERS: _on_servers,
        STORE_ID: _on_store_id,
    }

    # --- as the jobs see it

    @property
    def can_go_on(self) -> bool:
        """Whether there is a server that may have the jobs of the last connection, or there may be one soon."""
        if self._context.orphans.has_hearer(self._former_store_id):
            return True
        return bool(self._former_store_id) and monotonic() < self._lost_at + TELL_S

    def answer(self, connection: Connection | None, handle: bytes, packet: bytes, attempt: int = 0) -> None:
        """Queue a job's final answer. Other servers are told if the connection that assigned the job is gone."""
        if connection is not None and connection is self.connection:
            if self.done:
                self._tell_of_done()
            connection.queue(packet)  # as `ServerLink`, without its call: this is on the path of the shortest jobs
            self._unconfirmed.append(handle)
            if self.store_id:
                self._sent.note((monotonic(), handle, attempt, packet))
                if self._is_dead:
                    self._tell_last_answers()
            if self._stops.handles:
                self._stops.answered(handle)
        else:
            self._context.orphans.ended(self._former_store_id, handle)
            if not self._tell_others(SentAnswer(handle, attempt, packet), is_open=True):
                super().answer(None, handle, packet)

    def _tell_of_done(self) -> None:
        """Queue the ends of jobs without a result, in front of what is queued next."""
        connection = self.connection
        if self.done and connection is not None:
            connection.queue(encode_request(JOBS_COMPLETE, *self._note_done()))

    def _send(self, packet: bytes) -> bool:
        """As in `ServerLink`; the ends of jobs before it: a server takes those of a withdrawn function back."""
        self._tell_of_done()
        return super()._send(packet)

    def _note_done(self) -> list[bytes]:
        """They are sent, or lost with the connection, as other answers. Returns their handles."""
        done, self.done = self.done, []
        handles = [job.handle_bytes for job in done]
        self._unconfirmed += handles
        if self.store_id:
            now = monotonic()
            for job in done:
                self._sent.note((now, job.handle_bytes, job.attempt or 0, b""))
            if self._is_dead:
                self._tell_last_answers()
        if self._stops.handles:
            for handle in handles:
                self._stops.answered(handle)
        return handles

    def tell(self, connection: Connection | None, packet: bytes, attempt: int = 0) -> None:
        """Send a report of a running job."""
        self._tell_of_done()
        if connection is not None and connection is self.connection:
            super().tell(connection, packet)
            if self._context.roster is not None and self.store_id:
                self._context.orphans.look_around(monotonic())
        if self._is_dead or connection is not self.connection:
            self._report_to_others(packet, attempt)

    def _report_to_others(self, packet: bytes, attempt: int) -> None:
        if self._former_store_id:
            handle = packet[HEADER_BYTES:].partition(b"\0")[0]
            self._context.orphans.tell(self._former_store_id, _orphan_work(SentAnswer(handle, attempt, packet)))

    def hears_stop(self, connection: Connection | None, handle: bytes) -> bool:
        """Whether the job is to be stopped, as its server says, or the one that has adopted it."""
        if connection is self.connection and not self._is_dead:
            return super().hears_stop(connection, handle)
        return self._context.orphans.is_stopped(self._former_store_id, handle)

    def is_stopped(self, handle: bytes) -> bool:
        """Whether this server has said so."""
        return super().hears_stop(self.connection, handle)

    # --- between the links

    def hear(self) -> None:
        """Go on with the greeting of this server in the middle of a job, as far as that can be done at once; the
        server may be the one that was lost, and is back."""
        now = monotonic()
        if self.state is LinkState.CONNECTING or (self.state is LinkState.DOWN and now >= self.due_at):
            self._reconnect(now)
        if self.state >= LinkState.GREETING and not self._is_greeted:
            self._guard(lambda connection: self._handle(connection.try_receive()))
            self._guard(lambda connection: connection.try_flush())

    def listen(self) -> None:
        """Take in what the server has said, in the middle of a job of another server."""
        if self.store_id:
            self._guard(lambda connection: self._handle(connection.try_receive()))

    def note_dead(self, dead: Set[Address]) -> None:
        """Tell the others of the jobs of this server, if it was declared dead: they adopt them."""
        was_dead, self._is_dead = self._is_dead, self.connection is not None and self.address in dead
        if self._is_dead and not was_dead and self.store_id:
            self._tell_last_answers()
            self._tell_of_running(self._assigned_jobs())

    def _tell_last_answers(self) -> None:
        for answer in self._sent.take(monotonic()):
            self._tell_others(answer, is_open=False)

    def _assigned_jobs(self) -> Mapping[bytes, tuple[WorkerJob, float]]:
        """The jobs that go on while nobody reports of them, and when they came."""
        return {}

    def _reconnect(self, now: float) -> None:
        if self.state is LinkState.DOWN:
            self.tick(now)
        else:
            self._go_on_connecting(now)

    def pass_on(self, packet: bytes) -> None:
        """Send a word about a job of another server, as far as this one takes it now."""
        if self.connection is not None:
            super().tell(self.connection, packet)

    def _tell_others(self, answer: SentAnswer, *, is_open: bool) -> bool:
        """Tell the servers that may have the job, also those that come up soon. False: there can be none.

        is_open: the server that had the job has not confirmed the answer.
        """
        store_id = self._former_store_id
        if not store_id:
            return False
        lost = partial(self._context.observer.result_lost, self.address, to_text(answer.handle)) if is_open else None
        self._context.orphans.tell(store_id, _orphan_work(answer), monotonic(), lost)
        return True

    def _tell_of_running(self, running: Mapping[bytes, tuple[WorkerJob, float]]) -> None:
        """The connection is gone over which these jobs came (and when), and they go on."""
        now = monotonic()
        for handle, (job, came_at) in running.items():
            self._context.orphans.goes_on(self._former_store_id, handle, job.attempt or 0, came_at, now)

    def _forget_connection(self) -> None:
        self._note_done()
        self.takes_lists = False
        if self.store_id:
            self.former_extensions = frozenset(self.extensions)
            self._lost_at = monotonic()
        self.store_id = b""
        self._is_greeted = self._is_dead = False
        super()._forget_connection()

    def _report_lost_results(self) -> None:
        # While others are told, this link may be up again, and lost again.
        unconfirmed, self._unconfirmed = self._unconfirmed, []
        open_ = set(unconfirmed)
        told = {
            answer.handle
            for answer in self._sent.take(monotonic())
            if self._tell_others(answer, is_open=answer.handle in open_)
        }
        self._unconfirmed += [handle for handle in unconfirmed if handle not in told]
        super()._report_lost_results()


def _orphan_work(answer: SentAnswer) -> bytes:
    return encode_request(ORPHAN_WORK, answer.handle, b"%d" % answer.attempt, answer.packet)
