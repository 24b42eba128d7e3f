"""Submits many background jobs over one connection, without waiting for each answer before the next job.

A client that submits one job at a time is limited by one round trip for each job; here there is one for each portion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from gearman_client.address import Address
from gearman_client.client.attempts import LOSSES, Attempts, Limits
from gearman_client.client.calls import Conversation, chosen
from gearman_client.client.foreground import server_error
from gearman_client.client.job_status import JobHandle
from gearman_client.client.server_pool import PooledServer, ServerPool, is_quiet, next_packets
from gearman_client.client.submission import Forms
from gearman_client.connection.connection import Connection
from gearman_client.errors import (
    ArgumentError,
    ConnectionLost,
    CouldNotConnect,
    GearmanError,
    JobNotAcknowledged,
    JobNotKnown,
    PartlyRefused,
    ProtocolError,
    ServerEnding,
    ServerError,
    Timeout,
)
from gearman_client.packet import PacketType
from gearman_client.text import to_text

#: The most jobs under way at once: enough that the round trip no longer counts, few enough to fit into any buffer.
PORTION_JOBS: Final = 200
PORTION_BYTES: Final = 256 * 1024


def check_workloads(workloads: object) -> None:
    """Check that there can be many.

    Raises:
        ArgumentError: it is one text, or not iterable.
    """
    if isinstance(workloads, str | bytes | bytearray | memoryview) or not isinstance(workloads, Iterable):
        raise ArgumentError(f"workloads: expected a list or another iterable, not {type(workloads).__name__}")


def submit_all(
    pool: ServerPool,
    forms: Forms[Callable[[Any], bytes]],
    workloads: Iterable[Any],
    limits: Limits,
    only: PooledServer | None = None,
) -> list[JobHandle]:
    """Submit every workload to one server; returns the handles in the same order.

    Those that the server does not take because it is about to end go to the next one, or to its successor.

    Raises:
        PartlyRefused: the server refused some; the portions after the one with the refusal were not submitted.
        JobNotKnown: the server may have accepted the jobs under way, or not.
        CouldNotConnect, Timeout: no server can be reached; there is no time.
        NotSupported: the server does not know an option of the jobs.
    """
    limits.begin()
    line = _Line(Attempts(pool, limits, only=only), forms)
    for portion in _portions(line.jobs(workloads)):
        line.submit(portion)
    return line.accepted


class _Job:
    """One of many; it has its handle once it is accepted."""

    __slots__ = ("_encode", "handle", "packet", "workload")

    def __init__(self, workload: Any, encode: Callable[[Any], bytes]) -> None:
        self.workload = workload
        self.handle: JobHandle | None = None
        self._encode = encode
        self.packet = encode(workload)

    def be_for(self, encode: Callable[[Any], bytes]) -> None:
        """Have the packet that this makes: another connection may need another one."""
        if encode is not self._encode:
            self._encode, self.packet = encode, encode(self.workload)


class _Line:
    """The connection over which many jobs are submitted, and another one after it if its server is about to end.

    accepted: the handles, in the order of the workloads.
    """

    def __init__(self, attempts: Attempts, forms: Forms[Callable[[Any], bytes]]) -> None:
        self._attempts = attempts
        self._limits = attempts.limits
        self._forms = forms
        self.accepted: list[JobHandle] = []
        self._connect()

    def jobs(self, workloads: Iterable[Any]) -> Iterator[_Job]:
        """Each workload with its packet."""
        for workload in workloads:
            yield _Job(workload, self._encode)

    def submit(self, portion: Sequence[_Job]) -> None:
        """Submit a portion. The caller's generator has run since the last one."""
        self._connection.check_process()
        if not is_quiet(self._connection):  # closed while it was idle, and nothing is under way
            self._server.drop()
            self._attempts.lost(self._server, ConnectionLost(f"connection to {self._server.address} lost"))
            self._connect()
        left = portion
        while (ending := self._submit(portion, left)) is not None:
            left = [job for job in left if job.handle is None]
            self._server.drop()  # it would refuse the next job too
            try:
                self._attempts.lost(self._server, ending)
                self._connect()
            except (ConnectionLost, CouldNotConnect, Timeout) as error:
                raise PartlyRefused(ending.code, ending.text, self._handles(portion)) from error
        self.accepted = self._handles(portion)

    def _connect(self) -> None:
        while True:
            self._server, self._connection = self._attempts.next()
            try:
                self._encode = chosen(self._forms, self._server, self._connection, self._limits)
            except LOSSES as error:
                self._attempts.lost(self._server, error)
            else:
                return

    def _handles(self, portion: Sequence[_Job]) -> list[JobHandle]:
        """All handles so far."""
        return [*self.accepted, *(job.handle for job in portion if job.handle is not None)]

    def _submit(self, portion: Sequence[_Job], left: Sequence[_Job]) -> ServerEnding | None:
        """Send what is left of a portion, and take the answers. Returns the refusal of a server that is ending."""
        connection, refusals = self._connection, list[ServerError]()
        with Conversation(self._server):
            for job in left:
                job.be_for(self._encode)
                connection.queue(job.packet)
            missing = len(left)
            try:
                connection.flush(self._limits.deadline)
                for refusal in _answers(connection, left, self._limits.answer_by(0)):
                    missing -= 1
                    if refusal is not None:
                        refusals.append(refusal)
            except LOSSES as error:
                raise many_not_known(missing, self._server.address, error, self._handles(portion)) from error
            for refusal in refusals:
                if not isinstance(refusal, ServerEnding):
                    raise PartlyRefused(refusal.code, refusal.text, self._handles(portion))
        return next((refusal for refusal in refusals if isinstance(refusal, ServerEnding)), None)


def many_not_known(missing: int, server: Address, error: GearmanError, accepted: Sequence[JobHandle]) -> JobNotKnown:
    """The error for background jobs that were sent and not acknowledged, because of `error`."""
    kind = JobNotAcknowledged if isinstance(error, Timeout) else JobNotKnown
    text = f"{server} did not acknowledge {missing} jobs, which it may have, or not ({error})"
    return kind(text, str(server), accepted)


def _answers(connection: Connection, jobs: Sequence[_Job], deadline: float) -> Iterator[ServerError | None]:
    """Read every answer to these jobs, so that none is left on the connection: for each the refusal, or None."""
    address, open_jobs = connection.address, iter(jobs)
    answered = 0
    while answered < len(jobs):
        for packet_type, body in next_packets(connection, deadline):
            job = next(open_jobs, None)
            answered += 1
            if job is not None and packet_type == PacketType.JOB_CREATED:
                job.handle = JobHandle(to_text(body), address)
                yield None
            elif job is not None and packet_type == PacketType.ERROR:
                yield server_error(body)
            else:
                raise ProtocolError(f"{address} answered a submission with packet type {packet_type}")


def _portions(jobs: Iterable[_Job]) -> Iterator[list[_Job]]:
    """Portions of jobs that may be under way at once; a packet above the limit makes a portion of its own."""
    portion: list[_Job] = []
    size_bytes = 0
    for job in jobs:
        if portion and size_bytes + len(job.packet) > PORTION_BYTES:
            yield portion
            portion, size_bytes = [], 0
        portion.append(job)
        size_bytes += len(job.packet)
        if len(portion) == PORTION_JOBS:
            yield portion
            portion, size_bytes = [], 0
    if portion:
        yield portion
