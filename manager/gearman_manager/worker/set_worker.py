"""A worker process that gets several jobs at once: it runs them one after the other, or in one call of a function.

Their answers leave together, with the next request. Between two jobs of a set it looks whether it may go on: the
supervisor may have taken the rest (see `ipc/claims`), or it is to leave, or the server or the supervisor is gone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from gearman_client import WorkerJob
from gearman_manager.ipc.claims import Claims
from gearman_manager.ipc.links import Links
from gearman_manager.modules.user_code import UserCode
from gearman_manager.worker.batch_call import run_batch
from gearman_manager.worker.function_call import FunctionCall, limit_of, run_job
from gearman_manager.worker.order import Order
from gearman_manager.worker.started_processes import kill_started_since
from gearman_manager.worker.worker import WorkerProcess

#: After this time between two jobs the answers so far leave, and the worker looks whether it may go on.
LOOK_NS: Final = 2_000_000


class SetWorkerProcess(WorkerProcess):
    """The life of one worker of a pool with `prefetch`, or with a function that takes lists of jobs."""

    def __init__(self, order: Order, code: UserCode, links: Links, claims: Claims | None) -> None:
        super().__init__(order, code, links)
        self._claims = claims

    def _work(self) -> None:
        """Run sets of jobs."""
        while self._may_go_on():
            jobs = self._gearman.grab_many()
            if not jobs:
                break
            function = self._functions.get(jobs[0].function)
            if len(jobs) > 1 and self._slot.is_told_to_leave:
                self._gearman.give_back(jobs)
                break
            if function is not None and function.batch is not None:
                self._serve_in_one_call(jobs, function)
            else:
                self._serve_in_turn(jobs)

    def _may_go_on(self) -> bool:
        return self._wear.jobs_left != 0 and not self._slot.is_told_to_leave

    def _serve_in_turn(self, jobs: Sequence[WorkerJob]) -> None:
        """Run the jobs of a set one after the other, as far as they stay this worker's.

        Jobs may take a microsecond, so this repeats in one place what `WorkerProcess` does for each.
        """
        slot, wear, timeout = self._slot, self._wear, self._timeout
        calls = slot.calls
        jobs = self._kept(jobs)
        if len(jobs) > 1 and slot.is_told_to_leave:  # in this moment: then the supervisor may have found no claims yet
            self._gearman.give_back(jobs)
            return
        wear.before_jobs(len(jobs))
        is_alone = len(jobs) == 1
        server, link, connection = self._server_index[jobs[0].server], jobs[0].link, jobs[0].connection
        behind = len(jobs)
        find, begin, run, hooks = self._functions.get, slot.begin, run_job, self._hooks
        clock, clear_up = time.monotonic_ns, self._process_state.clear_up
        now_ns = clock()
        look_ns = now_ns + LOOK_NS
        for assigned in jobs:
            function = find(assigned.function)
            if function is None:
                self._function_of(assigned)
                behind -= 1
                continue
            timeout_s = function.timeout_s if assigned.timeout_s is None else assigned.timeout_s
            deadline_ns = now_ns + int(timeout_s * 1e9) if timeout_s else 0
            seen = begin(server, function.index, assigned.handle_bytes, now_ns, deadline_ns, behind - 1)
            if (seen != calls and not is_alone) or link.connection is not connection:  # `is_lost`, without its call
                break
            behind -= 1
            failure = run(assigned, function, hooks, timeout)
            began_ns, now_ns = now_ns, clock()
            slot.busy_ns += now_ns - began_ns  # shown with the next `begin` or `idle`
            clear_up(now_ns)
            if failure is None:
                slot.done += 1
            else:
                slot.failed += 1
                slot.error(failure)
                wear.after_job(failed=True)
                if assigned.was_throttled:  # it was put back, and others may have to wait with it
                    break
            if timeout.has_rung:
                timeout.has_rung = False
                kill_started_since(began_ns, self._client_id)
            if now_ns >= look_ns:
                slot.idle(behind)  # this may wait for a slow server
                self._gearman.flush()
                wear.after_job()
                if not self._gearman.look():
                    break
                now_ns = clock()
                look_ns = now_ns + LOOK_NS
        slot.idle()
        wear.after_job()
        if behind:
            wear.take_back(behind)
            self._gearman.give_back(jobs[-behind:])

    def _kept(self, jobs: Sequence[WorkerJob]) -> Sequence[WorkerJob]:
        """The jobs that this worker may hold; the others go back at once."""
        most = self._wear.jobs_left
        keep = len(jobs) if most is None else min(len(jobs), most)
        if keep > 1:
            handles = [job.handle_bytes for job in jobs[1:keep]]  # the first begins now
            server = self._server_index[jobs[0].server]
            keep = 1 if self._claims is None else 1 + self._claims.put(self._gearman.set_number, server, handles)
        if keep < len(jobs):
            self._gearman.give_back(jobs[keep:])
        return jobs[:keep]

    def _serve_in_one_call(self, jobs: Sequence[WorkerJob], function: FunctionCall) -> None:
        """Run all jobs of a set in one call of their function."""
        first = jobs[0]
        self._wear.before_jobs(len(jobs))
        now_ns = time.monotonic_ns()
        timeout_s = limit_of(function, jobs)
        deadline_ns = now_ns + int(timeout_s * 1e9) if timeout_s else 0
        self._slot.begin(self._server_index[first.server], function.index, first.handle_bytes, now_ns, deadline_ns)
        failures = run_batch(jobs, function, self._hooks, self._timeout)
        if failures:
            self._slot.error(failures[-1])
        ended_ns = time.monotonic_ns()
        self._slot.end_all(ended_ns, len(jobs), len(failures))
        self._process_state.clear_up(ended_ns)
        if self._timeout.has_rung:
            self._timeout.has_rung = False
            kill_started_since(now_ns, self._client_id)
        self._wear.after_job(failed=bool(failures))
