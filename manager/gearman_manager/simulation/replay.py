"""The simulation for days of arrivals: the real scaler on a virtual clock, for millions of jobs. Pure, deterministic.

`engine` compares any policies and samples all that happens; this knows one policy, ours, and keeps two things only:
each job's wait, and when the number of workers changed. With `calm_s` of 0 both give the same waits to the last bit.
"""

from __future__ import annotations

import heapq
import math
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gearman_manager.scaling.steps import Field, PoolScaler, ScaleSettings, Work
from gearman_manager.simulation.engine import AFTERMATH_S, LOOK_INTERVAL_S

#: While no job waits and all fit, the scaler is asked so often: what it could decide then takes a cooldown anyway.
CALM_S: Final = 1.0
_NEVER: Final = math.inf
_UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What one pool is, except for its bounds."""

    scale: ScaleSettings
    spawn_delay_s: float
    concurrency: int = 1
    calm_s: float = CALM_S


@dataclass(slots=True)
class Replay:
    """What became of the jobs, in the order of their arrival, and of the workers."""

    start_s: float
    end_s: float
    waits_s: array[float] = field(default_factory=lambda: array("d"))
    #: The moments at which the number of workers changed, and the numbers from then on.
    moments_s: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def worker_seconds(self, start_s: float = -math.inf, end_s: float = math.inf) -> float:
        """The time that workers were there, altogether, in a part of the replay."""
        start_s, end_s = max(start_s, self.start_s), min(end_s, self.end_s)
        if end_s <= start_s:
            return 0.0
        first, last = bisect_right(self.moments_s, start_s), bisect_right(self.moments_s, end_s)
        edges = [start_s, *self.moments_s[first:last], end_s]
        return sum(self.counts[at] * (edges[at - first + 2] - edges[at - first + 1]) for at in range(first - 1, last))


def replay(
    arrivals_s: Sequence[float],
    services_s: Sequence[float],
    bounds: Sequence[tuple[float, Field]],
    settings: ReplaySettings,
) -> Replay:
    """Let the jobs arrive, in rising order. The replay begins at the first of the moments from which on bounds hold.

    It ends a minute after the last arrival or change of the bounds, or once the last job is done.
    """
    return _Replay(arrivals_s, services_s, bounds, settings).run()


class _Replay:
    """One run. A slot is a place for one job, as in `engine`."""

    __slots__ = (
        "_arrivals_s", "_asked_at", "_bound", "_bounds", "_busy_s", "_change_at", "_current", "_done", "_finished",
        "_given_up", "_idle", "_look_at", "_most_running", "_next", "_ready", "_result", "_running", "_scaler",
        "_services_s", "_settings", "_starting", "_target", "_told", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        arrivals_s: Sequence[float],
        services_s: Sequence[float],
        bounds: Sequence[tuple[float, Field]],
        settings: ReplaySettings,
    ) -> None:
        self._arrivals_s, self._services_s, self._next = arrivals_s, services_s, 0
        self._bounds, self._bound = bounds, 1
        self._settings = settings
        self._scaler = PoolScaler(settings.scale)
        start_s, self._current = bounds[0]
        last_s = max(arrivals_s[-1] if arrivals_s else start_s, bounds[-1][0])
        self._result = Replay(start_s, last_s + AFTERMATH_S)
        self._waiting: deque[tuple[float, float]] = deque()  # moments of arrival, service times
        self._done: list[tuple[float, float]] = []  # a heap: when running jobs end, service times
        self._ready: deque[tuple[float, int]] = deque()  # when starting slots are there, how many
        self._target = self._idle = self._current.minimum * settings.concurrency
        self._starting = self._given_up = self._running = self._finished = 0
        self._busy_s = 0.0
        self._look_at = self._change_at = self._asked_at = start_s
        self._most_running = 0  # in the second since `_asked_at`
        self._told = _UNKNOWN  # the running jobs that the scaler was told of, at least those that `min` is enough for
        self._note(start_s)

    def run(self) -> Replay:
        """Let all jobs pass."""
        arrivals_s, jobs, bounds, end_s = self._arrivals_s, len(self._arrivals_s), self._bounds, self._result.end_s
        done, ready, waiting = self._done, self._ready, self._waiting
        looked_at = -_NEVER
        while True:
            next_arrival = arrivals_s[self._next] if self._next < jobs else _NEVER
            next_done = done[0][0] if done else _NEVER
            next_ready = ready[0][0] if ready else _NEVER
            next_bound = bounds[self._bound][0] if self._bound < len(bounds) else _NEVER
            now = min(next_done, next_arrival, next_ready, self._look_at, next_bound)
            if now > end_s and (now == _NEVER or not (waiting or self._running)):
                return self._result
            self._result.end_s = max(end_s, now)
            if next_bound <= now:
                self._current, self._bound = bounds[self._bound][1], self._bound + 1
                self._look_at = self._change_at = now
                continue
            if next_done <= now:
                self._end_job(now)
            elif next_arrival <= now:
                self._arrive(now)
            elif next_ready <= now:
                self._be_ready(now)
            else:
                looked_at = now
                self._look(now)
                continue
            soon = looked_at + LOOK_INTERVAL_S
            self._look_at = min(self._look_at, soon if soon > now else now)

    # --- events

    def _arrive(self, now: float) -> None:
        service_s = self._services_s[self._next]
        self._next += 1
        if self._idle:
            self._idle -= 1
            self._running += 1
            self._result.waits_s.append(0.0)
            heapq.heappush(self._done, (now + service_s, service_s))
        else:
            self._waiting.append((now, service_s))

    def _end_job(self, now: float) -> None:
        _, service_s = heapq.heappop(self._done)
        self._finished += 1
        self._busy_s += service_s
        if self._waiting:
            self._start_job(now)
            return
        self._running -= 1
        if self._running + self._idle + self._starting >= self._target:
            self._note(now)  # the slot goes
        else:
            self._idle += 1

    def _be_ready(self, now: float) -> None:
        slots = self._ready.popleft()[1]
        given_up = min(self._given_up, slots)
        self._given_up -= given_up
        self._starting -= slots - given_up
        self._idle += slots - given_up
        while self._waiting and self._idle:
            self._idle -= 1
            self._running += 1
            self._start_job(now)

    def _start_job(self, now: float) -> None:
        arrived_s, service_s = self._waiting.popleft()
        self._result.waits_s.append(now - arrived_s)
        heapq.heappush(self._done, (now + service_s, service_s))

    # --- the scaler

    def _look(self, now: float) -> None:
        if self._is_calm(now):
            return
        self._asked_at = now
        self._scaler.service.update(self._finished, round(self._busy_s * 1e9))
        running = self._running if self._waiting else max(self._running, self._most_running)
        self._told = _UNKNOWN if self._waiting else max(running, self._floor())
        self._most_running = self._running
        work = Work(len(self._waiting), running, self._settings.concurrency)
        self._resize(now, self._scaler.size(now, work, self._current) * self._settings.concurrency)
        change = self._scaler.next_change
        self._change_at = self._look_at = _NEVER if change is None else max(change, now + 0.001)
        if running > self._running:  # the scaler takes it that so many run until it is told otherwise
            self._look_at = min(self._look_at, now + self._settings.calm_s)

    def _is_calm(self, now: float) -> bool:
        """Whether the scaler would keep the size. It is told of each second then, if it brought anything new."""
        calm_s, share = self._settings.calm_s, self._settings.scale.utilisation or 1.0
        if not calm_s or now >= self._change_at or self._waiting or self._running > self._target * share:
            return False
        floor = self._floor()
        self._most_running = max(self._most_running, self._running)
        if now >= self._asked_at + calm_s and max(self._most_running, floor) == self._told:
            self._asked_at, self._most_running = now, self._running
        until = self._asked_at + calm_s
        if now >= until:
            return False
        self._look_at = self._change_at
        if max(self._running, floor) != self._told:
            self._look_at = min(until, self._change_at)
        return True

    def _floor(self) -> int:
        """As many running jobs need no more workers than `min`."""
        share = self._settings.scale.utilisation or 1.0
        return int(self._current.minimum * self._settings.concurrency * share)

    def _resize(self, now: float, target: int) -> None:
        if target == self._target:
            return
        surplus = self._running + self._idle + self._starting - target
        self._target = target
        if surplus < 0:
            self._ready.append((now + self._settings.spawn_delay_s, -surplus))
            self._starting -= surplus
        else:
            not_ready = min(surplus, self._starting)
            self._starting -= not_ready
            self._given_up += not_ready
            self._idle -= min(surplus - not_ready, self._idle)
        self._note(now)

    def _note(self, now: float) -> None:
        count = -(-(self._running + self._idle + self._starting) // self._settings.concurrency)
        result = self._result
        if not result.counts or result.counts[-1] != count:
            result.moments_s.append(now)
            result.counts.append(count)
