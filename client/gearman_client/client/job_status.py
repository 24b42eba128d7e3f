"""The handle and the status of a job. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from gearman_client.address import Address


class JobHandle(str):
    """A job's handle, a plain text, together with the server that gave it.

    Two job servers can give out the same handle. Pass this object to `Client.status`, and it asks the right server.
    """

    __slots__ = ("server",)
    server: Address

    def __new__(cls, handle: str, server: Address) -> JobHandle:
        self = super().__new__(cls, handle)
        self.server = server
        return self


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
