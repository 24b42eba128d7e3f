"""The policies that the simulation compares: a fixed number, one step every few seconds, and our scaler. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

from gearman_manager.config.resolve import ResolvedWindow
from gearman_manager.scaling.steps import Field, PoolScaler, ScaleSettings, Work
from gearman_manager.scaling.windows import Timetable
from gearman_manager.simulation.engine import Decision, SimulatedPool

STEP_INTERVAL_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class FixedCount:
    """Always the same number of workers, as in most worker managers."""

    count: int
    name: str

    def start(self) -> int:
        """The number."""
        return self.count

    def decide(self, _now_s: float, _state: SimulatedPool) -> Decision:
        """The number."""
        return Decision(self.count)


@dataclass(slots=True)
class OneStep:
    """Laravel Horizon's default: every three seconds one worker more while jobs wait, or else one less."""

    minimum: int
    maximum: int
    name: str = f"one step per {STEP_INTERVAL_S:g} s"
    _size: int = field(init=False)
    _next_step_s: float = STEP_INTERVAL_S

    def __post_init__(self) -> None:
        self._size = self.minimum

    def start(self) -> int:
        """The minimum."""
        return self.minimum

    def decide(self, now_s: float, state: SimulatedPool) -> Decision:
        """One step, if it is due."""
        if now_s >= self._next_step_s:
            step = 1 if state.queued else -1
            self._size = max(self.minimum, min(self._size + step, self.maximum))
            self._next_step_s = (math.floor(now_s / STEP_INTERVAL_S) + 1) * STEP_INTERVAL_S
        is_resting = not state.queued and self._size == self.minimum
        return Decision(self._size, None if is_resting else self._next_step_s)


@dataclass(frozen=True, slots=True)
class Bounded:
    """A pool's bounds while no window is open, and its windows."""

    min: int
    max: int
    windows: tuple[ResolvedWindow, ...]


@dataclass(frozen=True, slots=True)
class DatedWindows:
    """A pool's windows, and the Unix time at which the virtual clock starts."""

    windows: tuple[ResolvedWindow, ...]
    start_s: float


class OurScaler:
    """The supervisor's scaler, fed by the simulated job server and scoreboard."""

    def __init__(
        self,
        bounds: Field,
        settings: ScaleSettings,
        name: str,
        concurrency: int = 1,
        dated: DatedWindows | None = None,
    ) -> None:
        self.name = name
        self._field = bounds
        self._start_s = dated.start_s if dated else 0.0
        self._timetable = Timetable(Bounded(bounds.minimum, bounds.maximum, dated.windows if dated else ()))
        self._concurrency = concurrency
        self._scaler = PoolScaler(settings)

    def start(self) -> int:
        """The minimum at the start."""
        return self._timetable.at(self._start_s).minimum

    def decide(self, now_s: float, state: SimulatedPool) -> Decision:
        """The size after the scaler's three steps."""
        self._scaler.service.update(state.finished, round(state.busy_s * 1e9))
        bounds = self._timetable.at(self._start_s + now_s)
        field = replace(self._field, minimum=bounds.minimum, maximum=bounds.maximum)
        size = self._scaler.size(now_s, Work(state.queued, state.running, self._concurrency), field)
        moments = [bounds.next_change - self._start_s, self._scaler.next_change or math.inf]
        again_s = min(moments)
        return Decision(size, None if math.isinf(again_s) else again_s)
