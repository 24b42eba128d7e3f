"""Submits many background jobs over one connection, without waiting for each answer before the next job.

A client that submits one job at a time is limited by one round trip for each job; here there is one for each portion.
A server of ours that knows the extension `submit-many` gets a portion in one packet. It is asked before the first full
portion: few jobs are not worth another round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from gearman_client.address import Address
from gearman_client.client.attempts import LOSSES, Attempts, Limits
from gearman_client.client.calls import Conversation, ask, chosen
from gearman_client.client.foreground import server_error
from gearman_client.client.job_status import JobHandle, handle_of, handles_of
from gearman_client.client.server_pool import PooledServer, ServerPool, is_quiet, next_packets
from gearman_client.client.submission import LISTS_REQUEST, UNCHECKED_BYTES, ManyJobsForms
from gearman_client.connection.connection import Connection
from gearman_client.errors import (
    ArgumentError,
    ConnectionLost,
    CouldNotConnect,
    GearmanError,
    JobNotAcknowledged,
    JobNotKnown,
    NotSupported,
    PartlyRefused,
    ProtocolError,
    ServerEnding,
    ServerError,
    Timeout,
)
from gearman_client.extensions import JOBS_CREATED, MAX_JOBS_SUBMITTED
from gearman_client.packet import PacketType

_JOB_CREATED: Final = int(PacketType.JOB_CREATED)
#: The most jobs under way at once: enough that the round trip no longer counts, few enough to fit into any buffer.
PORTION_JOBS: Final = MAX_JOBS_SUBMITTED
PORTION_BYTES: Final = UNCHECKED_BYTES


def check_workloads(workloads: object) -> None:
    """Check that there can be many.

    Raises:
        ArgumentError: it is one text, or not iterable.
    """
    if isinstance(workloads, str | bytes | bytearray | memoryview) or not isinstance(workloads, Iterable):
        raise ArgumentError(f"workloads: expected a list or another iterable, not {type(workloads).__name__}")


def submit_all(
    pool: ServerPool,
    jobs: ManyJobsForms,
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
    line = _Line(Attempts(pool, limits, only=only), jobs)
    for portion in line.portions(workloads):
        line.submit(portion)
    return line.accepted


class _Portion:
    """Jobs that may be under way at once. Each has its handle once it is accepted.

    packets: what `encode` has made of the workloads: a packet of each, or its part of one packet.
    """

    __slots__ = ("encode", "handles", "packets", "workloads")

    def __init__(self, encode: Callable[[Any], bytes], workloads: list[Any], packets: list[bytes]) -> None:
        self.encode = encode
        self.workloads = workloads
        self.packets = packets
        self.handles: list[JobHandle | None] = [None] * len(packets)

    def be_for(self, encode: Callable[[Any], bytes]) -> None:
        """Have what this makes: another connection may need other packets."""
        if encode is not self.encode:
            self.encode, self.packets = encode, list(map(encode, self.workloads))

    @property
    def accepted(self) -> list[JobHandle]:
        """The handles so far."""
        return [handle for handle in self.handles if handle is not None]

    @property
    def left(self) -> Sequence[int]:
        """The places of the other jobs."""
        if self.handles.count(None) == len(self.handles):  # most ask for that once, before any is accepted
            return range(len(self.handles))
        return [at for at, handle in enumerate(self.handles) if handle is None]


class _Line:
    """The connection over which many jobs are submitted, and another one after it if its server is about to end.

    accepted: the handles, in the order of the workloads.
    """

    def __init__(self, attempts: Attempts, jobs: ManyJobsForms) -> None:
        self._attempts = attempts
        self._limits = attempts.limits
        self._forms, self._listing = jobs
        self.accepted: list[JobHandle] = []
        self._connect()

    def portions(self, workloads: Iterable[Any]) -> Iterator[_Portion]:
        """The workloads in portions, with their packets; a packet above the limit makes a portion of its own."""
        some, packets, size_bytes = list[Any](), list[bytes](), 0
        encode, own = self._encode, self._own_type
        for workload in workloads:
            packet = workload if type(workload) is own else encode(workload)
            size_bytes += len(packet)
            if size_bytes > PORTION_BYTES:
                if packets:
                    yield _Portion(encode, some, packets)
                    some, packets = [], []
                if own is not None or encode is not self._encode:  # it is unchecked, or for another connection
                    encode, own = self._encode, self._own_type
                    packet = encode(workload)
                size_bytes = len(packet)
            some.append(workload)
            packets.append(packet)
            if len(packets) == PORTION_JOBS:
                yield _Portion(encode, some, packets)
                some, packets, size_bytes, encode, own = [], [], 0, self._encode, self._own_type
        if packets:
            yield _Portion(encode, some, packets)

    def submit(self, portion: _Portion) -> None:
        """Submit a portion. The caller's generator has run since the last one."""
        self._connection.check_process()
        if not is_quiet(self._connection):  # closed while it was idle, and nothing is under way
            self._server.drop()
            self._attempts.lost(self._server, ConnectionLost(f"connection to {self._server.address} lost"))
            self._connect()
        if len(portion.packets) == PORTION_JOBS:
            self._ask_for_lists()
        while (ending := self._submit(portion)) is not None:
            self._server.drop()  # it would refuse the next job too
            try:
                self._attempts.lost(self._server, ending)
                self._connect()
            except (ConnectionLost, CouldNotConnect, Timeout) as error:
                raise PartlyRefused(ending.code, ending.text, self._accepted_with(portion)) from error
        self.accepted += portion.accepted

    def _connect(self) -> None:
        while True:
            self._server, self._connection = self._attempts.next()
            try:
                encode = chosen(self._forms, self._server, self._connection, self._limits)
            except LOSSES as error:
                self._attempts.lost(self._server, error)
            else:
                self._choose(encode)
                return

    def _ask_for_lists(self) -> None:
        """Ask whether the server takes many jobs in one packet, unless that is known, or it is none of ours."""
        while self._may_take_lists and self._server.takes_lists is None:
            try:
                ask(self._server, self._connection, LISTS_REQUEST, PacketType.OPTION_RES, self._limits)
            except (ServerError, NotSupported):
                self._server.takes_lists = False
            except LOSSES as error:
                self._attempts.lost(self._server, error)
                self._connect()
            else:
                self._server.takes_lists = True
                self._choose(self._encode)

    @property
    def _may_take_lists(self) -> bool:
        """Whether all jobs fit into lists, and the server is of ours: it has told of the servers of its cluster."""
        return self._listing is not None and self._connection.on_servers is not None

    def _choose(self, encode: Callable[[Any], bytes]) -> None:
        """Have the workloads made into packets by this, or into parts of lists."""
        self._encode, self._own_type = encode, None
        if self._listing is not None and self._server.takes_lists:
            self._encode, self._own_type = self._listing.body, self._listing.own_type

    def _joined(self, packets: list[bytes]) -> bytes:
        if self._listing is not None and self._encode is self._listing.body:
            return self._listing.packet(packets)
        return packets[0] if len(packets) == 1 else b"".join(packets)

    def _accepted_with(self, portion: _Portion) -> list[JobHandle]:
        """All handles so far."""
        return self.accepted + portion.accepted

    def _submit(self, portion: _Portion) -> ServerEnding | None:
        """Send what is left of a portion, and take the answers. Returns the refusal of a server that is ending."""
        connection, left = self._connection, portion.left
        with Conversation(self._server):
            portion.be_for(self._encode)
            is_whole = len(left) == len(portion.packets)
            packets = portion.packets if is_whole else [portion.packets[at] for at in left]
            connection.queue(self._joined(packets))
            refusals: list[ServerError] = []
            try:
                connection.flush(self._limits.deadline)
                _take_answers(connection, portion.handles, left, refusals, self._limits.answer_by(0))
            except LOSSES as error:
                missing = len(left) - len(refusals) - sum(portion.handles[at] is not None for at in left)
                accepted = self._accepted_with(portion)
                raise many_not_known(missing, self._server.address, error, accepted) from error
            for refusal in refusals:
                if not isinstance(refusal, ServerEnding):
                    raise PartlyRefused(refusal.code, refusal.text, self._accepted_with(portion))
        return next((refusal for refusal in refusals if isinstance(refusal, ServerEnding)), None)


def many_not_known(missing: int, server: Address, error: GearmanError, accepted: Sequence[JobHandle]) -> JobNotKnown:
    """The error for background jobs that were sent and not acknowledged, because of `error`."""
    kind = JobNotAcknowledged if isinstance(error, Timeout) else JobNotKnown
    text = f"{server} did not acknowledge {missing} jobs, which it may have, or not ({error})"
    return kind(text, str(server), accepted)


def _take_answers(
    connection: Connection,
    handles: list[JobHandle | None],
    places: Sequence[int],
    refusals: list[ServerError],
    deadline: float,
) -> None:
    """Read every answer to the jobs at these places, so that none is left on the connection."""
    address, next_place = connection.address, iter(places).__next__
    answered = 0
    while answered < len(places):
        packets = next_packets(connection, deadline)
        answered += len(packets)
        if answered > len(places):
            raise ProtocolError(f"{address} answered more than was submitted")
        for packet_type, body in packets:
            if packet_type == _JOB_CREATED:
                handles[next_place()] = handle_of(body, address)
            elif packet_type == JOBS_CREATED and answered == 1:
                created = handles_of(body, address)
                if len(created) != len(places):
                    raise ProtocolError(f"{address} answered {len(places)} submissions with {len(created)} handles")
                if len(created) == len(handles):
                    handles[:] = created
                else:
                    for place, handle in zip(places, created, strict=True):
                        handles[place] = handle
                return
            elif packet_type == PacketType.ERROR:
                next_place()
                refusals.append(server_error(body))
            else:
                raise ProtocolError(f"{address} answered a submission with packet type {packet_type}")
