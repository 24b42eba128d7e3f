"""What a client gets to know about a job: its handle, and how far it is. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from gearman_client.address import Address


class JobHandle(str):
    """A job's handle, which is text like any other, and the server that gave it.

    Two job servers can give out the same handle; `Client.status` asks the right one as long as it is given this object.
    """

    __slots__ = ("server",)
    server: Address

    def __new__(cls, handle: str, server: Address) -> JobHandle:
        self = super().__new__(cls, handle)
        self.server = server
        return self


@dataclass(frozen=True, slots=True)
class JobStatus:
    """An answer to a status query; `denominator` is 0 as long as the worker reported no progress.

    waiting_clients: how many clients wait for the result; None where it was not asked for (`Client.status`).
    """

    known: bool
    running: bool
    numerator: int
    denominator: int
    waiting_clients: int | None = None


def to_number(digits: bytes) -> int:
    """A number as the peer wrote it; what is none counts as 0, as in the job server (workers may report anything)."""
    return int(digits) if digits.isdigit() and len(digits) <= 20 else 0
