"""A row of the outbox as the relay has it, and the packet that it becomes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from gearman_client.errors import ArgumentError
from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.job_pairs import MAX_SUBMISSION_BYTES, encode_pairs
from gearman_client.packet import encode_request
from gearman_client.text import to_argument, to_body, to_function

#: Pairs that the relay gives by itself.
_OUR_PAIRS: Final = frozenset({b"background", b"submission"})


class UnsendableRow(Exception):
    """No packet can be made of a row: a program has written it wrongly. The text says what is wrong."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row that is to be handed to a job server.

    order_key: rows with equal ones keep their order; None: they need not.
    attempts: how often it was tried in vain.
    is_in_doubt: the job server may have it already.
    created_ms: when the program inserted it, by its own clock.
    """

    id: int
    function: str
    order_key: str | None
    attempts: int
    is_in_doubt: bool
    created_ms: int
    packet: bytes


def packet_of(function: str, unique: str, submission: str, job_options: str | None, workload: bytes | str) -> bytes:
    """The packet for a row: a background job that a server takes once.

    Raises:
        UnsendableRow: a column has a value that it can't have.
    """
    try:
        key = to_argument(submission, "submission")
        if not 1 <= len(key) <= MAX_SUBMISSION_BYTES:
            raise UnsendableRow(f"submission: 1 to {MAX_SUBMISSION_BYTES} bytes are expected, not {len(key)}")
        # What is the row's own comes last: the server looks up as a whole what stands before it.
        pairs = encode_pairs([(b"background", b"1"), *_pairs(job_options or ""), (b"submission", key)])
        return encode_request(
            SUBMIT_JOB_WITH, to_function(function), to_argument(unique, "unique_key"), pairs + to_body(workload)
        )
    except (ArgumentError, ValueError, TypeError) as error:
        raise UnsendableRow(str(error)) from error


def _pairs(job_options: str) -> Iterator[tuple[bytes, bytes]]:
    for part in job_options.split("&") if job_options else ():
        key, is_pair, value = part.partition("=")
        if not is_pair or not key:
            raise UnsendableRow(f"job_options: key=value is expected, percent-encoded, with & between, not {part!r}")
        name = unquote_to_bytes(key)
        if name not in _OUR_PAIRS:
            yield name, unquote_to_bytes(value)


def row_of(columns: Any, *, is_in_doubt: bool) -> OutboxRow:
    """The row out of its columns.

    Raises:
        UnsendableRow: no packet can be made of it.
    """
    packet = packet_of(
        columns.function_name, columns.unique_key, columns.submission, columns.job_options, columns.workload
    )
    function, key, attempts = columns.function_name, columns.order_key, columns.attempts
    return OutboxRow(columns.id, function, key, attempts, is_in_doubt, columns.created_ms, packet)
