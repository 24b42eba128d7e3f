"""A worker process: registers its functions, grabs jobs, runs them one at a time, answers. The zygote forks it.

It is blocking and single-threaded. Its slot of the scoreboard shows its state to the supervisor. It ends when the
supervisor asks (by SIGTERM, and a mark in the slot, since a job may take the signal over) or is gone (the
lifeline): after the current job, never during it.
"""

from __future__ import annotations

import signal
import time

from gearman_client import Address, Worker, WorkerJob, WorkerSettings
from gearman_manager.ipc.links import Links
from gearman_manager.modules.user_code import UserCode
from gearman_manager.worker import group_signals
from gearman_manager.worker.bare_signals import install
from gearman_manager.worker.function_call import run_job
from gearman_manager.worker.order import Order
from gearman_manager.worker.process_state import ProcessState
from gearman_manager.worker.started_processes import kill_started_since
from gearman_manager.worker.timeout_by_signal import TimeoutBySignal
from gearman_manager.worker.worker_base import WorkerBase


class WorkerProcess(WorkerBase):
    """The life of one worker, from its first connection to its last answer."""

    def __init__(self, order: Order, code: UserCode, links: Links) -> None:
        super().__init__(order, code, links)
        self._client_id = order.client_id
        self._timeout = TimeoutBySignal(self._slot)
        #: The server of the last job, and its number: to find that anew takes longer than the shortest jobs should.
        self._last_server: Address | None = None
        self._last_number = 0
        settings = WorkerSettings(
            client_id=order.client_id,
            hears_stops=False,  # the supervisor does
            # The supervisor gives fetched jobs back, and has to know the servers for that.
            discover=order.prefetch == 1,
            prefetch=order.prefetch,
            return_key=order.return_key.encode(),
        )
        self._gearman = Worker(self._server_index, settings, observer=self)
        self._gearman.interrupt_on(links.lifeline)
        self._gearman.leave_when(self._must_leave)
        for registered, function in self._functions.items():
            self._gearman.register(registered, batch=function.batch)

    def run(self) -> None:
        """Serve until a stop is requested, the supervisor is gone, or `max_jobs` are done."""
        install(signal.SIGTERM, lambda *_: self._gearman.stop())
        group_signals.end_copies_by_term()
        self._process_state = ProcessState()
        self._work()
        self._slot.leave()
        self._gearman.close()
        self._tear_down()

    def _work(self) -> None:
        """Run jobs, each after the one before it is answered."""
        while self._wear.jobs_left != 0 and not self._slot.is_told_to_leave:
            assigned = self._gearman.grab()
            if assigned is None:
                break
            self._wear.before_job()
            failed = self._serve(assigned)
            self._wear.after_job(failed=failed)

    def _serve(self, assigned: WorkerJob) -> bool:
        """Run a job; returns whether it failed."""
        function = self._function_of(assigned)
        if function is None:
            return True
        now_ns = time.monotonic_ns()
        timeout_s = function.timeout_s if assigned.timeout_s is None else assigned.timeout_s
        deadline_ns = now_ns + int(timeout_s * 1e9) if timeout_s else 0
        if assigned.server is not self._last_server:
            self._last_server = assigned.server
            self._last_number = self._server_index[assigned.server]
        self._slot.begin(self._last_number, function.index, assigned.handle_bytes, now_ns, deadline_ns)
        failure = run_job(assigned, function, self._hooks, self._timeout)
        if failure is not None:
            self._slot.error(failure)
        ended_ns = time.monotonic_ns()
        self._slot.end(ended_ns, failed=failure is not None)
        self._process_state.clear_up(ended_ns)
        if self._timeout.has_rung:
            self._timeout.has_rung = False
            kill_started_since(now_ns, self._client_id)
        return failure is not None
