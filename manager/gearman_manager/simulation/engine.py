"""One pool on a virtual clock: jobs arrive as in the trace, workers take time to start, a policy sets their number.

Pure and deterministic: the same trace and policy give the same outcome. A policy is told the same things at the same
times as a supervisor whose job server pushes its queue changes. The engine counts job slots instead of workers: a
worker has one for each job that it can run at once, and a leaving worker gives each slot up when its job is done.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol

from gearman_manager.simulation.trace import Arrival

SPAWN_DELAY_S: Final = 0.05
LOOK_INTERVAL_S: Final = 0.05  #: changes within this time are told together, as in `queues`
AFTERMATH_S: Final = 60.0  #: worker-seconds count this long after the last arrival, to include scaling down


@dataclass(slots=True)
class SimulatedPool:
    """The state of the pool, as far as a policy may know it."""

    queued: int = 0
    running: int = 0
    workers: int = 0
    finished: int = 0
    busy_s: float = 0.0  #: of the finished jobs


@dataclass(frozen=True, slots=True)
class Decision:
    """The number of workers that a policy wants, and the latest time at which to ask it again."""

    size: int
    again_at_s: float | None = None


class Policy(Protocol):
    """Decides the number of workers."""

    @property
    def name(self) -> str: ...
    def start(self) -> int: ...
    def decide(self, now_s: float, state: SimulatedPool) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at one moment, for the plot."""

    at_s: float
    queued: int
    workers: int


@dataclass(slots=True)
class Outcome:
    """The result of a trace under one policy."""

    policy: str
    waits_s: list[float] = field(default_factory=list)  #: in rising order once the simulation is over
    worker_seconds: float = 0.0
    changes: int = 0  #: of the policy's decision
    started: int = 0  #: workers beyond the first ones
    peak: int = 0
    samples: list[Sample] = field(default_factory=list)

    def wait_s(self, share: float) -> float:
        """The wait that this share of the jobs does not exceed (nearest rank)."""
        return self.waits_s[max(0, math.ceil(share * len(self.waits_s)) - 1)] if self.waits_s else 0.0


class _Kind(IntEnum):
    """The kinds of events, in the order in which they happen at one moment."""

    DONE = 0
    ARRIVAL = 1
    READY = 2
    LOOK = 3


def simulate(
    trace: Sequence[Arrival], policy: Policy, spawn_delay_s: float = SPAWN_DELAY_S, *, concurrency: int = 1
) -> Outcome:
    """Run the trace to its end, with workers that run `concurrency` jobs at once."""
    return _Simulation(trace, policy, spawn_delay_s, concurrency).run()


class _Simulation:
    def __init__(self, trace: Sequence[Arrival], policy: Policy, spawn_delay_s: float, concurrency: int) -> None:
        self._concurrency = concurrency
        self._policy = policy
        self._spawn_delay_s = spawn_delay_s
        # The trace is sorted, so this is a heap already.
        self._events: list[tuple[float, int, float]] = [(job.at_s, _Kind.ARRIVAL, job.service_s) for job in trace]
        self._end_s = trace[-1].at_s + AFTERMATH_S
        self._waiting: deque[tuple[float, float]] = deque()  # times of arrival, service times
        self._target = self._idle = policy.start() * concurrency
        self._starting = self._given_up = 0  # slots on their way; READY events of slots given up
        self._state = SimulatedPool(workers=policy.start())
        self._now_s = 0.0
        self._look_at_s: float | None = None
        self._looked_at_s = -LOOK_INTERVAL_S
        self._outcome = Outcome(policy.name, peak=policy.start())

    def run(self) -> Outcome:
        self._look_by(0.0)
        while self._events and (self._events[0][0] <= self._end_s or self._waiting or self._state.running):
            at_s, kind, service_s = heapq.heappop(self._events)
            self._advance(at_s)
            self._happens(_Kind(kind), service_s)
        self._advance(max(self._end_s, self._now_s))
        self._sample()
        self._outcome.waits_s.sort()
        return self._outcome

    def _happens(self, kind: _Kind, service_s: float) -> None:
        if kind is _Kind.LOOK:
            if self._now_s == self._look_at_s:  # else an earlier look has replaced this one
                self._look()
            return
        if kind is _Kind.ARRIVAL:
            self._waiting.append((self._now_s, service_s))
        elif kind is _Kind.DONE:
            self._idle += 1
            self._state.running -= 1
            self._state.finished += 1
            self._state.busy_s += service_s
        elif self._given_up:
            self._given_up -= 1
        else:
            self._starting -= 1
            self._idle += 1
        self._assign()
        self._send_away()
        self._look_by(max(self._now_s, self._looked_at_s + LOOK_INTERVAL_S))
        self._sample()

    def _assign(self) -> None:
        while self._waiting and self._idle:
            arrived_s, service_s = self._waiting.popleft()
            self._idle -= 1
            self._state.running += 1
            self._outcome.waits_s.append(self._now_s - arrived_s)
            heapq.heappush(self._events, (self._now_s + service_s, _Kind.DONE, service_s))
        self._state.queued = len(self._waiting)

    def _look(self) -> None:
        self._looked_at_s, self._look_at_s = self._now_s, None
        decision = self._policy.decide(self._now_s, self._state)
        target = decision.size * self._concurrency
        if target != self._target:
            self._outcome.changes += 1
            self._target = target
            self._start_missing()
            self._send_away()
            self._sample()
        if decision.again_at_s is not None:
            self._look_by(max(decision.again_at_s, self._now_s + 0.001))

    def _look_by(self, at_s: float) -> None:
        if self._look_at_s is None or at_s < self._look_at_s:
            self._look_at_s = at_s
            heapq.heappush(self._events, (at_s, _Kind.LOOK, 0.0))

    def _start_missing(self) -> None:
        missing = max(0, self._target - self._count())
        for _ in range(missing):
            heapq.heappush(self._events, (self._now_s + self._spawn_delay_s, _Kind.READY, 0.0))
        self._starting += missing
        self._outcome.started += self._workers(missing)
        self._state.workers = self._workers(self._count())
        self._outcome.peak = max(self._outcome.peak, self._state.workers)

    def _send_away(self) -> None:
        """Give up surplus slots: first those of starting workers, then idle ones; busy ones finish their job."""
        surplus = max(0, self._count() - self._target)
        not_ready = min(surplus, self._starting)
        self._starting -= not_ready
        self._given_up += not_ready
        self._idle -= min(surplus - not_ready, self._idle)
        self._state.workers = self._workers(self._count())

    def _workers(self, places: int) -> int:
        return -(-places // self._concurrency)

    def _count(self) -> int:
        return self._idle + self._starting + self._state.running

    def _advance(self, at_s: float) -> None:
        self._outcome.worker_seconds += self._state.workers * (at_s - self._now_s)
        self._now_s = at_s

    def _sample(self) -> None:
        self._outcome.samples.append(Sample(self._now_s, self._state.queued, self._state.workers))
