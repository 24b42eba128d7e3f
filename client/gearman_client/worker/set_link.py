"""A link to one job server that can get several jobs in one answer, and complete several in one packet: our extensions
`grab-many` and `plain-sets`.

A server without the extension gives one job at a time. All jobs of an answer come before `grab_many` returns, so the
link still waits for nothing but the answer to its own grab.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from gearman_client.address import Address
from gearman_client.errors import ProtocolError
from gearman_client.extensions import (
    CAN_DO_MANY,
    GRAB_JOBS,
    GRAB_MANY_OPTION,
    JOB_ASSIGN_ATTEMPT,
    JOB_ATTEMPT_OPTION,
    JOBS_ASSIGNED,
    MAX_JOBS_AT_ONCE,
    PLAIN_JOBS_ASSIGNED,
    PLAIN_SETS_OPTION,
    RETURN_JOBS,
    SET_RETURN_KEY,
    key_of_set,
)
from gearman_client.packet import Packet, PacketType, encode_request
from gearman_client.text import to_text
from gearman_client.worker.assignments import Handlers, MakeJob, jobs_of_list, plain_jobs
from gearman_client.worker.link_context import LinkContext
from gearman_client.worker.link_state import LinkEvent, LinkState
from gearman_client.worker.orphan_link import OrphanLink
from gearman_client.worker.worker_job import WorkerJob
from gearman_client.worker.worker_settings import Batch

_ASK: Final = encode_request(PacketType.OPTION_REQ, GRAB_MANY_OPTION)
_ASK_FOR_LISTS: Final = encode_request(PacketType.OPTION_REQ, PLAIN_SETS_OPTION)


class SetLink(OrphanLink):
    """One job server of a worker that may hold several jobs."""

    def __init__(self, address: Address, context: LinkContext) -> None:
        super().__init__(address, context)
        #: Whether the server knows the extension; it is asked only if there is use for it.
        self.gives_sets = False
        self._has_asked = False
        self._grab_set = encode_request(GRAB_JOBS, b"%d" % context.settings.prefetch)
        self._arrived: list[WorkerJob] = []
        #: The number of jobs of the answer that have yet to come.
        self._to_come = 0

    # --- greeting and registering

    def _on_option(self, body: bytes) -> None:
        if body == GRAB_MANY_OPTION:
            self._on_sets_known()
        elif body == PLAIN_SETS_OPTION:
            self._on_lists_known()
        elif body == JOB_ATTEMPT_OPTION and self.state is LinkState.GREETING and self._wants_sets:
            self.server_is_ours = True
            self._ask_for_sets()  # the greeting ends with the answer: a first grab of the old kind would split a batch
            self._ask_for_extensions()
            if self.connection is not None:
                self.connection.flush()
        else:
            super()._on_option(body)

    @property
    def _wants_sets(self) -> bool:
        return self._context.settings.prefetch > 1 or bool(self._context.batches)

    def _ask_for_sets(self) -> None:
        self._has_asked = True
        self._queue(_ASK)

    def _on_sets_known(self) -> None:
        self.gives_sets = True
        self._queue(_ASK_FOR_LISTS)
        for function, batch in self._context.batches.items():
            self._queue(_can_do_many(function, batch))
        if self.state is LinkState.GREETING:
            self._on_greeted(b"")

    def _on_lists_known(self) -> None:
        self.takes_lists = True
        if self.connection is not None:
            self.connection.before_flush = self._tell_of_done

    def can_do(self, function: bytes) -> None:
        """Register one more function; one with batches as such, if the server knows them."""
        batch = self._context.batches.get(function)
        if batch is not None and self.server_is_ours and not self._has_asked:
            self._ask_for_sets()
        elif batch is not None and self.gives_sets:
            self._queue(_can_do_many(function, batch))
            self._wake_up()
            return
        super().can_do(function)

    def _wake_up(self) -> None:
        """Ask again: a new function does not make a server wake a sleeping worker."""
        self.flush()
        if self.connection is not None:
            self._to(LinkEvent.WAKE)
            self._was_heard()

    # --- working

    def grab(self) -> WorkerJob | None:
        """As in `ServerLink`; the ends of jobs before the request."""
        self._tell_of_done()
        return super().grab()

    def grab_many(self) -> list[WorkerJob]:
        """As `grab`, but with all jobs that the server gives at once; none: there is no job, or the link broke."""
        connection = self.connection
        if connection is None:
            return []
        if not self.gives_sets:
            job = self.grab()
            return [] if job is None else [job]
        self._to(LinkEvent.GRAB)
        self._tell_of_done()  # a job without an answer before the request would go back to its queue
        context = self._context
        context.set_number += 1
        if context.settings.return_key:
            key = key_of_set(context.settings.return_key, context.set_number)
            connection.queue(encode_request(SET_RETURN_KEY, key))
        connection.queue(self._grab_set)
        self._guard(self._await_reply)
        jobs, self._arrived = self._arrived, []
        return jobs

    def give_back(self, jobs: Iterable[WorkerJob]) -> None:
        """Queue the return of jobs that came over this connection and have not been begun."""
        if not self.gives_sets:
            return
        handles = [job.handle_bytes for job in jobs if job.connection is self.connection and not job.answered]
        if handles:
            self._queue(encode_request(RETURN_JOBS, b"", *handles))

    # --- receiving

    def _handle(self, packets: Sequence[Packet]) -> None:
        """As in `ServerLink`. The jobs of a set, most of which come whole and plain, take one call together."""
        if len(packets) > 2 and packets[0][0] == JOBS_ASSIGNED:
            self._on_set(packets[0][1])
            bodies = [body for packet_type, body in packets if packet_type == JOB_ASSIGN_ATTEMPT]
            if len(bodies) == self._to_come == len(packets) - 1:
                self._arrived = plain_jobs(self, self._context.functions, bodies)
                self._to_come = 0
                self._replied(LinkEvent.ASSIGNED)
                return
            packets = packets[1:]
        super()._handle(packets)

    def _on_set(self, body: bytes) -> None:
        if self.state is not LinkState.GRABBING or not body.isdigit() or self._to_come:
            raise ProtocolError("JOBS_ASSIGNED is not expected, or holds no number")
        self._to_come = int(body[:9])
        if not 0 < self._to_come <= MAX_JOBS_AT_ONCE:
            raise ProtocolError(f"JOBS_ASSIGNED announces {self._to_come} jobs")

    def _on_plain_set(self, body: bytes) -> None:
        """The jobs of a set are all in this packet."""
        if self.state is not LinkState.GRABBING or self._to_come:
            raise ProtocolError("PLAIN_JOBS_ASSIGNED is not expected")
        self._arrived = jobs_of_list(self, self._context.functions, body)
        self._replied(LinkEvent.ASSIGNED)

    def assign(
        self, handle: bytes, function: bytes, unique: bytes, workload: bytes, make: MakeJob = WorkerJob
    ) -> WorkerJob:
        """Take a job: the only one of an answer, or the next of its set."""
        if not self._to_come:
            return super().assign(handle, function, unique, workload, make)
        name = self._context.functions.get(function) or to_text(function)
        job = make(self, handle, name, unique, workload)
        self._arrived.append(job)
        self._to_come -= 1
        if not self._to_come:
            self._replied(LinkEvent.ASSIGNED)
        return job

    _handlers: ClassVar[Handlers] = {
        **OrphanLink._handlers,
        PacketType.OPTION_RES: _on_option,
        JOBS_ASSIGNED: _on_set,
        PLAIN_JOBS_ASSIGNED: _on_plain_set,
    }

    def _forget_connection(self) -> None:
        super()._forget_connection()
        self._arrived.clear()  # the server gives these jobs to another worker
        self._to_come = 0
        self.gives_sets = self._has_asked = False


def _can_do_many(function: bytes, batch: Batch) -> bytes:
    return encode_request(CAN_DO_MANY, function, b"%d" % batch.at_most, b"%d" % round(batch.linger_s * 1000))
