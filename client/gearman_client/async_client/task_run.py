"""One task of a set or of `map` on asyncio: its attempts, its outcome, and what its callbacks hear.

The tasks, their rules and their callbacks are those of the blocking sets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple, Protocol

from gearman_client.address import Address
from gearman_client.async_client.at_home import at_home
from gearman_client.async_client.attempts import AsyncAttempts
from gearman_client.async_client.calls import find_status, leave_job, run_job
from gearman_client.async_client.link import Link
from gearman_client.async_client.servers import AsyncServer, Servers
from gearman_client.client.attempts import Limits
from gearman_client.client.foreground import JobCallbacks
from gearman_client.client.job_status import JobHandle, JobStatus
from gearman_client.client.opening import OpeningSettings
from gearman_client.errors import GearmanError, JobException, JobFailed, Timeout
from gearman_client.task_sets.set_task import SetTask, StatusSetTask
from gearman_client.text import to_argument


class Tell(Protocol):
    """Calls the user's callbacks. What it raises ends the task's attempt."""

    def __call__(self, callbacks: tuple[Callable[..., object], ...], /, *arguments: Any) -> None: ...


class _Accepted(NamedTuple):
    """An attempt that a server has accepted."""

    handle: bytes
    server: Address


class TaskRun:
    """A task that is carried out now: its time counts from here."""

    def __init__(self, task: SetTask[Any], servers: Servers, settings: OpeningSettings, tell: Tell) -> None:
        self._task = task
        self._servers = servers
        self._settings = settings
        self._tell = tell
        self._deadline = monotonic() + task.rules.timeout_s

    async def carry_out(self) -> None:
        """Run the task to its end: after that it is done. Only what callbacks raise comes out of here."""
        task = self._task
        try:
            task.outcome = await self._outcome()
        except GearmanError as error:
            task.error = error
        task.is_done = True
        task.forget_packets()
        self._tell(task.rules.on_complete if task.error is None else task.rules.on_fail, task)

    async def _outcome(self) -> Any:
        task = self._task
        if isinstance(task, StatusSetTask):
            return await self._status(task)
        if not task.is_background:
            return await self._result()
        attempts = TaskAttempts(self._servers, self._limits(), task, self._tell)
        is_repeatable = task.submission is not None and task.submission.is_repeatable
        handle = await leave_job(attempts, task.forms, task.name, is_repeatable=is_repeatable)
        self._accept(handle)
        return handle

    async def _status(self, task: StatusSetTask) -> JobStatus:
        servers = self._servers

        def ask(candidates: Sequence[AsyncServer], limits: Limits) -> Awaitable[JobStatus]:
            return find_status(servers, candidates, task.packet, task.answer, limits)

        return await at_home(servers, task.asked_for, self._limits(), ask)

    async def _result(self) -> bytes:
        """The result of a foreground job, in as many attempts as its rules allow."""
        task = self._task
        while True:
            limits = self._limits()
            attempts = TaskAttempts(self._servers, limits, task, self._tell)
            try:
                return await run_job(attempts, task.forms, self._callbacks(), resubmit=task.rules.resubmit)
            except (JobFailed, JobException) as error:
                failure: GearmanError = error
            except Timeout as error:
                now = monotonic()
                if now < limits.deadline:
                    raise
                if now >= self._deadline:
                    raise Timeout(f"no result of {task.name} in {task.rules.timeout_s:g} s") from error
                limit_s = task.rules.try_timeout_s
                failure = Timeout(f"no result of {task.name} in {limit_s:g} s, the limit of an attempt")
            if task.retries_left <= 0:
                raise failure
            task.retries_left -= 1
            self._tell(task.rules.on_retry, task)

    def _limits(self) -> Limits:
        """The limits of an attempt that begins now."""
        deadline = min(self._deadline, monotonic() + self._task.rules.try_timeout_s)
        return Limits(deadline, self._settings.reply_timeout_s, self._settings.connect_timeout_s)

    def _callbacks(self) -> JobCallbacks:
        task, rules, tell = self._task, self._task.rules, self._tell
        callbacks: JobCallbacks = {"on_created": self._accept}
        if rules.on_status:
            callbacks["on_status"] = lambda numerator, denominator: tell(rules.on_status, task, numerator, denominator)
        if rules.on_data:
            callbacks["on_data"] = lambda data: tell(rules.on_data, task, data)
        if rules.on_warning:
            callbacks["on_warning"] = lambda data: tell(rules.on_warning, task, data)
        if rules.on_exception:
            callbacks["on_exception"] = lambda data: tell(rules.on_exception, task, data)
        return callbacks

    def _accept(self, handle: JobHandle) -> None:
        self._task.attempt = _Accepted(to_argument(handle, "handle"), handle.server)
        if self._task.rules.on_created:
            self._tell(self._task.rules.on_created, self._task)


class TaskAttempts(AsyncAttempts):
    """The attempts at a task. One without a key goes to the server with the least to do."""

    def __init__(self, servers: Servers, limits: Limits, task: SetTask[Any], tell: Tell) -> None:
        super().__init__(servers, limits, task.key)
        self._task = task
        self._tell = tell

    async def next(self) -> Link:
        """As of `AsyncAttempts`; it counts as an attempt at the task."""
        link = await super().next()
        self._task.attempts += 1
        return link

    def lost(self, link: Link, error: GearmanError, *, was_sent: bool = True) -> None:
        """As of `AsyncAttempts`; the task is told of another attempt."""
        if not was_sent:
            self._task.attempts -= 1
        super().lost(link, error, was_sent=was_sent)
        if was_sent:
            self._tell(self._task.rules.on_retry, self._task)

    async def _choose(self) -> Link:
        if self._key or self.is_for_one:
            return await super()._choose()
        return await self._servers.least_busy(self.limits.deadline)
