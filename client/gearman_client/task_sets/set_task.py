"""One job or status query of a task set: what it asks, its rules, and its outcome. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Any, Final, Generic, Protocol, TypedDict, TypeVar

from gearman_client.address import Address
from gearman_client.arguments import to_optional_seconds
from gearman_client.client.job_status import JobHandle, JobStatus
from gearman_client.client.submission import Forms, Submission
from gearman_client.errors import ArgumentError, GearmanError, Unfinished
from gearman_client.packet import PacketType
from gearman_client.text import to_text

ValueT = TypeVar("ValueT")

#: More attempts than that at one task are a mistake.
MAX_RETRIES: Final = 1_000_000


class TaskCallbacks(TypedDict, total=False):
    """The callbacks of a task or of a whole set; each gets the task first.

    on_created(task): the server has accepted the job; `task.handle` is known.
    on_data(task, data), on_warning(task, data), on_status(task, numerator, denominator): the worker's reports.
    on_complete(task): the task has succeeded; `task.result()` is its result.
    on_exception(task, data): an attempt ended with WORK_EXCEPTION; on_retry or on_fail follows.
    on_fail(task): the task has failed for good; `task.error` says why.
    on_retry(task): an attempt has failed, and another one follows; `task.attempts` is the number of those made.
    """

    on_created: Callable[[SetTask[Any]], object]
    on_data: Callable[[SetTask[Any], bytes], object]
    on_warning: Callable[[SetTask[Any], bytes], object]
    on_status: Callable[[SetTask[Any], int, int], object]
    on_complete: Callable[[SetTask[Any]], object]
    on_exception: Callable[[SetTask[Any], bytes], object]
    on_fail: Callable[[SetTask[Any]], object]
    on_retry: Callable[[SetTask[Any]], object]


class TaskLimits(TypedDict, total=False):
    """The limits of a task. Every time is a number of seconds or a timedelta; None: no limit.

    timeout_s: for the whole task with all its attempts, counted from the moment at which the set begins with it.
    try_timeout_s: for one attempt.
    retries: how often to submit the job again after an attempt that failed or took too long (0).
    resubmit: whether a foreground job may be submitted again when its server was lost (True). It may then run twice.
    """

    timeout_s: timedelta | float | None
    try_timeout_s: timedelta | float | None
    retries: int
    resubmit: bool


class TaskSetOptions(TaskCallbacks, TaskLimits, total=False):
    """The keyword arguments of a task set, and of each of its tasks, which override the set's limits."""


_Heard = tuple[Callable[..., object], ...]


@dataclass(frozen=True, slots=True)
class TaskRules:
    """Checked options of a task. Times are in seconds; infinite: no limit."""

    timeout_s: float = inf
    try_timeout_s: float = inf
    retries: int = 0
    resubmit: bool = True
    on_created: _Heard = ()
    on_data: _Heard = ()
    on_warning: _Heard = ()
    on_status: _Heard = ()
    on_complete: _Heard = ()
    on_exception: _Heard = ()
    on_fail: _Heard = ()
    on_retry: _Heard = ()


def task_rules(options: Mapping[str, Any], base: TaskRules) -> TaskRules:
    """The rules out of checked names of options; `base` has those of the set, whose callbacks are called too.

    Raises:
        ArgumentError: a limit is none.
    """
    values: dict[str, Any] = {}
    for name in TaskRules.__slots__:
        value = options.get(name)
        if name.startswith("on_"):
            values[name] = getattr(base, name) if value is None else (value, *getattr(base, name))
        elif name not in options:
            values[name] = getattr(base, name)
        elif name in ("timeout_s", "try_timeout_s"):
            seconds = to_optional_seconds(value, name)
            values[name] = inf if seconds is None else seconds
        else:
            values[name] = value
    retries = values["retries"]
    if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= MAX_RETRIES:
        raise ArgumentError(f"retries {retries!r}: expected a whole number from 0 to {MAX_RETRIES}")
    return TaskRules(**values)


class HasHandle(Protocol):
    """An attempt at a task: the handle as the server spelled it, empty until it has accepted the job."""

    @property
    def handle(self) -> bytes: ...

    @property
    def server(self) -> Address | None: ...


class SetTask(Generic[ValueT]):
    """One task of a set. `for task in tasks` gives each when it is done.

    function: the function's name as it was given; a status query has none.
    workload, unique: as they were given.
    context: the caller's own, whatever was given with the task.
    is_done: it has succeeded or failed for good.
    error: why it failed; None before, and if it succeeded.
    attempts: the number of times that it was sent to a server.
    """

    __slots__ = (
        "attempt",
        "attempts",
        "context",
        "decode",
        "doubt",
        "error",
        "function",
        "is_done",
        "key",
        "losses",
        "outcome",
        "packet",
        "retries_left",
        "rules",
        "submission",
        "unique",
        "workload",
    )
    #: Whether the server keeps the job without a client, so that nobody may submit it twice.
    is_background: bool = False

    def __init__(self, function: str, workload: Any, packet: bytes, rules: TaskRules) -> None:
        self.function = function
        self.workload = workload
        self.packet = packet
        self.rules = rules
        #: If it has options that not every server takes: all its forms.
        self.submission: Submission | None = None
        #: A background job that may be at this server, and is submitted there again; and the error if that fails.
        self.doubt: tuple[Address, GearmanError] | None = None
        self.unique: str | None = None
        self.context: Any = None
        self.is_done = False
        self.error: GearmanError | None = None
        self.attempts = 0
        self.retries_left = rules.retries
        #: Equal keys are to meet on one server.
        self.key = b""
        #: Makes the value of the outcome; None: the outcome itself is it.
        self.decode: Callable[[bytes], Any] | None = None
        self.outcome: Any = None
        #: The attempt under way, or the last one.
        self.attempt: HasHandle | None = None
        #: The number of connections that were lost with an attempt.
        self.losses = 0

    def __repr__(self) -> str:
        state = "unfinished" if not self.is_done else "done" if self.error is None else f"failed: {self.error}"
        return f"<{type(self).__name__}: {self.name}, {state}>"

    @property
    def belongs_to_one_server(self) -> bool:
        """Whether not every server will do."""
        return bool(self.key) or self.doubt is not None

    @property
    def forms(self) -> Forms[bytes]:
        """The packets that can carry it."""
        return Forms(self.packet, None, ()) if self.submission is None else self.submission.forms

    def forget_packets(self) -> None:
        """It is done."""
        self.packet, self.submission = b"", None

    @property
    def is_over(self) -> bool:
        """The same as `is_done`."""
        return self.is_done

    @property
    def name(self) -> str:
        """What it is, for messages."""
        return self.function or "a status query"

    @property
    def handle(self) -> JobHandle | None:
        """The job's handle, of the last attempt that a server has accepted; None before."""
        attempt = self.attempt
        if attempt is None or not attempt.handle or attempt.server is None:
            return None
        return JobHandle(to_text(attempt.handle), attempt.server, self.function)

    def result(self) -> ValueT:
        """The result of a foreground job, the handle of a background job, the answer to a status query.

        Raises:
            Unfinished: the task is not done: wait for it first; or its set was closed before it was done.
            JobFailed, JobException: the job failed, in the last of its attempts.
            Timeout: no result in the time of the task, or of its last attempt.
            ResultNotDecoded: the job is done, but its result is not what the codec, or JSON, can be.
            JobNotKnown: whether the server has the background job is not known.
            ServerError, ConnectionLost, CouldNotConnect: the server refused it; it was lost; none could be reached.
        """
        if self.error is not None:
            raise self.error
        if not self.is_done:
            raise Unfinished(f"the task {self.name} is not done: call wait() of its set")
        value: ValueT = self.outcome if self.decode is None else self.decode(self.outcome)
        return value


class BackgroundSetTask(SetTask[JobHandle]):
    """Leaves a background job with a server."""

    __slots__ = ()
    is_background = True


class StatusSetTask(SetTask[JobStatus]):
    """Asks for the status of a job: its server if that is known, else one after another until one knows the job.

    answer: STATUS_RES or STATUS_RES_UNIQUE.
    asked_for: the handle; empty: a unique id.
    servers: those that are still to be asked.
    home: the only one of these, if it is the server of the handle: others of its cluster have the job if it is gone.
    """

    __slots__ = ("answer", "asked_for", "home", "servers")

    def __init__(self, packet: bytes, rules: TaskRules, answer: PacketType, servers: list[Address]) -> None:
        super().__init__("", None, packet, rules)
        self.answer = answer
        self.asked_for = ""
        self.servers = servers
        self.home: Address | None = None

    @property
    def belongs_to_one_server(self) -> bool:
        return True
