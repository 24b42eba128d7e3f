"""One pool's workers, and the plan for them. Pure: no process, no clock, no socket.

The workforce feeds it events and asks for its `plan`. The workers' states and transitions are here, the pool's own in
`pool_state`. No event tells whether a worker is busy, since a message per job would cost too much: the workforce reads
that from the scoreboard and hands it to `plan`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gearman_manager.errors import UnexpectedEvent
from gearman_manager.pools import pool_state
from gearman_manager.pools.crash_backoff import CrashBackoff
from gearman_manager.pools.pool_counts import Departure, PoolCounts
from gearman_manager.pools.pool_state import PoolEvent, PoolState


class WorkerState(Enum):
    """A stage in a worker's life."""

    ORDERED = "ordered"  #: the zygote was asked to fork it
    STARTING = "starting"  #: it has a pid, but no job server knows it yet
    READY = "ready"  #: registered: idle or busy
    DRAINING = "draining"  #: it finishes its job and takes no other
    STOPPING = "stopping"  #: killed, but not gone yet
    DEAD = "dead"


class WorkerEvent(Enum):
    """An event in a worker's life."""

    FORKED = "forked"
    REGISTERED = "registered"
    DRAIN = "drain"
    KILL = "kill"
    EXITED = "exited"


_S, _E = WorkerState, WorkerEvent

TRANSITIONS: Final[dict[tuple[WorkerState, WorkerEvent], WorkerState]] = {
    (_S.ORDERED, _E.FORKED): _S.STARTING,
    (_S.ORDERED, _E.DRAIN): _S.DRAINING,  # it is signalled as soon as it has a pid
    (_S.ORDERED, _E.EXITED): _S.DEAD,  # the fork failed, or the zygote died before the fork
    (_S.STARTING, _E.REGISTERED): _S.READY,
    (_S.STARTING, _E.DRAIN): _S.DRAINING,
    (_S.STARTING, _E.KILL): _S.STOPPING,
    (_S.STARTING, _E.EXITED): _S.DEAD,
    (_S.READY, _E.DRAIN): _S.DRAINING,
    (_S.READY, _E.KILL): _S.STOPPING,
    (_S.READY, _E.EXITED): _S.DEAD,
    (_S.DRAINING, _E.FORKED): _S.DRAINING,
    (_S.DRAINING, _E.REGISTERED): _S.DRAINING,  # it was still starting when it was told to leave
    (_S.DRAINING, _E.DRAIN): _S.DRAINING,
    (_S.DRAINING, _E.KILL): _S.STOPPING,
    (_S.DRAINING, _E.EXITED): _S.DEAD,
    (_S.STOPPING, _E.REGISTERED): _S.STOPPING,
    (_S.STOPPING, _E.DRAIN): _S.STOPPING,
    (_S.STOPPING, _E.KILL): _S.STOPPING,
    (_S.STOPPING, _E.EXITED): _S.DEAD,
}

#: About two seconds of attempts.
HOPELESS_CRASHES: Final = 4
#: The time until the next look for an idle worker, since no event tells that one became idle.
BUSY_LOOK_S: Final = 0.2
_SERVING: Final = frozenset({_S.ORDERED, _S.STARTING, _S.READY})


def transition(state: WorkerState, event: WorkerEvent) -> WorkerState:
    """The state after an event.

    Raises:
        UnexpectedEvent: the state does not allow it; nothing was changed.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise UnexpectedEvent(f"a worker that is {state.value} can't be {event.value}") from None


@dataclass(slots=True)
class PoolWorker:
    """A worker as its pool sees it. Times are monotonic seconds."""

    name: str
    version: str  #: of the order by which it runs
    ordered_at: float
    state: WorkerState = WorkerState.ORDERED
    ready_at: float | None = None
    is_worn: bool = False  #: it has to be replaced, for example because it reached a limit
    leaves_alone: bool = False  #: it ends by itself right after its last job, so a replacement does not drain it
    departure: Departure | None = None  #: why it leaves, once that is known

    @property
    def is_serving(self) -> bool:
        """Whether it counts towards the pool's size."""
        return self.state in _SERVING


@dataclass(frozen=True, slots=True)
class Plan:
    """The next steps, and the latest time for a new plan."""

    spawn: int = 0  #: the number of workers to start
    drain: tuple[str, ...] = ()  #: the names of workers to drain
    again_at: float | None = None


class Pool:
    """The workers of one pool. The table of `pool_state` decides how each event changes the pool's state.

    A method that stands for an event raises `UnexpectedEvent` if the state does not allow it, and then changes nothing.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.workers: dict[str, PoolWorker] = {}
        #: The number of workers that it should have.
        self.target = 0
        #: The most processes that it may have at a time, those that leave included; None: no limit.
        self.ceiling: int | None = None
        #: With a ceiling: the number of workers that it should have once there is room; more than its target then.
        self.share = 0
        #: The running jobs of its functions on all workers, foreign ones included, by the job servers' last report.
        self.running_jobs = 0
        self.version = ""
        self.crashes = CrashBackoff()
        self.counts = PoolCounts()
        self.last_error = ""
        self._state = PoolState.ABSENT
        self._last_serial = 0
        #: Since when it has too many workers of which none is idle, and the jobs that each had finished then.
        self._crowded: tuple[float, Mapping[str, int]] | None = None

    @property
    def state(self) -> PoolState:
        """The stage of the pool's life."""
        return self._state

    @property
    def is_hopeless(self) -> bool:
        """Whether it has failed for so long that the manager should end, if `exit_when_failing` is set."""
        return self._state is PoolState.FAILING and self.crashes.consecutive >= HOPELESS_CRASHES

    @property
    def renewing(self) -> int:
        """The workers that it wants on top for now, because others are out of date."""
        is_stale = any(worker.is_serving and self._is_stale(worker) for worker in self.workers.values())
        return self._step if is_stale else 0

    # --- decisions about the pool

    def arrange(self, version: str) -> None:
        """The configuration names it; its workers must have this version from now on."""
        if self._state in pool_state.UNARRANGED:
            self._happen(PoolEvent.ARRANGED)
        if version != self.version:
            self._happen(PoolEvent.RENEWED)
            self.version = version
            self.crashes = CrashBackoff()

    def remove(self) -> None:
        """The configuration no longer names it."""
        self._happen(PoolEvent.REMOVED)
        self.target = 0
        if not self.workers:
            self._happen(PoolEvent.EMPTIED)

    def restart(self) -> None:
        """Have all workers replaced, one after the other; earlier crashes are forgotten."""
        self._happen(PoolEvent.RENEWED)
        self.crashes = CrashBackoff()
        for worker in self.workers.values():
            worker.is_worn = True
            worker.departure = worker.departure or Departure.RENEWED

    def pause(self) -> None:
        """Let all workers leave, and start none."""
        self._happen(PoolEvent.PAUSED)

    def resume(self) -> None:
        """Start workers again. When a pause ends, earlier crashes are forgotten."""
        if self._state is PoolState.PAUSED:
            self.crashes = CrashBackoff()
        self._happen(PoolEvent.RESUMED)

    def stop(self) -> None:
        """The manager ends."""
        self._happen(PoolEvent.STOPPED)
        self.target = 0

    # --- events

    def new_worker(self, now: float) -> PoolWorker:
        """A worker with the next serial number; no number is used twice in a run."""
        self._last_serial += 1
        self.counts.started += 1
        worker = PoolWorker(f"{self.name}/{self._last_serial}", self.version, now)
        self.workers[worker.name] = worker
        return worker

    def event(self, name: str, event: WorkerEvent, now: float) -> PoolWorker:
        """Apply an event to a worker; a dead worker is removed."""
        worker = self.workers[name]
        was, worker.state = worker.state, transition(worker.state, event)
        worker.departure = worker.departure or self._departure(worker, was, event)
        if event is WorkerEvent.REGISTERED:
            if worker.ready_at is None and was is WorkerState.STARTING:
                self.counts.start_times.add(now - worker.ordered_at)
            worker.ready_at = now
            self._happen(PoolEvent.REGISTERED)
        if worker.state is WorkerState.DEAD:
            del self.workers[name]
            self.counts.ended[worker.departure or Departure.CRASHED] += 1
            if not self.workers:
                self._happen(PoolEvent.EMPTIED)
        return worker

    def crashed(self, name: str, now: float, *, registered: bool, jitter: float) -> None:
        """A worker died without being told to; `jitter` is a random number from 0 to 1."""
        self.workers[name].departure = Departure.CRASHED if registered else Departure.UNSTARTED
        self.event(name, WorkerEvent.EXITED, now)
        self.crashes.crashed(now, registered=registered, workers=len(self.workers) + 1, jitter=jitter)
        if self.crashes.consecutive:
            self._fall_back()

    def refused(self, reason: str, until: float) -> None:
        """The system can't start a worker: don't try before `until`."""
        self._fall_back()
        self.last_error = reason
        self.crashes.refused(until)

    def tick(self, now: float) -> float | None:
        """Forget crashes after a quiet time; returns the time for the next call, or None."""
        if self._state is not PoolState.BACKING_OFF:
            return None
        if now < self.crashes.calm_at:
            return self.crashes.calm_at
        self._happen(PoolEvent.CALMED)
        self.crashes = CrashBackoff()
        return None

    def _fall_back(self) -> None:
        serves = any(worker.state is WorkerState.READY for worker in self.workers.values())
        self._happen(PoolEvent.SLOWED if serves else PoolEvent.FAILED)

    def _happen(self, event: PoolEvent) -> None:
        self._state = pool_state.transition(self._state, event)

    def _departure(self, worker: PoolWorker, was: WorkerState, event: WorkerEvent) -> Departure | None:
        """Why a worker leaves, by what happens to it; None if it does not leave."""
        if event is WorkerEvent.KILL:
            return Departure.KILLED
        if event is WorkerEvent.EXITED:  # by itself: after its last job, unless there never was a process
            return Departure.UNSTARTED if was is WorkerState.ORDERED else Departure.WORN
        if event is not WorkerEvent.DRAIN:
            return None
        if self._state in pool_state.LEAVING:
            return Departure.STOPPED
        if worker.is_worn:
            return Departure.WORN
        return Departure.RENEWED if worker.version != self.version else Departure.SURPLUS

    # --- the plan

    def plan(self, now: float, busy: Mapping[str, int]) -> Plan:
        """The steps towards the target. They keep the capacity during a reload, and drain as surplus only workers that
        are idle, or were so since the surplus was there.

        busy: by each worker that has a job, the jobs that it has finished.
        """
        crowded, self._crowded = self._crowded, None
        serving = [worker for worker in self.workers.values() if worker.is_serving]
        if self._state in pool_state.LEAVING:
            return Plan(drain=tuple(worker.name for worker in serving))
        fresh = [worker for worker in serving if not self._is_stale(worker)]
        stale = [worker for worker in serving if self._is_stale(worker)]
        pending = sum(worker.state is not WorkerState.READY for worker in fresh)
        if stale:
            return self._replace(now, stale, len(serving), pending, busy)
        if len(serving) < self.target:
            return self._spawn(now, self._allowed(self.target - len(serving)))
        surplus = len(serving) - self.target
        since, finished = crowded or (now, busy)
        may_leave = {worker.name for worker in fresh} - busy.keys()
        if now >= since + BUSY_LOOK_S:  # where jobs are short and many wait, no worker is ever seen idle
            may_leave |= {name for name, count in busy.items() if count > finished.get(name, count)}
        drain = self._surplus([worker for worker in fresh if worker.name in may_leave], surplus, busy)
        if len(drain) == surplus:
            return Plan(drain=drain)
        self._crowded = since, finished
        return Plan(drain=drain, again_at=now + BUSY_LOOK_S)

    def _replace(self, now: float, stale: list[PoolWorker], size: int, pending: int, busy: Collection[str]) -> Plan:
        """Replace stale workers: start some new ones first, then drain an old one for each that has registered."""
        step = self._step
        surplus = size - pending - self.target
        if surplus <= 0 and pending < step:
            if count := self._allowed(self.target + step - size):
                return self._spawn(now, count)
            # The old worker goes first. Those on their way in or out count, and those for whose replacements there is
            # no room yet, so that no more than `step` are missing.
            missing = max(len(self.workers), self.share) - size
            surplus = step - pending - missing - sum(worker.leaves_alone for worker in stale)
        leaving = [worker for worker in stale if not worker.leaves_alone]
        order = sorted(leaving, key=lambda worker: (worker.name in busy, worker.ordered_at))
        return Plan(drain=tuple(worker.name for worker in order[: max(surplus, 0)]))

    @property
    def _step(self) -> int:
        """The number of workers that are replaced at a time."""
        return max(1, self.target // 8)

    def _allowed(self, count: int) -> int:
        """The workers that may start, of `count`."""
        room = count if self.ceiling is None else self.ceiling - len(self.workers)
        return max(0, min(count, room))

    def _is_stale(self, worker: PoolWorker) -> bool:
        return worker.is_worn or worker.version != self.version

    def _spawn(self, now: float, count: int) -> Plan:
        if now < self.crashes.not_before:
            return Plan(again_at=self.crashes.not_before)
        return Plan(spawn=max(count, 0))

    def _surplus(self, workers: list[PoolWorker], count: int, busy: Collection[str]) -> tuple[str, ...]:
        """The workers to drain: unregistered ones first, then idle ones, the youngest before the oldest."""
        order = sorted(
            workers, key=lambda worker: (worker.state is WorkerState.READY, worker.name in busy, -worker.ordered_at)
        )
        return tuple(worker.name for worker in order[:count])
