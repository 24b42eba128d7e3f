"""What a job has been through: kept only for those whose attempts did not all go well, beside the job. Pure data."""

from __future__ import annotations


class JobHistory:
    """A job's attempts that came to nothing."""

    __slots__ = ("error", "failures", "first_started", "last_started", "losses", "not_before", "traceback")

    def __init__(self, first_started: float) -> None:
        #: Attempts that failed: the worker said so, or the time was up.
        self.failures = 0
        #: Attempts whose worker was lost.
        self.losses = 0
        #: When the first and the last of these attempts began (monotonic seconds).
        self.first_started = first_started
        self.last_started = first_started
        #: What the last failure said, and where in the code it happened, as far as the worker told.
        self.error = b""
        self.traceback = b""
        #: While it waits for its next attempt: when that may begin (Unix seconds).
        self.not_before: float | None = None

    @property
    def attempts(self) -> int:
        """How many attempts are over."""
        return self.failures + self.losses
