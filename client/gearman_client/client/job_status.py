"""The handle and the status of a job. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gearman_client.address import Address
from gearman_client.text import ENCODING, ERRORS

_made: Final = str.__new__


class JobHandle(str):
    """A job's handle, a plain text, together with the server that gave it, and the job's function if that is known.

    Two job servers can give out the same handle. Pass this object to `Client.status`, and it asks the right server.
    """

    __slots__ = ("function", "server")
    server: Address
    function: str

    def __new__(cls, handle: str, server: Address, function: str = "") -> JobHandle:
        self = super().__new__(cls, handle)
        self.server = server
        self.function = function
        return self


def handle_of(data: bytes, server: Address) -> JobHandle:
    """The handle in a JOB_CREATED: as `JobHandle`, in half the time."""
    handle = _made(JobHandle, data, ENCODING, ERRORS)
    handle.server, handle.function = server, ""
    return handle


def handles_of(data: bytes, server: Address) -> list[JobHandle]:
    """The handles in a JOBS_CREATED."""
    handles = []
    for text in data.decode(ENCODING, ERRORS).split("\0"):
        handle = _made(JobHandle, text)
        handle.server, handle.function = server, ""
        handles.append(handle)
    return handles


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The answer to a status query; `denominator` is 0 until the worker reports progress.

    waiting_clients: the number of clients that wait for the result; None from `Client.status`, whose answer lacks it.
    """

    known: bool
    running: bool
    numerator: int
    denominator: int
    waiting_clients: int | None = None


def to_number(digits: bytes) -> int:
    """The number that the peer sent; anything else counts as 0, as in the job server (workers may report anything)."""
    return int(digits) if digits.isdigit() and len(digits) <= 20 else 0


def to_job_status(arguments: Sequence[bytes]) -> JobStatus:
    """The status in the arguments of STATUS_RES or STATUS_RES_UNIQUE."""
    _, known, running, numerator, denominator, *clients = arguments
    return JobStatus(
        known=known == b"1",
        running=running == b"1",
        numerator=to_number(numerator),
        denominator=to_number(denominator),
        waiting_clients=to_number(clients[0]) if clients else None,
    )
