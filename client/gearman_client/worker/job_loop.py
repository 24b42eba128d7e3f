"""Runs the jobs that a worker gets with their callbacks, one after the other, until there is a reason to end.

It knows a worker only as a source of jobs. The manager has loops of its own.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic, time
from typing import Final, Protocol

from gearman_client.errors import JobInterrupted, JobStopped
from gearman_client.worker.callbacks import JobCallback
from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.worker_job import WorkerJob

#: Answers of jobs that came together leave together; none waits longer than this and the job that runs then.
ANSWERS_S: Final = 0.002

#: Called with whether no server has a job, and with the end of the last job (Unix seconds, None: there was none).
StopCondition = Callable[[bool, float | None], object]

logger = logging.getLogger("gearman_client.worker")


class JobSource(Protocol):
    """The worker, as its loop sees it."""

    def grab(self, timeout_s: float | None) -> WorkerJob | None: ...
    def grab_many(self, timeout_s: float | None) -> list[WorkerJob]: ...
    def look(self) -> bool: ...
    def give_back(self, jobs: Iterable[WorkerJob]) -> None: ...
    def flush(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RoundHooks:
    """What the user wants called between jobs. `Worker.run` explains them."""

    on_idle: Callable[[], object] | None
    stop_if: StopCondition | None

    def go_on(self, is_idle: bool, last_job_at: float | None) -> bool:
        """Call both. Returns False if the loop is to end."""
        if is_idle and self.on_idle is not None:
            try:
                self.on_idle()
            except Exception:
                logger.exception("on_idle failed; the worker goes on")
        return self.stop_if is None or not self.stop_if(is_idle, last_job_at)


class JobLoop:
    """The loop of one worker."""

    def __init__(
        self, source: JobSource, callbacks: Mapping[str, JobCallback], observer: WorkerObserver, *, gets_sets: bool
    ) -> None:
        self._source = source
        self._callbacks = callbacks
        self._observer = observer
        self._gets_sets = gets_sets
        kind, silent = type(observer), WorkerObserver
        #: The shortest jobs take a few microseconds, and an observer seldom wants to hear of each.
        self._hears_of_jobs = (kind.job_started, kind.job_ended) != (silent.job_started, silent.job_ended)

    def run(self, max_jobs: float, wait_s: float | None, hooks: RoundHooks | None) -> int:
        """Run up to `max_jobs` jobs; returns their number.

        wait_s: without hooks, end when no job came for so long; with hooks, call them then.
        """
        jobs = 0
        last_job_at = None
        try:
            while jobs < max_jobs:
                done = self._run_next(wait_s, max_jobs - jobs)
                jobs += done
                if hooks is None:
                    if done:
                        continue
                    break
                if done:
                    last_job_at = time()
                elif not self._source.look():
                    break
                if not hooks.go_on(not done, last_job_at):
                    break
        finally:
            self._source.flush()
        return jobs

    def _run_next(self, wait_s: float | None, most: float) -> int:
        """Get the next job, or the next set of jobs, and run it. Returns the number of jobs; 0: there is none."""
        if self._gets_sets:
            return self._run_set(self._source.grab_many(wait_s), most)
        job = self._source.grab(wait_s)
        if job is None:
            return 0
        self._run(job)
        return 1

    def _run_set(self, jobs: Sequence[WorkerJob], most: float) -> int:
        """Run the jobs, no more than `most`, and give back those that are not begun. Returns how many were run."""
        begun, unsent_since = 0, inf
        try:
            for job in jobs:
                if begun >= most or (begun and (not self._source.look() or job.is_lost)):
                    break
                begun += 1
                self._run(job)
                if job.was_throttled:
                    break
                now = monotonic()
                if now > unsent_since + ANSWERS_S:
                    self._source.flush()
                    unsent_since = inf
                else:
                    unsent_since = min(unsent_since, now)
        finally:
            if begun < len(jobs):
                self._source.give_back(jobs[begun:])
        return begun

    def _run(self, job: WorkerJob) -> None:
        callback = self._callbacks.get(job.function)
        if callback is None:
            job.fail_because(f"this worker has no callback for {job.function}")
            return
        if self._hears_of_jobs:
            self._observer.job_started(job)
        failure: BaseException | None = None
        is_done = False
        try:
            result = callback(job)
            is_done = True
            if job.is_interrupted:  # and has passed over that
                job.leave_off()
            elif not job.answered:
                job.complete(result if type(result) is bytes else _encoded(result))
        except JobInterrupted:
            job.leave_off()
        except JobStopped as error:
            failure = error
            logger.info("job %s of %s was stopped", job.handle, job.function)
            if not job.answered:
                job.fail()
        except Exception as error:
            failure = error
            is_refused = _is_refused(error)
            text = "job %s of %s failed: %s"
            logger.error(text, job.handle, job.function, _describe(error), exc_info=not is_refused)
            if not job.answered:
                # Without another attempt if only the result can't be sent: it would do the work again.
                answer = job.reject if is_done or is_refused else job.fail_because
                answer(_describe(error), trace=traceback.format_exc())
        if self._hears_of_jobs:
            self._observer.job_ended(job, failure)


def _encoded(result: object) -> bytes:
    from gearman_client.typed_json.free_result import encode_result  # here: most functions return bytes

    return encode_result(result)


def _is_refused(error: Exception) -> bool:
    from gearman_client.typed_json.mismatch import CallRefused  # here: only tasks raise it

    return isinstance(error, CallRefused)


def _describe(error: Exception) -> str:
    # As the manager's workers call it, which raise their own exception.
    name = "Reject" if _is_refused(error) else type(error).__name__
    text = str(error)
    return f"{name}: {text}" if text else name
