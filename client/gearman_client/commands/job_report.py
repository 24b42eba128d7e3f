"""What happens to a job, told to one of the forms of output. Values only."""

from __future__ import annotations

from typing import Protocol

from gearman_client.client.job_status import JobHandle
from gearman_client.errors import (
    ConnectionLost,
    CouldNotConnect,
    JobException,
    JobFailed,
    ServerError,
    Timeout,
)


class JobReport(Protocol):
    """One job's part of the output. `created` may be left out; `complete`, `accepted` or `failed` comes last."""

    def created(self, handle: JobHandle) -> None:
        """The server has the job."""

    def data(self, data: bytes) -> None:
        """The worker sent a part of the result."""

    def warning(self, data: bytes) -> None:
        """The worker sent a warning."""

    def status(self, numerator: int, denominator: int) -> None:
        """The worker told its progress."""

    def ended(self) -> None:
        """The job is over; what came of it follows in its turn."""

    def complete(self, result: bytes) -> None:
        """The result is there."""

    def accepted(self) -> None:
        """The job runs in the background."""

    def failed(self, error: Exception) -> None:
        """There will be no result."""


class Output(Protocol):
    """A form of output; `close` writes what is left."""

    def job(self, function: str, unique: str | None = None, handle: str | None = None) -> JobReport:
        """The part of one job; an empty function: of one that runs already."""

    def close(self) -> None:
        """Write what is left."""


#: How a job's end is called in JSON, by its error. A class stands before its base.
_STATES: tuple[tuple[type[Exception], str], ...] = (
    (JobException, "exception"),
    (JobFailed, "failed"),
    (Timeout, "timeout"),
    (ServerError, "refused"),
    (ConnectionLost, "lost"),
    (CouldNotConnect, "unreachable"),
)


def state_of(error: Exception) -> str:
    """The name of a job's end: `failed`, `exception`, `timeout`, `refused`, `lost`, `unreachable` or `error`."""
    return next((name for kind, name in _STATES if isinstance(error, kind)), "error")
