"""Proposes windows: times of the week at which a higher `min` would have kept the goal, and their price. Pure.

The real scaler runs over all the jobs; `patterns` finds the times that were late again and again; for each the smallest
`min` that helps is searched on these times alone. All windows together then run over all the jobs once more, and what
does not keep the goal there gets more workers, or is not proposed.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Final

from gearman_manager.scaling.steps import Field
from gearman_manager.simulation.patterns import (
    SLOT_S,
    Bin,
    Goal,
    Pattern,
    Span,
    bins,
    find_patterns,
    groups_of,
    slot_start,
    span,
    still_recurs,
)
from gearman_manager.simulation.proposed_windows import Bounds, Window, part_of, raised
from gearman_manager.simulation.replay import Replay, ReplaySettings, replay
from gearman_manager.simulation.trace import Jobs

MAX_WINDOWS: Final = 20
#: If more of the five minutes are late, it is no matter of the calendar.
MOST_LATE: Final = 0.5
#: A `min` is tried up to so many times the pool's `max`, to say what would be needed.
_BEYOND_MAX: Final = 8
#: A `min` is tried on as many days as have this many jobs, divided by the number of windows; all are tried at the end.
_JOBS_OF_TRIALS: Final = 100_000
_WARM_UP_S: Final = 900.0
_ROUNDS: Final = 3  #: in which windows that do not keep the goal together with the others get more workers
_MORE: Final = 1.15
_SIMILAR_MIN: Final = 0.2
_SIMILAR_SLOTS: Final = 2
_MINUTES_OF_A_DAY: Final = 1440


@dataclass(frozen=True, slots=True)
class Waits:
    """How long jobs waited."""

    p50_s: float
    p95_s: float
    p99_s: float
    goal_s: float  #: of the goal's share


@dataclass(frozen=True, slots=True)
class Proposal:
    """A window, what speaks for it, and what it would have changed."""

    window: Window
    pattern: Pattern
    jobs: int
    before: Waits
    after: Waits
    worker_s: float  #: more than without


@dataclass(frozen=True, slots=True)
class Hopeless:
    """A time that no `min` up to the pool's `max` helps; `needed` would, if anything does."""

    pattern: Pattern
    before: Waits
    needed: int | None


@dataclass(slots=True)
class Report:
    """What was found."""

    covered: Span
    before: Waits
    after: Waits
    worker_s: float  #: without windows
    more_worker_s: float = 0.0
    late_bins: int = 0  #: five minutes that miss the goal
    late_days: int = 0
    bins: int = 0
    proposals: list[Proposal] = field(default_factory=list)
    hopeless: list[Hopeless] = field(default_factory=list)
    left_out: int = 0  #: patterns beyond the most that are tried
    rare_weekdays: frozenset[int] = frozenset()  #: that are in the data less than twice

    @property
    def is_always_late(self) -> bool:
        """Whether the goal is missed at most times."""
        return self.late_bins > MOST_LATE * self.bins


@dataclass(frozen=True, slots=True)
class Load:
    """The jobs, in Unix seconds and in order, and the time of which they are all jobs."""

    jobs: Jobs
    start_s: float
    end_s: float


def propose(load: Load, bounds: Bounds, settings: ReplaySettings, goal: Goal, zone: tzinfo) -> Report:
    """Look for windows. `bounds` are the pool's from each moment on; the first is at the load's start or before."""
    return _Proposing(load, bounds, settings, goal, zone).report()


@dataclass(frozen=True, slots=True)
class _Trial:
    """A pattern, the window that is tried for it, and the jobs of each day's part: the first, and the one after."""

    pattern: Pattern
    window: Window
    parts: tuple[tuple[int, int], ...]

    def with_minimum(self, minimum: int) -> _Trial:
        """The same with another `min`."""
        return replace(self, window=replace(self.window, minimum=minimum))


class _Proposing:
    def __init__(self, load: Load, bounds: Bounds, settings: ReplaySettings, goal: Goal, zone: tzinfo) -> None:
        self._load = load
        self._at_s, self._service_s = load.jobs.at_s, load.jobs.service_s
        self._bounds = bounds
        self._settings = settings
        self._goal = goal
        self._zone = zone
        self._covered = span(load.start_s, load.end_s, zone)
        self._jobs_of_a_trial = _JOBS_OF_TRIALS
        self._maximum = max(one.maximum for _, one in bounds)

    def report(self) -> Report:
        """Find patterns, and windows for them; then try these together."""
        before = self._replay(())
        waits = self._waits(before.waits_s)
        report = Report(self._covered, waits, waits, self._worker_s(before))
        found = list(bins(self._at_s, before.waits_s, self._goal, self._zone))
        late = [one for one in found if self._goal.is_missed(one.jobs, one.late)]
        report.bins, report.late_bins, report.late_days = len(found), len(late), len({one.day for one in late})
        alone = {weekday for group in groups_of(self._covered) if len(group) == 1 for weekday in group}
        report.rare_weekdays = frozenset(range(7)) - alone
        if report.is_always_late:
            return report
        patterns = find_patterns(found, self._covered, self._goal)
        report.left_out = max(0, len(patterns) - MAX_WINDOWS)
        patterns = patterns[:MAX_WINDOWS]
        self._jobs_of_a_trial = max(1, _JOBS_OF_TRIALS // max(1, len(patterns)))
        trials = []
        for pattern in patterns:
            trial = self._trial(pattern)
            minimum = self._smallest(trial, 1, self._maximum)
            if minimum is None:
                needed = self._smallest(trial, self._maximum + 1, self._maximum * _BEYOND_MAX)
                report.hopeless.append(Hopeless(pattern, self._waits_of(trial, before), needed))
            else:
                trials.append(trial.with_minimum(minimum))
        self._try_together(report, before, merged(trials))
        return report

    def _try_together(self, report: Report, before: Replay, trials: list[_Trial]) -> None:
        for rounds in range(_ROUNDS + 1):
            if not trials:
                return
            after = self._replay([trial.window for trial in trials])
            missed = [trial for trial in trials if not self._is_kept_in(trial, after)]
            if not missed:
                break
            if rounds == _ROUNDS:
                report.hopeless += [Hopeless(one.pattern, self._waits_of(one, before), None) for one in missed]
                trials = [trial for trial in trials if trial not in missed]
                after = self._replay([trial.window for trial in trials])
                break
            trials = [self._with_more(trial) if trial in missed else trial for trial in trials]
        report.after = self._waits(after.waits_s)
        report.more_worker_s = self._worker_s(after) - report.worker_s
        report.proposals = [self._proposal(trial, before, after) for trial in trials]

    def _with_more(self, trial: _Trial) -> _Trial:
        minimum = trial.window.minimum
        return trial.with_minimum(min(max(minimum + 1, math.ceil(minimum * _MORE)), self._maximum))

    def _proposal(self, trial: _Trial, before: Replay, after: Replay) -> Proposal:
        scale = self._settings.scale
        tail_s = 2 * scale.cooldown_s + (scale.idle_s or 0.0)
        more_s = sum(
            after.worker_seconds(start_s, end_s + tail_s) - before.worker_seconds(start_s, end_s + tail_s)
            for start_s, end_s in trial.window.times(self._covered, self._zone)
        )
        jobs = sum(end - start for start, end in trial.parts)
        waits = self._waits_of(trial, before), self._waits_of(trial, after)
        return Proposal(trial.window, trial.pattern, jobs, *waits, more_s)

    # --- one window

    def _trial(self, pattern: Pattern) -> _Trial:
        """The pattern's window begins so early that its workers are there in time."""
        lead = SLOT_S * math.ceil((self._settings.spawn_delay_s + 1) / SLOT_S) // 60
        start = pattern.start * SLOT_S // 60 - lead
        days_before = -(start // _MINUTES_OF_A_DAY)
        weekdays = frozenset((weekday - days_before) % 7 for weekday in pattern.weekdays)
        minutes = (pattern.end - pattern.start) * SLOT_S // 60 + lead
        parts = []
        for day in self._covered.days(pattern.weekdays, pattern.start, pattern.end):
            first = bisect_left(self._at_s, slot_start(day, pattern.start, self._zone))
            parts.append((first, bisect_left(self._at_s, slot_start(day, pattern.end, self._zone), first)))
        return _Trial(pattern, Window(weekdays, start % _MINUTES_OF_A_DAY, minutes, 0), tuple(parts))

    def _smallest(self, trial: _Trial, low: int, high: int) -> int | None:
        """The smallest `min` in this range that keeps the goal, None if there is none."""
        if not self._helps(trial, high):
            return None
        while low < high:
            middle = (low + high) // 2
            if self._helps(trial, middle):
                high = middle
            else:
                low = middle + 1
        return low

    def _helps(self, trial: _Trial, minimum: int) -> bool:
        """Whether a window with this `min` keeps the goal, on the days with the most jobs."""
        window = trial.with_minimum(minimum).window
        bounds = self._with([window], lifts_max=minimum > self._maximum)
        found: list[Bin] = []
        parts = self._largest(trial)
        for start, end in parts:
            first_s = self._at_s[start] - window.minutes * 60 - _WARM_UP_S
            first = bisect_left(self._at_s, first_s, 0, start)
            jobs = self._at_s[first:end], self._service_s[first:end]
            result = replay(*jobs, part_of(bounds, first_s, self._at_s[end - 1]), self._settings)
            found += bins(self._at_s[start:end], result.waits_s[start - first :], self._goal, self._zone)
        return self._is_kept(found, len(parts))

    def _largest(self, trial: _Trial) -> list[tuple[int, int]]:
        """The parts with the most jobs, as many as are tried at a time."""
        chosen: list[tuple[int, int]] = []
        jobs = 0
        for start, end in sorted(trial.parts, key=lambda part: part[0] - part[1]):
            jobs += end - start
            if end > start and (not chosen or jobs <= self._jobs_of_a_trial):
                chosen.append((start, end))
        return chosen

    def _is_kept(self, found: Sequence[Bin], days: int) -> bool:
        jobs, late = sum(one.jobs for one in found), sum(one.late for one in found)
        return not self._goal.is_missed(jobs, late) and not still_recurs(found, self._goal, days)

    def _is_kept_in(self, trial: _Trial, after: Replay) -> bool:
        found = [
            one
            for start, end in trial.parts
            for one in bins(self._at_s[start:end], after.waits_s[start:end], self._goal, self._zone)
        ]
        return self._is_kept(found, len(trial.parts))

    # --- all jobs

    def _replay(self, windows: Sequence[Window]) -> Replay:
        return replay(self._at_s, self._service_s, self._with(windows), self._settings)

    def _with(self, windows: Sequence[Window], *, lifts_max: bool = False) -> list[tuple[float, Field]]:
        """The pool's bounds with these windows too."""
        last_s = self._load.end_s
        times = [
            (start_s, min(end_s, last_s), window.minimum)
            for window in windows
            for start_s, end_s in window.times(self._covered, self._zone)
            if start_s < last_s
        ]
        return raised(self._bounds, times, lifts_max=lifts_max)

    def _worker_s(self, result: Replay) -> float:
        return result.worker_seconds(self._load.start_s, self._load.end_s)

    def _waits_of(self, trial: _Trial, result: Replay) -> Waits:
        waits_s = array("d")
        for start, end in trial.parts:
            waits_s += result.waits_s[start:end]
        return self._waits(waits_s)

    def _waits(self, waits_s: Sequence[float]) -> Waits:
        ordered = sorted(waits_s)
        shares = (0.5, 0.95, 0.99, self._goal.share)
        return Waits(*(ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)] for share in shares))


def merged(trials: Sequence[_Trial]) -> list[_Trial]:
    """Windows at about the same time of different days, with about the same `min`, become one."""
    result: list[_Trial] = []
    for trial in sorted(trials, key=lambda trial: min(trial.window.weekdays)):
        for at, other in enumerate(result):
            if (one := _union(other, trial)) is not None:
                result[at] = one
                break
        else:
            result.append(trial)
    return sorted(result, key=lambda trial: (min(trial.window.weekdays), trial.window.start_minute))


def _union(one: _Trial, other: _Trial) -> _Trial | None:
    first, second = one.pattern, other.pattern
    minima = one.window.minimum, other.window.minimum
    is_similar = (
        first.weekdays.isdisjoint(second.weekdays)
        and abs(one.window.start_minute - other.window.start_minute) <= _SIMILAR_SLOTS * SLOT_S // 60
        and abs(first.end - second.end) <= _SIMILAR_SLOTS
        and (max(minima) - min(minima)) <= max(1, _SIMILAR_MIN * max(minima))
    )
    if not is_similar:
        return None
    start = min(one.window.start_minute, other.window.start_minute)
    end = max(trial.window.start_minute + trial.window.minutes for trial in (one, other))
    pattern = Pattern(
        first.weekdays | second.weekdays,
        min(first.start, second.start),
        max(first.end, second.end),
        first.late_days + second.late_days,
        first.days + second.days,
        max(first.chance, second.chance),
    )
    window = Window(one.window.weekdays | other.window.weekdays, start, end - start, max(minima))
    return _Trial(pattern, window, tuple(sorted((*one.parts, *other.parts))))
