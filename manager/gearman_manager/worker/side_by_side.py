"""The common part of workers that run several jobs at once, in greenlets or on a loop: places, limits, stopping.

Such a worker gets the jobs over one connection to each job server, gives each job a place, and ends after the running
jobs, never during them.
"""

from __future__ import annotations

import os
from typing import NoReturn

from gearman_client import WorkerJob
from gearman_client.errors import JobStopped
from gearman_client.worker.concurrent_worker import ConcurrentWorker
from gearman_manager.errors import ManagerError
from gearman_manager.ipc.links import Links
from gearman_manager.modules.user_code import UserCode
from gearman_manager.worker.blocking_jobs import Limit
from gearman_manager.worker.function_call import FunctionCall, limit_of
from gearman_manager.worker.job_slots import JobSlot, JobSlots
from gearman_manager.worker.order import Order
from gearman_manager.worker.signal_state import OwnSignals
from gearman_manager.worker.worker_base import WorkerBase


class SideBySideWorker(WorkerBase):
    """A worker with several places for jobs. The kinds differ in the way they wait and in the time limits."""

    _signals: OwnSignals

    def __init__(self, order: Order, code: UserCode, links: Links, gearman: ConcurrentWorker) -> None:
        super().__init__(order, code, links)
        self._places = JobSlots(links.scoreboard, order.job_slots, self._slot)
        self._gearman = gearman
        gearman.interrupt_on(links.lifeline)
        gearman.leave_when(self._must_leave)
        for registered in self._functions:
            gearman.register(registered)

    @property
    def _is_done(self) -> bool:
        """Whether no job runs, none is on its way, and no more may be asked for."""
        is_last = self._gearman.stopping or self._wear.jobs_left == 0
        return is_last and not self._places.taken and not self._gearman.asked

    @property
    def _open_places(self) -> int:
        left = self._wear.jobs_left
        return self._places.free if left is None else min(self._places.free, left)

    def _place_for(self, assigned: WorkerJob) -> tuple[FunctionCall, JobSlot] | None:
        """The function of a job, and a place for it; None if there is no such function, and the job has failed."""
        function = self._function_of(assigned)
        if function is None:
            self._gearman.wake()  # its place is still free
            return None
        self._wear.before_job()
        server = self._server_index[assigned.server]
        timeout_s = limit_of(function, (assigned,))
        return function, self._places.take(server, function.index, assigned.handle_bytes, timeout_s)

    def _ended(self, place: JobSlot, failure: str | None) -> None:
        """Note the end of a job, which was answered; `failure` is its reason."""
        self._signals.restore()
        if failure is not None:
            self._slot.error(failure)
        self._places.give_back(place, failed=failure is not None)
        self._wear.after_job(failed=failure is not None)
        self._gearman.wake()

    def _give_up(self, assigned: WorkerJob, function: FunctionCall, place: JobSlot, limit: Limit) -> None:
        """Fail a job that goes on in spite of its timeout or a stop. Only the process's end can end it, after the other
        jobs."""
        if assigned.answered:
            return  # it ended in this very moment
        what = "being stopped" if limit.error is JobStopped else f"its timeout of {place.timeout_s:g} s"
        text = f"{limit.error.__name__}: {assigned.function} goes on in spite of {what}"
        function.log.error("%s", text, extra={"function": assigned.function, "handle": assigned.handle})
        assigned.fail_because(text)
        self._slot.error(text)
        self._places.give_up(place)
        self._wear.has_stuck_job()
        self._gearman.wake()


def forbid_fork(reason: str) -> None:
    """From now on a fork in this process, whose copy would have all of its jobs, raises a ManagerError."""

    def refuse(*_: object) -> NoReturn:
        raise ManagerError(reason)

    os.fork = os.forkpty = refuse
