"""Prepares a function for repeated calls, and runs one job with it: hooks, time limit, answer.

All kinds of workers use it; each has its own way to interrupt a job at its time limit.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Protocol, TypeVar

from gearman_client import Batch, WorkerJob
from gearman_manager.errors import JobTimeout
from gearman_manager.ipc.logging_guard import OwnLogger
from gearman_manager.job import NOTHING_INTERRUPTS, Job
from gearman_manager.modules.discovery import LoadedFunction
from gearman_manager.modules.hooks import Hooks
from gearman_manager.modules.user_code import UserCode
from gearman_manager.result import encode_result
from gearman_manager.verdict import Reject, Retry
from gearman_manager.worker.order import OrderedFunction

_Result = TypeVar("_Result")
MAX_TRACE_BYTES: Final = 32 * 1024


class TimeLimit(Protocol):
    """Interrupts user code. `with limit:` suspends it, for our own code that user code calls."""

    def call(self, function: Callable[[], _Result], timeout_s: float) -> _Result:
        """Run user code; after `timeout_s` seconds raise JobTimeout in it."""

    def __enter__(self) -> None: ...
    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None, /
    ) -> None: ...


class FunctionCall:
    """A function prepared for repeated calls. A class is instantiated once per process."""

    def __init__(self, ordered: OrderedFunction, loaded: LoadedFunction, index: int) -> None:
        self.index = index
        self.registered = ordered.registered
        self.timeout_s = ordered.timeout_s
        self.settings = ordered.settings
        #: Set if it takes a list of jobs.
        self.batch = None if ordered.batch is None else Batch(ordered.batch, ordered.linger_s)
        self.log = OwnLogger(ordered.name)
        self.pid = os.getpid()
        self._object = loaded.target() if isinstance(loaded.target, type) else None
        self.call = loaded.target if self._object is None else self._object.run
        if hasattr(self._object, "setup"):
            self._object.setup(ordered.settings)  # type: ignore[union-attr]

    def teardown(self) -> None:
        """Call the object's `teardown`, if it has one."""
        if hasattr(self._object, "teardown"):
            try:
                self._object.teardown()  # type: ignore[union-attr]
            except Exception:
                self.log.exception("teardown failed")


def make_functions(functions: Iterable[OrderedFunction], code: UserCode) -> dict[str, FunctionCall]:
    """The functions of a worker, by registered name. Errors of `setup` reach the caller.

    Raises:
        ModuleError: a module that is imported only now can't be imported.
    """
    return {
        ordered.registered: FunctionCall(ordered, code.function(ordered.file, ordered.name), index)
        for index, ordered in enumerate(functions)
    }


def run_job(assigned: WorkerJob, function: FunctionCall, hooks: Hooks, limit: TimeLimit | None) -> str | None:
    """Run a job and answer it; any error of user code fails it. Returns the reason of the failure, None on success."""
    failure: BaseException | None = None
    is_done = False
    if function.timeout_s is None:
        limit = None
    job = Job(assigned, function.settings, function.log, limit or NOTHING_INTERRUPTS)
    has_hooks = bool(hooks.found)  # the shortest jobs take a microsecond; so does each pair of calls here
    try:
        if has_hooks:
            hooks.job_start(job)
        result = function.call(job) if limit is None else call_user_code(function, job, limit)
        if os.getpid() != function.pid:
            end_if_a_copy(function.pid)
        is_done = True
        if not assigned.answered:  # otherwise it was given up meanwhile
            assigned.complete(encode_result(result))
    except BaseException as error:  # noqa: BLE001 (user code may raise anything: the job fails, the worker goes on)
        end_if_a_copy(function.pid)
        failure = error
        if not assigned.answered:
            fail(assigned, job, error, is_done=is_done)
    if has_hooks:
        hooks.job_end(job, failure)
    return None if failure is None else describe(failure)


def end_if_a_copy(pid: int) -> None:
    """End the child of a job that forked and returned in both processes: it would be a second worker on our
    connections."""
    if os.getpid() != pid:
        os._exit(0)


def call_user_code(function: FunctionCall, argument: object, limit: TimeLimit | None) -> object:
    """Run user code under its time limit. `argument` is a job, or a list of jobs.

    Raises:
        BaseException: anything that user code may raise, and JobTimeout.
    """
    if function.timeout_s is None or limit is None:
        return function.call(argument)
    try:
        return limit.call(lambda: function.call(argument), function.timeout_s)
    except JobTimeout:
        raise JobTimeout(f"{function.registered} took longer than its timeout of {function.timeout_s:g} s") from None


def fail(assigned: WorkerJob, job: Job, error: BaseException, *, is_done: bool) -> None:
    """Log and answer that the job has failed. `is_done`: only its result can't be sent, and another attempt would not
    help."""
    if isinstance(error, Retry):
        job.log.warning("the job is to be tried again: %s", error)
    elif isinstance(error, Reject):
        job.log.error("the job is rejected: %s", error)
    else:
        is_plain = not isinstance(error, JobTimeout)
        job.log.error("the job failed: %s", describe(error), exc_info=error if is_plain else None)
    if not answer_failure(assigned, error, is_done=is_done, trace=trace_of(error)):
        job.log.warning("%s is no job server of ours and can't be told: the job has failed", assigned.server)


def answer_failure(assigned: WorkerJob, error: BaseException, *, is_done: bool, trace: bytes) -> bool:
    """Answer that the job has failed; returns False if its server can't be told of the wish of a Retry or Reject."""
    text = describe(error).encode(errors="replace")
    if isinstance(error, Retry):
        return assigned.retry(text, after_s=error.after_s, attempts=error.attempts, trace=trace)
    if isinstance(error, Reject):
        return assigned.reject(text, trace=trace)
    answer = assigned.reject if is_done else assigned.fail_because
    answer(text, trace=trace)
    return True


def trace_of(error: BaseException) -> bytes:
    """The error's traceback, to find its cause later; of a very long one only the end."""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 (user code)
        return b""
    return text.encode(errors="replace")[-MAX_TRACE_BYTES:]


def describe(error: BaseException) -> str:
    """The error's type, and its text if it has one. Even str() may raise in user code."""
    try:
        text = str(error)
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    except BaseException:  # noqa: BLE001 (user code)
        return type(error).__name__
