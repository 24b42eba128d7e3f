"""Enforces limits during a job: kills a worker whose job is over its time limit, or that is far over its memory limit.
A stop is a limit, too.

It also kills a worker whose report in the scoreboard makes no sense, and one without a job that does not leave.

The worker acts first: it raises JobTimeout at the time limit, and is replaced between jobs at its memory limit. If it
can't, the supervisor stops the process a second after the time limit, looks again (the job may have ended just then),
tells the job server and kills the process.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import gevent

from gearman_client import Address, AdminClient, AdminError, GearmanError
from gearman_manager.host import process
from gearman_manager.host.memory import anonymous_bytes, private_bytes
from gearman_manager.ipc.scoreboard import SlotState, SlotView
from gearman_manager.job_servers.connection import connect_to
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.oom import OomKills
from gearman_manager.pools.workforce import Workforce

_log = logging.getLogger("workers")
INTERVAL_S: Final = 0.25
#: The time for a function to clean up after JobTimeout.
GRACE_S: Final = 1.0
#: Further time for a worker of several jobs to abandon a job that does not end, so that it need not lose the others.
GIVE_UP_S: Final = 0.5
#: Between two looks at memory and at the whole report of each worker.
THOROUGH_INTERVAL_S: Final = 1.0
#: The multiple of max_memory at which a worker is killed during a job.
HARD_MEMORY_FACTOR: Final = 1.5
#: The time for a worker without a job to leave; a teardown may take `stop_timeout`.
LEAVE_S: Final = 10.0
_SERVER_TIMEOUT_S: Final = 1.0


class LimitEnforcer:
    """Checks the scoreboard a few times a second, at a cost of some microseconds per worker."""

    def __init__(
        self,
        workforce: Workforce,
        wake: Callable[[], None],
        oom_kills: OomKills,
        servers: Callable[[], Sequence[Address]] = tuple,
    ) -> None:
        """`servers` gives all job servers that are known."""
        self._servers = servers
        self._workforce = workforce
        self._wake = wake
        self._oom_kills = oom_kills
        self._thorough_at = 0.0
        self._greenlet = gevent.Greenlet(self._run)

    def start(self) -> None:
        """Enforce limits from now on."""
        self._greenlet.start()

    def close(self) -> None:
        """Enforce them no longer."""
        self._greenlet.kill()

    def _run(self) -> None:
        while True:
            gevent.sleep(INTERVAL_S)
            now_ns = time.monotonic_ns()
            thorough = now_ns / 1e9 >= self._thorough_at + THOROUGH_INTERVAL_S
            if thorough:
                self._thorough_at = now_ns / 1e9
                self._oom_kills.look()
            for live in list(self._workforce.live.values()):
                if live.pid and not live.is_program and not live.doom:
                    self._guarded_look(live, now_ns, thorough=thorough)

    def _guarded_look(self, live: LiveWorker, now_ns: int, *, thorough: bool) -> None:
        try:
            self._look_at(live, now_ns, thorough=thorough)
        except Exception as error:  # noqa: BLE001 (a boundary: the limits of all other workers hold on)
            _log.exception("unexpected, in the look at its limits", extra=live.where)
            self._kill(live, None, f"can't be looked after ({type(error).__name__})")

    def _look_at(self, live: LiveWorker, now_ns: int, *, thorough: bool) -> None:
        if thorough:
            self._workforce.look_at(live)  # a job may have swallowed the ring of the doorbell
        if live.slots.fault:
            self._kill(live, None, live.slots.fault)
            return
        if not live.slots.has_job():
            if thorough and live.told_at is not None:
                self._urge(live, now_ns / 1e9 - live.told_at)
            return
        jobs = live.slots.jobs()
        if _overdue(live, jobs, now_ns):
            self._end_overdue(live, now_ns)
        elif thorough and self._is_far_too_large(live):
            limit = live.order.pool.max_memory_bytes
            reason = f"took more than {HARD_MEMORY_FACTOR:g} times its max_memory of {limit} bytes"
            self._kill(live, jobs[0] if len(jobs) == 1 else None, reason)

    def _urge(self, live: LiveWorker, told_s: float) -> None:
        """Tell a worker without a job again that it is to leave; a job may have swallowed the signal or blocked it."""
        tearing_down = live.slots.view().state is SlotState.LEAVING
        limit_s = max(LEAVE_S, live.order.pool.stop_timeout_s) if tearing_down else LEAVE_S
        if told_s >= limit_s:
            self._kill(live, None, f"has no job, and has not left for {told_s:.0f} s")
        elif not tearing_down:
            self._workforce.tell_to_stop(live)

    def _end_overdue(self, live: LiveWorker, now_ns: int) -> None:
        process.send_signal(live.pidfd, signal.SIGSTOP)
        overdue = _overdue(live, live.slots.jobs(), now_ns)
        if not overdue:
            process.send_signal(live.pidfd, signal.SIGCONT)  # the job has just ended
            return
        # Of several jobs fail the one that holds the processor; the others are innocent, and run again elsewhere.
        active = live.slots.active_job()
        job = active if active is not None and active in overdue else overdue[0]
        live.doom = f"did not react to its {'stop' if live.stops.get(job.start_ns) else 'timeout'}"
        gevent.spawn(self._fail_and_kill, live, job)

    def _fail_and_kill(self, live: LiveWorker, view: SlotView) -> None:
        live.give_back_fetched()  # they are innocent, and the server would take the next one for the next victim
        try:
            self._fail_job(live, view)
        except (OSError, GearmanError) as error:
            _log.warning("the job server could not be told that the job failed: %s", error, extra=live.where)
        if self._workforce.live.get(live.name) is live:
            self._kill(live, view, live.doom)

    def _fail_job(self, live: LiveWorker, view: SlotView) -> None:
        given = live.order.servers
        if view.server < len(given):
            _fail_job(given[view.server], view.handle)
            return
        learned = (server for server in self._servers() if live.order.number_of(server) == view.server)
        if not any(_has_failed_job(server, view.handle) for server in learned):
            raise AdminError("UNKNOWN_JOB", "the server of the cluster that gave it does not have it")

    def _kill(self, live: LiveWorker, view: SlotView | None, reason: str) -> None:
        job = {"function": live.order.pool.functions[view.function], "handle": view.handle} if view else {}
        _log.error("%s: killed", reason, extra=live.where | job)
        live.give_back_fetched()
        self._workforce.kill(live, reason)
        self._wake()

    def _is_far_too_large(self, live: LiveWorker) -> bool:
        limit_bytes = live.order.pool.max_memory_bytes
        if not limit_bytes:
            return False
        try:
            with open(f"/proc/{live.pid}/statm", "rb") as statm:
                if anonymous_bytes(statm.read()) < limit_bytes * HARD_MEMORY_FACTOR:
                    return False
            return private_bytes(live.pid) >= limit_bytes * HARD_MEMORY_FACTOR
        except (OSError, IndexError):
            return False  # the worker is gone


def _overdue(live: LiveWorker, jobs: Iterable[SlotView], now_ns: int) -> list[SlotView]:
    """The jobs that are past their deadline and the grace after it, or past their stop, the longest running first."""
    give_up_ns = int(GIVE_UP_S * live.order.is_concurrent * 1e9)
    grace_ns = int(GRACE_S * 1e9) + give_up_ns
    overdue = [job for job in jobs if job.deadline_ns and now_ns > job.deadline_ns + grace_ns]
    if live.stops:
        overdue += [job for job in jobs if 0 < live.stops.get(job.start_ns, 0) < now_ns - give_up_ns]
    return sorted(overdue, key=lambda job: job.deadline_ns or job.start_ns)


def _has_failed_job(server: Address, handle: str) -> bool:
    """Whether this server of ours has the job, and treats it as timed out."""
    try:
        with AdminClient(connect_to(server, _SERVER_TIMEOUT_S), timeout_s=_SERVER_TIMEOUT_S) as admin:
            admin.fail_job(handle, "timeout")
    except (OSError, GearmanError):
        return False
    return True


def _fail_job(server: Address, handle: str) -> None:
    """Have the job's server treat it as timed out; a foreign server can only cancel it."""
    with AdminClient(connect_to(server, _SERVER_TIMEOUT_S), timeout_s=_SERVER_TIMEOUT_S) as admin:
        try:
            admin.fail_job(handle, "timeout")
        except AdminError:
            admin.cancel_job(handle)
