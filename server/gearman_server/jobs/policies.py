"""The rules for a function's jobs: limits, retries, time and kept results. Pure; `policy_file` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

#: The server itself ends an attempt this long after its limit: the worker and its supervisor come first.
TIMEOUT_GRACE_S: Final = 2.0

DEFAULT_BACKOFF_S: Final = 10.0
DEFAULT_MAX_BACKOFF_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` jobs are started in any stretch of `per_s` seconds."""

    count: int
    per_s: float


@dataclass(frozen=True, slots=True)
class FunctionPolicy:
    """The rules for the jobs of one function."""

    #: Longest time of one attempt in seconds; None = no limit.
    timeout_s: float | None = None
    #: Further attempts after one that failed or took too long.
    retries: int = 0
    #: Further attempts after the worker was lost under the job; None = no limit.
    crash_retries: int | None = None
    #: The wait before the first retry; it doubles for each further one, up to `max_backoff_s`.
    backoff_s: float = DEFAULT_BACKOFF_S
    max_backoff_s: float = DEFAULT_MAX_BACKOFF_S
    #: Submissions are refused while this many jobs wait; None = no limit.
    max_queue: int | None = None
    #: Jobs that run at once, on all workers together; None = no limit.
    max_running: int | None = None
    #: How often a job is started; None = as often as workers ask.
    rate: Rate | None = None
    #: How long the result of a background job can be asked for, in seconds; None = not at all.
    keep_result_s: float | None = None


@dataclass(frozen=True, slots=True)
class Policies:
    """The rules for every function."""

    #: gearmand's `--job-retries`: attempts in all, for functions without a `crash_retries`; None = no limit.
    job_retries: int | None = None
    by_function: Mapping[bytes, FunctionPolicy] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def default(self) -> FunctionPolicy:
        """The rules for functions that have none of their own."""
        return FunctionPolicy(crash_retries=None if self.job_retries is None else max(self.job_retries - 1, 0))

    def of(self, name: bytes) -> FunctionPolicy:
        """The rules for one function. Its own `crash_retries` wins over `--job-retries`."""
        written = self.by_function.get(name)
        if written is None:
            return self.default
        if written.crash_retries is None:
            return replace(written, crash_retries=self.default.crash_retries)
        return written
