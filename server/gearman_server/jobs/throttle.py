"""Whether a function's jobs may be started now: its `max_running`, its `rate`, its `brake`, and whether it is paused.

Pure: the time is handed in.

A rate is exact: no stretch of `per_s` seconds, wherever it begins, has more than `count` starts. It is a bucket of
`count` tokens, each of which comes back `per_s` after it was taken. So after a pause all may be taken at once.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gearman_server.jobs.policies import Rate

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Alarm
    from gearman_server.jobs.policies import BrakeRule, FunctionPolicy


class RunningCount:
    """A number of running jobs that has a limit. No protocol: compiled, an attribute of such a type has no default."""

    __slots__ = ()

    def note_end(self) -> None:
        """One of them is no longer with its worker."""
        raise NotImplementedError


class Brake:
    """Holds a function's jobs back after too many failures, until a job that was started as a probe succeeds.

    Only what a probe did counts while the brake is on: jobs that were started before say nothing about the time since.
    """

    __slots__ = ("_failures", "_probes", "holds", "rule", "since", "since_unix", "until", "until_unix")

    def __init__(self, rule: BrakeRule) -> None:
        self.rule = rule
        #: The times of the failures that still count.
        self._failures: deque[float] = deque()
        #: The number of probes that run.
        self._probes = 0
        #: Since when it is on, and when it lets probes through (monotonic seconds); None while it is off.
        self.since: float | None = None
        self.until: float | None = None
        #: The same in Unix seconds, for people.
        self.since_unix = self.until_unix = 0.0
        #: How often it was put on, without failed probes.
        self.holds = 0

    def room(self, waiting: int, now: float) -> int:
        """How many of the waiting jobs may be started."""
        if self.until is None:
            return waiting
        return 0 if now < self.until else max(0, min(waiting, self.rule.probe - self._probes))

    def note_start(self) -> None:
        """A job was started."""
        if self.until is not None:
            self._probes += 1

    def note_release(self, started: float) -> None:
        """The worker of a job that was started at that time has it no longer, whatever became of it."""
        if self._is_probe(started):
            self._probes -= 1

    def note_success(self, started: float) -> bool:
        """A job that was started at that time has ended well. Returns whether that has taken the brake off."""
        is_over = self._is_probe(started)
        if is_over:
            self.take_off()
        return is_over

    def note_failure(self, started: float, now: float, unix_now: float) -> bool:
        """A job that was started at that time has failed. Returns whether the function is held now because of that."""
        if self.until is None:
            failures, bound = self._failures, self.rule.failures
            failures.append(now)
            while failures[0] + bound.per_s <= now:
                failures.popleft()
            if len(failures) <= bound.count:
                return False
            self.since, self.since_unix = now, unix_now
            self.holds += 1
        elif not self._is_probe(started):
            return False
        self._failures.clear()
        self._probes = 0
        self.until, self.until_unix = now + self.rule.hold_s, unix_now + self.rule.hold_s
        return True

    def take_off(self) -> None:
        """Let all jobs through, and begin to count anew."""
        self.since = self.until = None
        self._failures.clear()
        self._probes = 0

    def _is_probe(self, started: float) -> bool:
        return self.until is not None and started >= self.until


class Wish(NamedTuple):
    """A worker's wish that none of a function's jobs be started for a while."""

    #: Monotonic seconds.
    until: float
    #: Unix seconds, for people.
    since_unix: float
    until_unix: float


class Throttle:
    """The limits on starting a function's jobs, and the starts that still count."""

    __slots__ = (
        "_max_running",
        "_policy",
        "_rate",
        "_shares",
        "_starts",
        "alarm",
        "brake",
        "counts_ends",
        "counts_starts",
        "held_until",
        "paused_since",
        "wish",
    )

    def __init__(self, policy: FunctionPolicy, former: Throttle | None) -> None:
        """`former` is the throttle until now: its starts still count, its pause and its hold go on, and so does its
        brake if the rule for it is the same."""
        self._policy = policy
        self._max_running = policy.max_running
        self._rate = rate = policy.rate
        #: How many jobs may run here, and be started here within the rate's time, if the limits are those of a cluster.
        self._shares: tuple[int, int] | None = None
        self._starts: deque[float] = deque(former._starts if former is not None and rate is not None else ())
        self.brake: Brake | None = None
        if policy.brake is not None:
            brake = former.brake if former is not None else None
            self.brake = brake if brake is not None and brake.rule == policy.brake else Brake(policy.brake)
        #: Whether `note_start` has to be called, and whether the end of a job may allow another one's start.
        self.counts_starts = rate is not None or policy.brake is not None
        self.counts_ends = policy.max_running is not None or policy.brake is not None
        #: Since when an operator lets no job start (Unix seconds); None: the function is not paused.
        self.paused_since: float | None = None if former is None else former.paused_since
        #: Nothing is started before this time (monotonic seconds), as a worker wished; 0 = it is not held.
        self.held_until: float = 0.0 if former is None else former.held_until
        #: The last of these wishes; None: there was none.
        self.wish: Wish | None = None if former is None else former.wish
        #: Rings when sleepers may be woken again; None until that is needed for the first time.
        self.alarm: Alarm | None = None
        if former is not None and former._shares is not None:
            self.share(*former._shares)

    def share(self, running: int, starts: int) -> bool:
        """Allow no more than these shares of `max_running` and of the rate's count. Returns whether one has grown."""
        before, self._shares = self._shares or (0, 0), (running, starts)
        max_running, rate = self._policy.max_running, self._policy.rate
        self._max_running = None if max_running is None else min(max_running, running)
        self._rate = None if rate is None else Rate(min(rate.count, starts), rate.per_s)
        return running > before[0] or starts > before[1]

    def counted_starts(self, now: float) -> int:
        """How many starts still count against the rate."""
        if self._rate is not None:
            self._tokens(self._rate, now)
        return len(self._starts)

    @property
    def has_rule(self) -> bool:
        """Whether the function has a limit or a brake."""
        return self._max_running is not None or self._rate is not None or self.brake is not None

    @property
    def is_needed(self) -> bool:
        """Whether it holds anything back, now or later."""
        return self.has_rule or self.paused_since is not None or self.held_until > 0

    def wished(self, now: float) -> Wish | None:
        """The wish that holds the function now."""
        return self.wish if self.wish is not None and now < self.wish.until else None

    def take_wish_off(self) -> None:
        """Start jobs again, whatever a worker wished."""
        if self.wish is not None and self.held_until == self.wish.until:
            self.held_until = 0.0
        self.wish = None

    def admits(self, running: int, now: float) -> bool:
        """Whether one more job may be started besides the running ones."""
        if self.paused_since is not None or now < self.held_until:
            return False
        if self._max_running is not None and running >= self._max_running:
            return False
        if self.brake is not None and not self.brake.room(1, now):
            return False
        return self._rate is None or self._tokens(self._rate, now) > 0

    def room(self, running: int, waiting: int, now: float) -> int:
        """How many of the waiting jobs may be started."""
        if self.paused_since is not None or now < self.held_until:
            return 0
        if self._max_running is not None:
            waiting = min(waiting, max(0, self._max_running - running))
        if self.brake is not None:
            waiting = self.brake.room(waiting, now)
        return waiting if self._rate is None else min(waiting, max(0, self._tokens(self._rate, now)))

    def note_start(self, now: float) -> None:
        """A job was started that was taken from its queue."""
        if self._rate is not None:
            self._starts.append(now)
        if self.brake is not None:
            self.brake.note_start()

    def note_running(self, _key: bytes, _began_at: float) -> RunningCount | None:
        """A job with this key runs already: `note_start` follows, but it comes from no queue. Returns the number in
        which it is counted, if that of its key has a limit."""
        return None

    def forget_start(self, _key: bytes, at: float) -> None:
        """A job with this key, which was started at that time, was given back unbegun."""
        with suppress(ValueError):  # there is no rate, or the start has ceased to count
            self._starts.remove(at)

    def opens_at(self, running: int, now: float) -> float | None:
        """When time alone allows the next start; None if one is allowed now, or if something else has to happen
        first: a job's end, or an operator's command."""
        brake, rate = self.brake, self._rate
        if self.paused_since is not None or (self._max_running is not None and running >= self._max_running):
            return None
        opens_at = max(now, self.held_until)
        if brake is not None and brake.until is not None:
            if brake.until <= now and not brake.room(1, now):
                return None
            opens_at = max(opens_at, brake.until)
        if rate is not None and not rate.count:
            return None  # another server of the cluster has the whole rate
        if rate is not None and self._tokens(rate, now) <= 0:
            # After a change to a lower rate, more starts may count than it allows.
            opens_at = max(opens_at, self._starts[len(self._starts) - rate.count] + rate.per_s)
        return opens_at if opens_at > now else None

    def _tokens(self, rate: Rate, now: float) -> int:
        starts = self._starts
        while starts and starts[0] + rate.per_s <= now:
            starts.popleft()
        return rate.count - len(starts)
