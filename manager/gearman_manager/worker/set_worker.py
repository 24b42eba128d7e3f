"""A worker process that gets several jobs at once: it runs them one after the other, or in one call of a function.

Their answers leave together, with the next request. Between two jobs of a set it looks whether it may go on: the
supervisor may have taken the rest back (see `ipc/claims`), or it is to leave, or the server or the supervisor is gone.
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
from gearman_manager.worker.function_call import FunctionCall
from gearman_manager.worker.order import Order
from gearman_manager.worker.started_processes import kill_started_since
from gearman_manager.worker.worker import WorkerProcess

#: Answers wait for the next request, but between two jobs no longer than this.
ANSWERS_WAIT_NS: Final = 2_000_000


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
        """Run the jobs of a set one after the other, as far as they stay this worker's."""
        if len(jobs) > 1 and self._claims is not None:
            handles = [job.handle_bytes for job in jobs[1:]]  # the first begins now
            self._claims.put(self._gearman.set_number, self._server_index[jobs[0].server], handles)
            if self._slot.is_told_to_leave:  # in this moment: then the supervisor may have found no claims yet
                self._gearman.give_back(jobs)
                return
        sent_ns = time.monotonic_ns()
        for position, assigned in enumerate(jobs):
            if position and not self._may_begin(jobs, position):
                break
            self._wear.before_job()
            failed = self._serve(assigned, shown=False)
            self._wear.after_job(failed=failed)
            now_ns = time.monotonic_ns()
            if now_ns >= sent_ns + ANSWERS_WAIT_NS:
                self._slot.idle()  # this may wait for a slow server
                self._gearman.flush()
                sent_ns = now_ns
        self._slot.idle()

    def _may_begin(self, jobs: Sequence[WorkerJob], position: int) -> bool:
        """Whether to begin the next job of a set. If not, the server has the rest, or gets it now."""
        if self._wear.jobs_left == 0 or self._slot.is_told_to_leave or not self._gearman.look():
            self._slot.idle()
            self._gearman.give_back(jobs[position:])
            return False
        return not jobs[position].is_lost and self._claims is not None and self._claims.claim()

    def _serve_in_one_call(self, jobs: Sequence[WorkerJob], function: FunctionCall) -> None:
        """Run all jobs of a set in one call of their function."""
        first = jobs[0]
        self._wear.before_jobs(len(jobs))
        now_ns = time.monotonic_ns()
        deadline_ns = now_ns + int(function.timeout_s * 1e9) if function.timeout_s else 0
        self._slot.begin(self._server_index[first.server], function.index, first.handle_bytes, now_ns, deadline_ns)
        failures = run_batch(jobs, function, self._hooks, self._timeout)
        if failures:
            self._slot.error(failures[-1])
        ended_ns = time.monotonic_ns()
        self._slot.end_all(ended_ns, len(jobs), len(failures))
        self._process_state.clear_up(ended_ns)
        if function.timeout_s is not None and self._timeout.has_rung:
            kill_started_since(now_ns, self._client_id)
        self._wear.after_job(failed=bool(failures))
