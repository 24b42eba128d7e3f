"""Prepares a function for repeated calls, and runs one job with it: hooks, time limit, answer.

All kinds of workers use it; each has its own way to interrupt a job at its time limit.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from functools import cached_property
from types import FrameType, TracebackType
from typing import Any, Final, Protocol, TypeVar

from gearman_client import Batch, WorkerJob
from gearman_client.errors import JobInterrupted, JobStopped
from gearman_client.typed_json.free_result import encode_result
from gearman_manager.errors import JobTimeout
from gearman_manager.ipc.logging_guard import OwnLogger
from gearman_manager.job import NOTHING_INTERRUPTS, Job
from gearman_manager.modules.discovery import LoadedFunction
from gearman_manager.modules.hooks import Hooks
from gearman_manager.modules.user_code import UserCode
from gearman_manager.privacy import FunctionPrivacy
from gearman_manager.worker.failures import Failure, describe, fail, failure_of
from gearman_manager.worker.order import OrderedFunction

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")
#: The kernel's number; the module `mmap` has no name for it.
_MADV_WIPEONFORK: Final = 18


async def awaited(awaitable: Any) -> Any:
    """What an awaitable gives, as a coroutine, which is what an event loop runs."""
    return await awaitable


class TimeLimit(Protocol):
    """Interrupts user code. `with limit:` suspends it, for our own code that user code calls."""

    @property
    def watches_all(self) -> bool:
        """Whether it has to call the functions of jobs without a time limit, too."""

    def call(self, function: Callable[[_Argument], _Result], argument: _Argument, timeout_s: float | None) -> _Result:
        """Run user code; after `timeout_s` seconds raise JobTimeout in it, and JobStopped if its job is to stop."""

    def __enter__(self) -> None: ...
    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None, /
    ) -> None: ...


class FunctionCall:
    """A function prepared for repeated calls. A class is instantiated once per process."""

    def __init__(
        self,
        ordered: OrderedFunction,
        loaded: LoadedFunction,
        index: int,
        original: mmap.mmap,
        complete: Callable[[object], object] = lambda returned: returned,
    ) -> None:
        """`original` is of `mark_of_process`; `complete` awaits what an async `setup` or `teardown` returns."""
        self.index = index
        self.registered = ordered.registered
        self.timeout_s = ordered.timeout_s
        self.settings = ordered.settings
        self._ordered = ordered
        #: Set if it takes a list of jobs.
        self.batch = None if ordered.batch is None else Batch(ordered.batch, ordered.linger_s)
        self.log = OwnLogger(ordered.name)
        self.pid = os.getpid()
        self.original = original
        self._object = loaded.target() if isinstance(loaded.target, type) else None
        self.call = loaded.called(loaded.target if self._object is None else self._object.run)
        self._complete = complete
        if hasattr(self._object, "setup"):
            complete(self._object.setup(ordered.settings))  # type: ignore[union-attr]

    @cached_property
    def privacy(self) -> FunctionPrivacy:
        """What of its jobs may leave the worker with an error."""
        return self._ordered.privacy

    def teardown(self) -> None:
        """Call the object's `teardown`, if it has one."""
        if hasattr(self._object, "teardown"):
            try:
                self._complete(self._object.teardown())  # type: ignore[union-attr]
            except Exception:
                self.log.exception("teardown failed")


def make_functions(
    functions: Iterable[OrderedFunction],
    code: UserCode,
    complete: Callable[[object], object] = lambda returned: returned,
) -> dict[str, FunctionCall]:
    """The functions of a worker, by registered name. Errors of `setup` reach the caller.

    Raises:
        ModuleError: a module that is imported only now can't be imported.
    """
    original = mark_of_process()
    return {
        ordered.registered: FunctionCall(ordered, code.function(ordered.file, ordered.name), index, original, complete)
        for index, ordered in enumerate(functions)
    }


def run_job(assigned: WorkerJob, function: FunctionCall, hooks: Hooks, limit: TimeLimit) -> str | None:
    """Run a job and answer it; any error of user code fails it. Returns the reason of the failure, None on success."""
    failure: BaseException | None = None
    told: Failure | None = None
    is_done = False
    timeout_s = function.timeout_s if assigned.timeout_s is None else assigned.timeout_s or None
    is_limited = timeout_s is not None or limit.watches_all
    job = Job(assigned, function.settings, function.log, limit if is_limited else NOTHING_INTERRUPTS)
    has_hooks = hooks.found  # the shortest jobs take a microsecond; so does each pair of calls here
    try:
        if has_hooks:
            hooks.job_start(job)
        result = limit.call(function.call, job, timeout_s) if is_limited else function.call(job)
        if not function.original[0]:
            os._exit(0)  # as `end_if_a_copy`, but without a system call for each job
        is_done = True
        if assigned.progress is not None and assigned.is_interrupted:
            leave_off(assigned, job)  # the function has passed over it
        elif not assigned.answered:  # otherwise it was given up meanwhile
            assigned.complete(b"" if result is None else encode_result(result))
    except BaseException as error:  # noqa: BLE001 (user code may raise anything: the job fails, the worker goes on)
        failure = error  # first: from now on nothing interrupts it
        end_if_a_copy(function.pid)
        if is_interruption(assigned, error):
            leave_off(assigned, job)
        else:
            failure = in_words(error, function, timeout_s)
            told = failure_of(failure, function.privacy, assigned)
            if not assigned.answered:
                fail(assigned, job, told, is_done=is_done)
    if has_hooks:
        hooks.job_end(job, failure)
    if told is None:
        return None if failure is None else describe(failure)
    return told.text


#: Code of ours that user code calls, and that must not be interrupted.
_OURS: Final = frozenset({Job.status.__code__, Job.data.__code__, Job.warning.__code__})


def is_in_user_code(frame: FrameType | None) -> bool:
    """Whether this frame is one of a job's function, of code that it has called, or of a hook before it, so that an
    exception that is raised there becomes the job's. False too if it is one of ours that user code has called."""
    while frame is not None:
        if frame.f_code in _OURS:
            return False
        if frame.f_code is run_job.__code__:
            known = frame.f_locals
            return "has_hooks" in known and not known["is_done"] and known["failure"] is None
        frame = frame.f_back
    return False


def mark_of_process() -> mmap.mmap:
    """Memory whose first byte is 1 in this process, and 0 in every copy of it, whoever forks."""
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_MADV_WIPEONFORK)
    except OSError:  # not in every sandbox
        os.register_at_fork(after_in_child=lambda: page.__setitem__(0, 0))
    page[0] = 1
    return page


def end_if_a_copy(pid: int) -> None:
    """End the child of a job that forked and returned in both processes: it would be a second worker on our
    connections."""
    if os.getpid() != pid:
        os._exit(0)


def limit_of(function: FunctionCall, jobs: Iterable[WorkerJob]) -> float | None:
    """The longest time of a call with these jobs (seconds; None: no limit): the shortest of theirs. A job's own limit
    wins over its function's."""
    limits = (function.timeout_s if job.timeout_s is None else job.timeout_s or None for job in jobs)
    return min((limit_s for limit_s in limits if limit_s is not None), default=None)


def is_interruption(assigned: WorkerJob, error: BaseException) -> bool:
    """Whether this ended the call because `iterate` gives way to the worker's end; a task group wraps it."""
    return assigned.is_interrupted and isinstance(error, (JobInterrupted, BaseExceptionGroup))


def leave_off(assigned: WorkerJob, job: Job) -> None:
    """Give a job back that `iterate` has interrupted."""
    job.log.info("the worker leaves: the job goes on elsewhere, from its last checkpoint")
    if not assigned.answered:
        assigned.leave_off()


def in_words(error: BaseException, function: FunctionCall, timeout_s: float | None) -> BaseException:
    """The error of a job with that time limit (seconds); if it was interrupted, with a text that says why."""
    if isinstance(error, JobTimeout) and not error.args and timeout_s is not None:
        return JobTimeout(f"{function.registered} took longer than its timeout of {timeout_s:g} s")
    if isinstance(error, JobStopped) and not error.args:
        return JobStopped(f"{function.registered} was stopped")
    return error
