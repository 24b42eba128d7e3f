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
from gearman_client.client.server_pool import PooledServer, ServerPool, next_packets
from gearman_client.client.submission import Forms
from gearman_client.connection.connection import Connection
from gearman_client.errors import (
    ArgumentError,
    GearmanError,
    JobNotAcknowledged,
    JobNotKnown,
    PartlyRefused,
    ProtocolError,
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

    Raises:
        PartlyRefused: the server refused some; the portions after the one with the refusal were not submitted.
        JobNotKnown: the server may have accepted the jobs under way, or not.
        CouldNotConnect, Timeout: no server can be reached; there is no time.
        NotSupported: the server does not know an option of the jobs.
    """
    limits.begin()
    if only is None:
        server, connection = pool.choose(b"", limits.deadline)
    else:
        server, connection = Attempts(pool, limits, only=only).next()
    packets = map(chosen(forms, server, connection, limits), workloads)
    accepted: list[JobHandle] = []
    with Conversation(server):
        for portion in _portions(packets):
            connection.check_process()  # the caller's generator has run meanwhile
            for packet in portion:
                connection.queue(packet)
            before = len(accepted)
            try:
                connection.flush(limits.deadline)
                refusal = _take_answers(connection, len(portion), limits.answer_by(0), accepted)
            except LOSSES as error:
                missing = len(portion) - (len(accepted) - before)
                raise many_not_known(missing, server.address, error, accepted) from error
            if refusal is not None:
                raise PartlyRefused(refusal.code, refusal.text, accepted)
    return accepted


def many_not_known(missing: int, server: Address, error: GearmanError, accepted: Sequence[JobHandle]) -> JobNotKnown:
    """The error for background jobs that were sent and not acknowledged, because of `error`."""
    kind = JobNotAcknowledged if isinstance(error, Timeout) else JobNotKnown
    text = f"{server} did not acknowledge {missing} jobs, which it may have, or not ({error})"
    return kind(text, str(server), accepted)


def _take_answers(
    connection: Connection, expected: int, deadline: float, accepted: list[JobHandle]
) -> ServerError | None:
    """Read every answer to a portion, so that none is left on the connection; return the first refusal, if any."""
    refusal = None
    address = connection.address
    while expected > 0:
        for packet_type, body in next_packets(connection, deadline):
            expected -= 1
            if packet_type == PacketType.JOB_CREATED:
                accepted.append(JobHandle(to_text(body), address))
            elif packet_type == PacketType.ERROR:
                refusal = refusal or server_error(body)
            else:
                raise ProtocolError(f"{address} answered a submission with packet type {packet_type}")
    return refusal


def _portions(packets: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Portions of packets that may be under way at once; a packet above the limit makes a portion of its own."""
    portion: list[bytes] = []
    size_bytes = 0
    for packet in packets:
        if portion and size_bytes + len(packet) > PORTION_BYTES:
            yield portion
            portion, size_bytes = [], 0
        portion.append(packet)
        size_bytes += len(packet)
        if len(portion) == PORTION_JOBS:
            yield portion
            portion, size_bytes = [], 0
    if portion:
        yield portion
