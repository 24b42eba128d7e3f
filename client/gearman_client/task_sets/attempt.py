"""One attempt at a task, at one server: what the packets about it mean for the task. Pure.

An attempt that was given up stays with its connection until its answer, and then does nothing: `task` is None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gearman_client.address import Address
from gearman_client.client.foreground import unknown_request
from gearman_client.client.job_status import JobHandle, JobStatus, to_job_status
from gearman_client.client.request import Request
from gearman_client.errors import GearmanError, JobException, JobFailed, ProtocolError, ServerEnding, ServerError
from gearman_client.packet import split_arguments
from gearman_client.task_sets.set_task import SetTask, StatusSetTask
from gearman_client.text import to_text


class Outcomes(Protocol):
    """Whoever keeps the tasks is told of every outcome."""

    def tell(self, callbacks: tuple[Callable[..., object], ...], *arguments: Any) -> None:
        """Call the user's callbacks."""

    def succeed(self, task: SetTask[Any], outcome: Any) -> None:
        """A task is done."""

    def fail(self, task: SetTask[Any], error: GearmanError) -> None:
        """An attempt failed with the job: there may be another one."""

    def give_up(self, task: SetTask[Any], error: GearmanError) -> None:
        """A task failed, and another attempt would too."""

    def turn_away(self, task: SetTask[Any], server: Address, error: GearmanError) -> None:
        """A server is about to end, and has not taken the task: another one may."""

    def take_status(self, task: StatusSetTask, status: JobStatus) -> None:
        """A server has answered a status query."""


class Attempt(Request):
    """An attempt at a foreground job."""

    __slots__ = ("handle", "outcomes", "server", "task")
    has_result = True

    def __init__(self, task: SetTask[Any], outcomes: Outcomes) -> None:
        self.packet = task.packet
        self.task: SetTask[Any] | None = task
        self.outcomes = outcomes
        #: As the server spelled it; empty until it has accepted the job.
        self.handle = b""
        self.server: Address | None = None

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.task is None

    def created(self, handle: bytes) -> None:
        self.handle = handle
        task = self.task
        if task is not None and task.rules.on_created:
            self.outcomes.tell(task.rules.on_created, task)

    def refused(self, error: ServerError) -> None:
        if self.server is None:
            return
        if isinstance(error, ServerEnding):
            task, self.task = self.task, None
            if task is not None:
                self.outcomes.turn_away(task, self.server, error)
        else:
            self.abandon(unknown_request(error, self.server) or error)

    def abandon(self, error: GearmanError) -> None:
        """No server will take it."""
        task, self.task = self.task, None
        if task is not None:
            self.outcomes.give_up(task, error)

    def status(self, numerator: int, denominator: int) -> None:
        task = self.task
        if task is not None and task.rules.on_status:
            self.outcomes.tell(task.rules.on_status, task, numerator, denominator)

    def data(self, data: bytes) -> None:
        task = self.task
        if task is not None and task.rules.on_data:
            self.outcomes.tell(task.rules.on_data, task, data)

    def warning(self, data: bytes) -> None:
        task = self.task
        if task is not None and task.rules.on_warning:
            self.outcomes.tell(task.rules.on_warning, task, data)

    def complete(self, result: bytes) -> None:
        task = self.task
        if task is not None:
            self.task = None
            self.outcomes.succeed(task, result)

    def fail(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            self.outcomes.fail(task, JobFailed(f"job {to_text(self.handle)} failed"))

    def exception(self, data: bytes) -> None:
        task, self.task = self.task, None
        if task is not None:
            self.outcomes.tell(task.rules.on_exception, task, data)
            self.outcomes.fail(task, JobException(data))


class BackgroundAttempt(Attempt):
    """The submission of a background job."""

    __slots__ = ()
    has_result = False

    def created(self, handle: bytes) -> None:
        super().created(handle)
        task, self.task = self.task, None
        if task is not None and self.server is not None:
            self.outcomes.succeed(task, JobHandle(to_text(handle), self.server, task.function))


class StatusAttempt(Attempt):
    """A status query to one server."""

    __slots__ = ("answer",)
    has_result = False

    def __init__(self, task: StatusSetTask, outcomes: Outcomes) -> None:
        super().__init__(task, outcomes)
        self.answer = task.answer

    def answered(self, body: bytes) -> None:
        task, self.task = self.task, None
        if not isinstance(task, StatusSetTask):
            return
        try:
            status = to_job_status(split_arguments(self.answer, body))
        except ProtocolError as error:
            self.outcomes.give_up(task, error)
        else:
            self.outcomes.take_status(task, status)


def new_attempt(task: SetTask[Any], outcomes: Outcomes) -> Attempt:
    """The attempt that fits the kind of the task."""
    if isinstance(task, StatusSetTask):
        return StatusAttempt(task, outcomes)
    return (BackgroundAttempt if task.is_background else Attempt)(task, outcomes)
