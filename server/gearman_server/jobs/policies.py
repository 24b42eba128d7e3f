"""The rules for a function's jobs: limits, retries, time and kept results. Pure; `policy_file` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.options.job_options import JobOptions

#: The server itself ends an attempt this long after its limit: the worker and its supervisor come first.
TIMEOUT_GRACE_S: Final = 2.0
#: A worker that is told to stop a job, or its supervisor, has so long for it.
STOP_GRACE_S: Final = 10.0

DEFAULT_BACKOFF_S: Final = 10.0
DEFAULT_MAX_BACKOFF_S: Final = 600.0
DEFAULT_HOLD_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` jobs are started in any stretch of `per_s` seconds."""

    count: int
    per_s: float


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """The rules for the keys of one function's jobs."""

    #: Jobs of one key that run at once; None = no limit.
    max_running: int | None = None
    #: How often a job of one key is started; None = as often as workers ask.
    rate: Rate | None = None
    #: Whether keys take turns.
    is_fair: bool = False
    #: How many jobs a key may start in its turn; 1 for others.
    weights: Mapping[bytes, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_limited(self) -> bool:
        """Whether a key can be kept from starting jobs."""
        return self.max_running is not None or self.rate is not None


@dataclass(frozen=True, slots=True)
class BrakeRule:
    """After more failed attempts than this, no job is started for a while; then some are, to probe."""

    #: More than `count` failures in any stretch of `per_s` seconds are too many.
    failures: Rate
    hold_s: float = DEFAULT_HOLD_S
    #: The number of jobs that run at once until one of them has succeeded.
    probe: int = 1


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
    #: None: failures hold nothing back.
    brake: BrakeRule | None = None
    #: How long the result of a background job can be asked for, in seconds; None = not at all.
    keep_result_s: float | None = None
    #: The names of the options that a job may bring along; None = all.
    allow_options: frozenset[str] | None = None
    #: The rules for the keys of its jobs; None: keys mean nothing.
    keys: KeyPolicy | None = None
    #: Whether unique keys of its background jobs hold for all servers that share the store, not for one of them.
    is_unique_in_cluster: bool = False
    #: How long its dead letters are kept, in seconds; None = as long as those of others.
    retention_s: float | None = None


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


def with_options(policy: FunctionPolicy, options: JobOptions) -> FunctionPolicy:
    """The rules for one job: its own options win over its function's policy."""
    backoff_s = policy.backoff_s if options.backoff_s is None else options.backoff_s
    max_backoff_s = options.max_backoff_s
    if max_backoff_s is None:
        max_backoff_s = max(policy.max_backoff_s, backoff_s)
    return replace(
        policy,
        retries=policy.retries if options.retries is None else options.retries,
        backoff_s=min(backoff_s, max_backoff_s),
        max_backoff_s=max_backoff_s,
        timeout_s=policy.timeout_s if options.timeout_s is None else options.timeout_s or None,
    )
