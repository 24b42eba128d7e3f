"""Submits many background jobs over one connection, without waiting for each answer before the next job.

A client that submits one job at a time is limited by one round trip for each job; here there is one for each portion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Final

from gearman_client.client.foreground import server_error
from gearman_client.client.job_status import JobHandle
from gearman_client.client.server_pool import next_packets
from gearman_client.connection.connection import Connection
from gearman_client.errors import PartlyRefused, ProtocolError, ServerError
from gearman_client.packet import HEADER, REQUEST_MAGIC, PacketType
from gearman_client.text import to_text

#: The most jobs under way at once: enough that the round trip no longer counts, few enough to fit into any buffer.
PORTION_JOBS: Final = 200
PORTION_BYTES: Final = 256 * 1024


def submission_encoder(packet_type: int, function: bytes) -> Callable[[bytes], bytes]:
    """A function that makes the packets of jobs that differ only in their workload; none has a unique id."""
    start = function + b"\0\0"
    pack, length = HEADER.pack, len(start)
    return lambda workload: pack(REQUEST_MAGIC, packet_type, length + len(workload)) + start + workload


def submit_all(connection: Connection, packets: Iterable[bytes], reply_timeout_s: float) -> list[JobHandle]:
    """Submit every packet; returns the handles in the same order.

    Raises:
        PartlyRefused: the server refused some; the portions after the one with the refusal were not submitted.
        Timeout, ConnectionLost, ProtocolError: the server may have accepted the jobs under way, or not.
    """
    accepted: list[JobHandle] = []
    for portion in _portions(packets):
        connection.check_process()  # the caller's generator has run meanwhile
        for packet in portion:
            connection.queue(packet)
        connection.flush()
        refusal = _take_answers(connection, len(portion), monotonic() + reply_timeout_s, accepted)
        if refusal is not None:
            raise PartlyRefused(refusal.code, refusal.text, accepted)
    return accepted


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
