"""All workers of all pools: has them forked, hears of their lives, and does what each pool's plan says.

It owns the process table and the scoreboard's slots. What a pool should do is decided in `pool`, how many workers it
should have in `scaling`; this is where decisions become signals and orders.
"""

import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import gevent

from gearman_manager import process
from gearman_manager.channel import Message
from gearman_manager.errors import StartError
from gearman_manager.output import ChildOutput
from gearman_manager.pool import Pool, PoolWorker, WorkerEvent, WorkerState
from gearman_manager.scoreboard import Scoreboard, SlotState, SlotView
from gearman_manager.zygote_process import ZygoteProcess

_log = logging.getLogger("workers")
_STATUS_WAIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class PoolOrder:
    """What every worker of a pool is told, and how long it may take to stop."""

    functions: tuple[Message, ...]
    servers: tuple[str, ...]
    stop_timeout_s: float
    max_jobs: int | None
    nice: int

    @property
    def registered(self) -> list[str]:
        """The functions' names towards Gearman."""
        return [function["registered"] for function in self.functions]


@dataclass(slots=True)
class LiveWorker:
    """A worker's process, from the order to fork it until its end is explained."""

    worker: PoolWorker
    pool: Pool
    slot: int
    output: ChildOutput
    functions: list[str]
    pid: int = 0
    pidfd: int = -1
    watcher: Any = None
    started_at: float = 0.0
    kill_at: float | None = None

    @property
    def name(self) -> str:
        """POOL/N."""
        return self.worker.name


@dataclass(slots=True)
class Totals:
    """Counters of the workers that are gone, so that a pool's sums never fall."""

    done: int = 0
    failed: int = 0
    busy_ns: int = 0


@dataclass(slots=True)
class _Departed:
    """A worker that is gone and whose exit status has not been heard yet."""

    live: LiveWorker
    view: SlotView
    expected: bool


@dataclass(slots=True)
class _Slots:
    """Free slots of the scoreboard."""

    scoreboard: Scoreboard
    free: list[int] = field(default_factory=list)
    used: int = 0

    def take(self) -> int:
        if self.free:
            return self.free.pop()
        if self.used >= self.scoreboard.slots:
            raise StartError(f"the scoreboard holds {self.scoreboard.slots} workers; run fewer")
        self.used += 1
        return self.used - 1

    def give_back(self, slot: int) -> None:
        self.scoreboard.clear(slot)
        self.free.append(slot)


class Workforce:
    """The process table of the Python workers. Implements `ZygoteEvents` but for the zygote's own end."""

    def __init__(self, manager: str, scoreboard: Scoreboard, wake: Callable[[], None]) -> None:
        self.pools: dict[str, Pool] = {}
        self.live: dict[str, LiveWorker] = {}
        self.totals: dict[str, Totals] = {}
        self._orders: dict[str, PoolOrder] = {}
        self._manager = manager
        self._slots = _Slots(scoreboard)
        self._wake = wake
        self._departed: dict[int, _Departed] = {}
        self._statuses: dict[int, int] = {}
        self._stopping = False

    # What should be

    def arrange(self, orders: Mapping[str, PoolOrder], generation: int) -> None:
        """Take over a new arrangement of pools; workers of an older generation are replaced one after the other."""
        for name in orders:
            self.pools.setdefault(name, Pool(name))
            self.totals.setdefault(name, Totals())
        for name, pool in self.pools.items():
            pool.generation = generation
            if name not in orders:
                pool.target = 0
        self._orders = dict(orders)

    def reconcile(self, now: float, zygote: ZygoteProcess | None) -> float | None:
        """Bring every pool nearer to its target; returns when to look again at the latest."""
        deadlines = []
        for pool in list(self.pools.values()):
            plan = pool.plan(now, self.busy(pool))
            for name in plan.drain:
                self._drain(self.live[name], None)
            if zygote is not None and not self._stopping:
                for _ in range(plan.spawn):
                    self._order(pool, zygote, now)
            if plan.again_at is not None:
                deadlines.append(plan.again_at)
        deadlines += self._kill_overdue(now)
        return min(deadlines, default=None)

    def stop(self, now: float) -> None:
        """Let every worker finish its job within its pool's stop_timeout; no new ones."""
        self._stopping = True
        for live in list(self.live.values()):
            live.pool.target = 0
            order = self._orders.get(live.pool.name)
            self._drain(live, now + (order.stop_timeout_s if order else 0))

    def kill_all(self) -> None:
        """Wait for nobody any longer."""
        for live in list(self.live.values()):
            self._kill(live)

    # What is

    @property
    def active(self) -> list[Pool]:
        """The pools that are arranged, and those that still have workers to lose."""
        return [pool for pool in self.pools.values() if pool.name in self._orders or pool.workers]

    def view(self, live: LiveWorker) -> SlotView:
        """What the worker says about itself."""
        return self._slots.scoreboard.read(live.slot)

    def busy(self, pool: Pool) -> set[str]:
        """The names of the pool's workers that have a job."""
        return {name for name in pool.workers if self.view(self.live[name]).state is SlotState.BUSY}

    def of(self, pool: str) -> Iterable[LiveWorker]:
        """The pool's workers, oldest first."""
        return [self.live[name] for name in self.pools[pool].workers]

    def registered(self, pool: str) -> list[str]:
        """The names, towards Gearman, of the functions that a pool serves."""
        return self._orders[pool].registered

    def sums(self, pool: str) -> tuple[int, int]:
        """Finished jobs and nanoseconds spent in them since the pool exists."""
        totals = self.totals[pool]
        views = [self.view(live) for live in self.of(pool)]
        jobs = totals.done + totals.failed + sum(view.done + view.failed for view in views)
        return jobs, totals.busy_ns + sum(view.busy_ns for view in views)

    # What happens

    def doorbell(self) -> None:
        """Some worker registered for the first time: find out which."""
        for live in list(self.live.values()):
            self._note_registration(live)
        self._wake()

    def spawned(self, name: str, pid: int, pidfd: int) -> None:
        """The zygote forked it."""
        live = self.live[name]
        live.pid, live.pidfd = pid, pidfd
        live.output.extra |= {"pid": pid}
        draining = live.worker.state is WorkerState.DRAINING
        self._event(live, WorkerEvent.FORKED, time.monotonic())
        live.watcher = gevent.get_hub().loop.io(pidfd, 1)
        live.watcher.start(self._gone, live)
        if draining:
            process.send_signal(pidfd, signal.SIGTERM)
        self._note_registration(live)  # it may have rung before this message was read
        self._wake()

    def spawn_failed(self, name: str, reason: str) -> None:
        """The fork failed: too many processes, or no memory."""
        live = self.live[name]
        live.pool.last_error = f"can't fork: {reason}"
        _log.error("can't fork a worker: %s; trying again", reason, extra={"pool": live.pool.name})
        self._forget(live, registered=False)

    def zygote_lost(self) -> None:
        """Orders that the zygote did not report before it died are void, and so is what it forked for them."""
        for pid in process.stray_children(self.pids()):
            process.kill_session(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for live in [live for live in self.live.values() if not live.pid]:
            self._event(live, WorkerEvent.EXITED, time.monotonic())
            self._discard(live)
        self._wake()

    def exited(self, pid: int, status: int) -> None:
        """The zygote reaped a worker. Comes before or after the pidfd told of its end."""
        departed = self._departed.pop(pid, None)
        if departed is not None:
            self._explain(departed, status)
        elif any(live.pid == pid for live in self.live.values()):
            self._statuses[pid] = status

    def pids(self) -> set[int]:
        """Every process that is waited for here."""
        return {live.pid for live in self.live.values() if live.pid}

    # How it is done

    def _note_registration(self, live: LiveWorker) -> None:
        now = time.monotonic()
        if live.worker.ready_at is None and live.pid and self.view(live).state in (SlotState.IDLE, SlotState.BUSY):
            self._event(live, WorkerEvent.REGISTERED, now)
            _log.debug("registered after %.0f ms", (now - live.started_at) * 1000, extra=self._where(live))

    def _order(self, pool: Pool, zygote: ZygoteProcess, now: float) -> None:
        order = self._orders[pool.name]
        worker = pool.new_worker(now)
        output = ChildOutput(gevent.get_hub().loop, pool.name, {"pool": pool.name, "worker": worker.name})
        live = LiveWorker(worker, pool, self._slots.take(), output, order.registered, started_at=now)
        self.live[worker.name] = live
        message = {
            "name": worker.name,
            "slot": live.slot,
            "client_id": f"gm:{self._manager}/{worker.name}",
            "servers": list(order.servers),
            "functions": list(order.functions),
            "max_jobs": order.max_jobs,
            "nice": order.nice,
        }
        zygote.spawn(message, output.write_end)
        output.handed_over()

    def _drain(self, live: LiveWorker, kill_at: float | None) -> None:
        self._event(live, WorkerEvent.DRAIN, time.monotonic())
        if kill_at is not None:
            live.kill_at = kill_at
        if live.pid:
            process.send_signal(live.pidfd, signal.SIGTERM)

    def _kill(self, live: LiveWorker) -> None:
        live.kill_at = None
        if live.pid:
            self._event(live, WorkerEvent.KILL, time.monotonic())
            process.send_signal(live.pidfd, signal.SIGKILL)

    def _kill_overdue(self, now: float) -> list[float]:
        """Kill those whose time to stop is over; returns the deadlines that are still to come."""
        for live in list(self.live.values()):
            if live.kill_at is not None and live.kill_at <= now:
                job = self.view(live)
                _log.warning(
                    "did not stop in time, killed; the job goes back to the queue",
                    extra=self._where(live) | {"handle": job.handle or None},
                )
                self._kill(live)
        return [live.kill_at for live in self.live.values() if live.kill_at is not None]

    def _event(self, live: LiveWorker, event: WorkerEvent, now: float) -> None:
        live.pool.event(live.name, event, now)

    def _gone(self, live: LiveWorker) -> None:
        """In the hub: the kernel says that the worker has ended."""
        view = self.view(live)
        asked = live.worker.state in (WorkerState.DRAINING, WorkerState.STOPPING)
        registered = live.worker.ready_at is not None or view.state in (SlotState.IDLE, SlotState.BUSY)
        expected = asked or view.state is SlotState.LEAVING
        status = process.exit_status(live.pidfd)
        if status is None:
            status = self._statuses.pop(live.pid, None)
        live.watcher.stop()
        live.watcher.close()
        os.close(live.pidfd)
        process.kill_session(live.pid)
        departed = _Departed(live, view, expected)
        totals = self.totals[live.pool.name]
        totals.done, totals.failed = totals.done + view.done, totals.failed + view.failed
        totals.busy_ns += view.busy_ns
        if expected:
            self._event(live, WorkerEvent.EXITED, time.monotonic())
            self._discard(live)
        else:
            self._forget(live, registered=registered)
        if status is None:
            self._departed[live.pid] = departed
            gevent.spawn_later(_STATUS_WAIT_S, self._give_up_on, live.pid, departed)
        else:
            self._explain(departed, status)
        self._wake()

    def _forget(self, live: LiveWorker, *, registered: bool) -> None:
        """A crash: count it, so that the next one may have to wait."""
        now = time.monotonic()
        pool = live.pool
        self._event(live, WorkerEvent.EXITED, now)
        pool.crashes.crashed(now, registered=registered, workers=len(pool.workers) + 1, jitter=random.random())
        self._discard(live)
        self._wake()

    def _discard(self, live: LiveWorker) -> None:
        live.output.close()
        self._slots.give_back(live.slot)
        del self.live[live.name]

    def _give_up_on(self, pid: int, departed: _Departed) -> None:
        if self._departed.get(pid) is departed:
            del self._departed[pid]
            self._explain(departed, None)

    def _explain(self, departed: _Departed, status: int | None) -> None:
        """Say how it ended, once that is known."""
        live, view = departed.live, departed.view
        how = process.describe_status(status)
        where = self._where(live)
        if departed.expected:
            _log.info("ended (%s) after %d jobs", how, view.done + view.failed, extra=where)
            return
        last = view.last_error or (live.output.last_lines[-1] if live.output.last_lines else "")
        live.pool.last_error = f"{live.name} pid {live.pid}: {how}" + (f": {last}" if last else "")
        running = {}
        if view.state is SlotState.BUSY:
            running = {"function": live.functions[view.function], "handle": view.handle}
        wait_s = live.pool.crashes.not_before - time.monotonic()
        then = f"in {wait_s:.1f} s" if wait_s > 0 else "now"
        _log.error("died (%s), replaced %s", how, then, extra=where | running)

    def _where(self, live: LiveWorker) -> dict[str, Any]:
        return {"pool": live.pool.name, "worker": live.name, "pid": live.pid or None}
