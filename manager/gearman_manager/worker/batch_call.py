"""Runs a function that takes a list of jobs: one call, one time limit, and a fate for each job.

The function returns a list with the result of each job, in their order; an exception in it fails that job alone.
Nothing returned means that all are done. What it raises, a timeout included, is the fate of all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gearman_client import WorkerJob
from gearman_client.typed_json.free_result import encode_result
from gearman_manager.job import Job
from gearman_manager.modules.hooks import Hooks
from gearman_manager.verdict import Retry
from gearman_manager.worker.failures import Failure, answer_failure, fail, failure_of
from gearman_manager.worker.function_call import (
    FunctionCall,
    TimeLimit,
    end_if_a_copy,
    in_words,
    is_interruption,
    leave_off,
    limit_of,
)


def run_batch(assigned: Sequence[WorkerJob], function: FunctionCall, hooks: Hooks, limit: TimeLimit) -> list[str]:
    """Run the jobs in one call and answer each. Returns the reasons of those that failed."""
    return _Batch(assigned, function, hooks, limit).run()


class _Batch:
    def __init__(self, assigned: Sequence[WorkerJob], function: FunctionCall, hooks: Hooks, limit: TimeLimit) -> None:
        self._function = function
        self._hooks = hooks
        self._timeout_s = limit_of(function, assigned)
        self._limit = limit
        self._pairs = [(each, Job(each, function.settings, function.log, limit)) for each in assigned]
        self._reasons: list[str] = []

    def run(self) -> list[str]:
        """Run the jobs, without those whose hook refuses them."""
        pairs = [pair for pair in self._pairs if self._starts(*pair)] if self._hooks.found else self._pairs
        if pairs:
            self._call(pairs)
        return self._reasons

    def _starts(self, assigned: WorkerJob, job: Job) -> bool:
        try:
            self._hooks.job_start(job)
        except BaseException as error:  # noqa: BLE001 (user code may raise anything: the job fails, the others go on)
            end_if_a_copy(self._function.pid)
            self._fail(assigned, job, error)
            return False
        return True

    def _call(self, pairs: Sequence[tuple[WorkerJob, Job]]) -> None:
        try:
            returned = self._limit.call(self._function.call, [job for _, job in pairs], self._timeout_s)
            end_if_a_copy(self._function.pid)
        except BaseException as error:  # noqa: BLE001 (as above)
            end_if_a_copy(self._function.pid)
            if any(is_interruption(assigned, error) for assigned, _ in pairs):
                for assigned, job in pairs:
                    leave_off(assigned, job)
                    self._hooks.job_end(job, None)
            else:
                self._fail_all(pairs, in_words(error, self._function, self._timeout_s), is_done=False)
            return
        try:
            results = one_each(returned, len(pairs))
        except TypeError as error:
            self._fail_all(pairs, error, is_done=True)
            return
        has_hooks = bool(self._hooks.found)
        for (assigned, job), result in zip(pairs, results, strict=True):
            if isinstance(result, BaseException):
                self._fail(assigned, job, result)
                continue
            try:
                assigned.complete(encode_result(result))
            except BaseException as error:  # noqa: BLE001 (the conversion may run user code)
                self._fail(assigned, job, error, is_done=True)
                continue
            if has_hooks:
                self._hooks.job_end(job, None)

    def _fail(self, assigned: WorkerJob, job: Job, error: BaseException, *, is_done: bool = False) -> None:
        self._tell(assigned, job, failure_of(error, self._function.privacy, assigned), is_done=is_done)

    def _tell(self, assigned: WorkerJob, job: Job, failure: Failure, *, is_done: bool) -> None:
        if not assigned.answered:
            fail(assigned, job, failure, is_done=is_done)
        self._hooks.job_end(job, failure.error)
        self._reasons.append(failure.text)

    def _fail_all(self, pairs: Sequence[tuple[WorkerJob, Job]], error: BaseException, *, is_done: bool) -> None:
        """The same fate for all; the log tells of it once, since there may be a thousand of them."""
        first, *others = pairs
        failure = failure_of(error, self._function.privacy, *(assigned for assigned, _ in pairs))
        self._tell(*first, failure, is_done=is_done)
        if others:
            level = logging.WARNING if isinstance(error, Retry) else logging.ERROR
            first[1].log.log(level, "the same holds for the %d other jobs of its call", len(others))
        for assigned, job in others:
            answer_failure(assigned, failure, is_done=is_done)
            self._hooks.job_end(job, error)
            self._reasons.append(failure.text)


def one_each(returned: object, jobs: int) -> Sequence[object]:
    """The results, one for each job.

    Raises:
        TypeError: the function returned something else.
    """
    if returned is None:
        return [None] * jobs
    if not isinstance(returned, (list, tuple)):
        raise TypeError(
            f"the function got {jobs} jobs and returned {type(returned).__name__}: return a list, a result for each"
        )
    if len(returned) != jobs:
        raise TypeError(
            f"the function got {jobs} jobs and returned {len(returned)} results: return one for each, in order"
        )
    return returned
