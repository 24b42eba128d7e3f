"""Starts the workers of all pools, follows their lives, and carries out each pool's plan.

It owns the process table. `pool` decides what a pool should do and `scaling` how many workers it should have; this
module turns these decisions into signals and orders.
"""

from __future__ import annotations

import logging
import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

import gevent

from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.ipc.scoreboard import SlotState, Wear
from gearman_manager.pools.exits import Exit, Exits, go_back, has_served
from gearman_manager.pools.leftovers import Leftovers
from gearman_manager.pools.live_worker import WORN, LiveWorker
from gearman_manager.pools.pool import Pool, WorkerEvent, WorkerState
from gearman_manager.pools.pool_order import PoolOrder
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.pools.worker_start import WorkerStart
from gearman_manager.pools.zygotes import Zygotes

_log = logging.getLogger("workers")
#: A program that has lived this long counts as registered, since it does not report that.
PROGRAM_START_S: Final = 1.0
ORDER_TIMEOUT_S: Final = 30.0
SYSTEM_RETRY_S: Final = 1.0


class Workforce:
    """The process table of the workers. Implements `ForkEvents`."""

    def __init__(self, starter: WorkerStart, zygotes: Zygotes, exits: Exits, wake: Callable[[], None]) -> None:
        """`wake` is called after an event that may change a pool's plan."""
        self.pools: dict[str, Pool] = {}
        self.live: dict[str, LiveWorker] = {}
        self._starter = starter
        self._zygotes = zygotes
        self._exits = exits
        self.wake = wake
        self._leftovers = Leftovers(self.pids)
        self._orders: dict[str, PoolOrder] = {}
        self._is_stopping = False

    # --- decisions

    def arrange(self, orders: Mapping[str, PoolOrder], max_output_bytes: int) -> None:
        """Take over a new arrangement of pools; workers whose order's version changed are replaced one by one.

        The output of each worker that starts from now on may add at most `max_output_bytes` to the log in a second.
        """
        self._starter.max_output_bytes = max_output_bytes
        if self._is_stopping:
            return  # the stop came while the code was being loaded
        for name in self._orders.keys() - orders.keys():
            self.pools[name].remove()
        for name, order in orders.items():
            self.pools.setdefault(name, Pool(name)).arrange(order.version)
        self._orders = dict(orders)
        self._zygotes.guard(self.live.values())  # it may be another zygote than before

    def reconcile(self, now: float) -> float | None:
        """Bring every pool nearer to its target; returns the latest time for the next call, or None."""
        self._kill_overdue(now)  # first, so that nothing can keep the manager from its end
        deadlines = self._retire_expired(now)
        deadlines += self._give_up_on_zygote(now)
        for pool in list(self.pools.values()):
            try:
                deadlines += self._carry_out_plan(pool, now)
            except Exception as error:  # noqa: BLE001 (a boundary: the other pools must not suffer)
                if pool.last_error != (reason := f"can't be looked after: {type(error).__name__}: {error}"):
                    _log.exception("looking after the pool failed; trying again", extra={"pool": pool.name})
                pool.last_error = reason
                deadlines.append(now + SYSTEM_RETRY_S)
        deadlines += [live.kill_at for live in self.live.values() if live.kill_at is not None]
        return min(deadlines, default=None)

    def _carry_out_plan(self, pool: Pool, now: float) -> list[float]:
        """Start and drain workers of a pool; returns the times for its next plan."""
        calm_at = pool.tick(now)
        plan = pool.plan(now, self.busy(pool))
        for name in plan.drain:
            self.drain_one(self.live[name], None)
        for _ in range(plan.spawn):
            if not self._start(pool, now):
                break
        return [moment for moment in (calm_at, plan.again_at) if moment is not None]

    def stop(self, now: float, until: float = math.inf) -> None:
        """Let every worker finish its job within its pool's stop_timeout, but not beyond `until`, and start none."""
        self.drain(lambda live: min(now + live.order.pool.stop_timeout_s, until))

    def drain(
        self, kill_at: Callable[[LiveWorker], float | None], tell: Callable[[LiveWorker], bool] = lambda _live: True
    ) -> None:
        """Let every worker finish its job until its time, None as long as it takes, and start none.

        Those that leave already are not told again: a second signal makes many a program end at once. Those for which
        `tell` is false are not told yet.
        """
        self._is_stopping = True
        for pool in self.active:
            if pool.state is not PoolState.STOPPING:
                pool.stop()
        for live in list(self.live.values()):
            if live.told_at is None:
                self.drain_one(live, kill_at(live), is_told=tell(live))
            elif live.worker.state is not WorkerState.STOPPING:
                live.kill_at = kill_at(live)

    def kill_all(self) -> None:
        """Kill all workers."""
        for live in list(self.live.values()):
            self._kill(live)

    def kill(self, live: LiveWorker, reason: str) -> None:
        """Kill a worker that broke a limit; it is replaced at once, and the job server takes care of its job."""
        live.doom = reason
        self._kill(live)

    # --- the present state

    @property
    def active(self) -> list[Pool]:
        """The pools that are arranged, and removed ones that still have workers."""
        return [pool for pool in self.pools.values() if pool.state is not PoolState.ABSENT]

    @property
    def longest_stop_s(self) -> float:
        """The longest `stop_timeout` of all workers."""
        return max((live.order.pool.stop_timeout_s for live in self.live.values()), default=0.0)

    def busy(self, pool: Pool) -> dict[str, int]:
        """The pool's workers that have a job, and so must not be drained as surplus; with the jobs that they finished.

        Of workers that run several jobs at once the least busy ones don't count, unless they are full: to wait for one
        without a job could take for ever. Programs don't report their jobs: if any of them may have one, all count.
        """
        order = self._orders.get(pool.name)
        if order is not None and order.pool.command is not None:
            return dict.fromkeys(pool.workers, 0) if pool.running_jobs else {}
        views = {name: self.live[name].slots.view() for name in pool.workers}
        least = min((view.running for view in views.values()), default=0)
        bound = min(least + 1, order.pool.concurrency) if order is not None and order.is_concurrent else 1
        return {name: view.done + view.failed for name, view in views.items() if view.running >= bound}

    def of(self, pool: str) -> Iterable[LiveWorker]:
        """The pool's workers, oldest first."""
        return [self.live[name] for name in self.pools[pool].workers]

    def registered(self, pool: str) -> list[str]:
        """The names of the functions that a pool serves, as they are registered with Gearman; none if it is removed."""
        return self._orders[pool].registered if pool in self._orders else []

    def sums(self, pool: str) -> tuple[int, int]:
        """The jobs finished since the pool exists, and the nanoseconds spent in them."""
        gone = self.pools[pool].counts
        views = [live.slots.view() for live in self.of(pool)]
        jobs = gone.done + gone.failed + sum(view.done + view.failed for view in views)
        return jobs, gone.busy_ns + sum(view.busy_ns for view in views)

    def pids(self) -> set[int]:
        """The process numbers of all workers."""
        return {live.pid for live in self.live.values() if live.pid}

    # --- events

    def doorbell(self) -> None:
        """A worker registered for the first time, or reached a limit: find out which one."""
        for live in list(self.live.values()):
            self.look_at(live)
        self.wake()

    def spawned(self, name: str, pid: int, pidfd: int) -> None:
        """The zygote forked the worker."""
        live = self.live.get(name)
        if live is None:  # its order has become void meanwhile
            process.send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
            return
        self._born(live, process.Child(pid, pidfd))

    def spawn_failed(self, name: str, reason: str) -> None:
        """The fork failed, for example for lack of memory or because there are too many processes."""
        live = self.live.get(name)
        if live is None:
            return
        live.pool.last_error = f"can't fork: {reason}"
        _log.error("can't fork a worker: %s; trying again", reason, extra={"pool": live.pool.name})
        self._crashed(live, registered=False)

    def zygote_lost(self) -> None:
        """The zygote died: drop the orders that it did not report on, and kill the workers that it forked for them."""
        for pid in process.stray_children(self.pids() | self._zygotes.pids):
            process.kill_session(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for live in [live for live in self.live.values() if not live.pid]:
            live.pool.event(live.name, WorkerEvent.EXITED, time.monotonic())
            self._discard(live)
        self.wake()

    def exited(self, pid: int, status: int) -> None:
        """The zygote reaped a worker. This comes before or after the pidfd reports the end."""
        self._exits.reaped(pid, status, still_known=any(live.pid == pid for live in self.live.values()))

    def stopped(self, pid: int) -> None:
        """A process was stopped. Unless that was us, replace the worker, since it may stay stopped for ever."""
        if not process.is_stopped(pid):
            return
        for live in self.live.values():
            if live.pid == pid and not live.doom and not live.worker.is_worn:
                live.worker.is_worn = True
                then = "a replacement is started; after kill -CONT it finishes its job and leaves"
                _log.warning("stopped by a signal from outside, %s", then, extra=live.where)
                self.wake()

    # --- start

    def _start(self, pool: Pool, now: float) -> bool:
        """Start one more worker; returns False if that is impossible now."""
        order = self._orders[pool.name]
        if not self._starter.is_possible(order):
            return False
        try:
            live = self._starter.prepare(pool, order, now)
        except StartError as error:
            self._can_not_start(pool, str(error), now)
            return False
        self.live[live.name] = live
        self._launch(live)
        live.output.handed_over()
        return live.name in self.live

    def _can_not_start(self, pool: Pool, reason: str, now: float) -> None:
        """Try again a little later: the system refuses, and the pool is not at fault."""
        _log.error("%s; trying again", reason, extra={"pool": pool.name})
        pool.refused(reason, now + SYSTEM_RETRY_S)
        self.wake()  # plan anew, because the present plan has no time for the next one

    def _launch(self, live: LiveWorker) -> None:
        try:
            child = self._starter.start(live)
        except StartError as error:
            live.pool.last_error = str(error)
            _log.error("%s; trying again", error, extra={"pool": live.pool.name})
            self._crashed(live, registered=False)
            return
        if child is not None:
            self._born(live, child)
            if live.is_program:
                gevent.spawn_later(PROGRAM_START_S, self._program_lives, live)

    def _program_lives(self, live: LiveWorker) -> None:
        if self.live.get(live.name) is live and live.worker.state is WorkerState.STARTING:
            live.pool.event(live.name, WorkerEvent.REGISTERED, time.monotonic())
            self.wake()

    def _born(self, live: LiveWorker, child: process.Child) -> None:
        live.pid, live.pidfd = child.pid, child.pidfd
        live.slots.born(child.pid, live.started_at)
        live.output.follow(child.pid)
        draining = live.worker.state is WorkerState.DRAINING
        live.pool.event(live.name, WorkerEvent.FORKED, time.monotonic())
        live.watcher = gevent.get_hub().loop.io(child.pidfd, 1)
        live.watcher.start(self._gone, live)
        if draining:
            self.tell_to_stop(live)
        self._zygotes.guard([live])
        self.look_at(live)  # it may have rung before the zygote's message was read
        self.wake()

    def look_at(self, live: LiveWorker) -> None:
        """Read the worker's report: whether it has registered, or is near a limit."""
        if not live.pid or live.is_program:
            return
        view, now = live.slots.view(), time.monotonic()
        if live.worker.ready_at is None and view.state in (SlotState.IDLE, SlotState.BUSY):
            live.pool.event(live.name, WorkerEvent.REGISTERED, now)
            _log.debug("registered after %.0f ms", (now - live.started_at) * 1000, extra=live.where)
        if view.wear is not Wear.NONE and not live.worker.is_worn:
            live.worker.is_worn = True
            live.worker.leaves_alone = view.wear is Wear.LAST_JOBS
            _log.info("%s, a replacement is started", WORN[view.wear], extra=live.where)

    # --- end

    def _retire_expired(self, now: float) -> list[float]:
        """Mark the workers whose lifetime is over; returns the times at which the others' lifetimes end."""
        coming = []
        for live in self.live.values():
            if live.expires_at is None or live.worker.is_worn:
                continue
            if live.expires_at <= now:
                live.worker.is_worn = True
                _log.info("has reached its max_lifetime, a replacement is started", extra=live.where)
            else:
                coming.append(live.expires_at)
        return coming

    def _give_up_on_zygote(self, now: float) -> list[float]:
        """Kill a zygote that has not carried out an order for `ORDER_TIMEOUT_S`: it hangs, and is replaced.

        Returns the times at which the other orders are overdue.
        """
        overdue_at = [live.started_at + ORDER_TIMEOUT_S for live in self.live.values() if not live.pid]
        if any(moment <= now for moment in overdue_at):
            _log.error("the zygote has not forked a worker for %g s: it is replaced", ORDER_TIMEOUT_S)
            self._zygotes.kill_current()
        return [moment for moment in overdue_at if moment > now]

    def drain_one(self, live: LiveWorker, kill_at: float | None, *, is_told: bool = True) -> None:
        """Let a worker finish its job until that time, None as long as it takes. Its pool replaces it."""
        now = time.monotonic()
        live.pool.event(live.name, WorkerEvent.DRAIN, now)
        if kill_at is None and live.is_program:
            # We can't know that a program will leave after its job, so it gets as much time as at a stop.
            kill_at = now + live.order.pool.stop_timeout_s
        if kill_at is not None:
            live.kill_at = kill_at
        if live.pid and is_told:
            self.tell_to_stop(live)

    def tell_to_stop(self, live: LiveWorker) -> None:
        """Tell the worker to leave. It may be told again, in case a job has swallowed the signal."""
        live.tell_to_leave(time.monotonic())  # before the signal, which a job may have taken over
        name = live.order.pool.stop_signal if live.is_program else "SIGTERM"
        process.send_signal(live.pidfd, signal.Signals[name])

    def _kill(self, live: LiveWorker) -> None:
        live.kill_at = None
        if not live.pid:
            self._zygotes.kill_current()  # it neither forks the worker nor reports that it can't
        else:
            live.pool.event(live.name, WorkerEvent.KILL, time.monotonic())
            process.send_signal(live.pidfd, signal.SIGKILL)

    def _kill_overdue(self, now: float) -> None:
        """Kill the workers whose time to stop is over."""
        for live in list(self.live.values()):
            if live.kill_at is not None and live.kill_at <= now:
                jobs = live.slots.jobs()
                handle = {"handle": jobs[0].handle if len(jobs) == 1 else None}
                _log.warning("did not stop in time, killed; %s", go_back(len(jobs)), extra=live.where | handle)
                self._kill(live)

    def _gone(self, live: LiveWorker) -> None:
        """In the hub: the kernel reports that the worker has ended."""
        live.watcher.stop()
        live.watcher.close()
        try:
            self._account_for(live)
        except Exception:  # noqa: BLE001 (a boundary: a worker that is gone must not stay in the table)
            _log.exception("unexpected, at the end of the worker", extra=live.where)
            live.pool.workers.pop(live.name, None)
            self.live.pop(live.name, None)
        self.wake()

    def _account_for(self, live: LiveWorker) -> None:
        """Find out how a worker ended, and take it out of the table."""
        view, jobs = live.slots.view(), live.slots.jobs()
        status = self._exits.status_of(live)
        asked = live.worker.state in (WorkerState.DRAINING, WorkerState.STOPPING)
        registered = live.worker.ready_at is not None or view.state in (SlotState.IDLE, SlotState.BUSY)
        # A Python worker that leaves without having run a job is no use, and must not be replaced without end.
        left_alone = registered and status == 0 if live.is_program else has_served(view)
        process.kill_session(live.pid)
        self._leftovers.left_by(live.client_id)
        gone = live.pool.counts
        gone.done, gone.failed = gone.done + view.done, gone.failed + view.failed
        gone.busy_ns += view.busy_ns
        if asked or left_alone:
            live.pool.event(live.name, WorkerEvent.EXITED, time.monotonic())
            self._discard(live)
        else:
            self._crashed(live, registered=registered)
        self._exits.left(Exit(live, view, jobs, asked or left_alone), status)

    def _crashed(self, live: LiveWorker, *, registered: bool) -> None:
        """Count the crash, so that the next worker may have to wait."""
        live.pool.crashed(live.name, time.monotonic(), registered=registered, jitter=random.random())
        self._discard(live)
        self.wake()

    def _discard(self, live: LiveWorker) -> None:
        del self.live[live.name]
        self._starter.give_back(live)
