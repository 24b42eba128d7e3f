"""One job as a test sees it: what was submitted, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, Protocol

from gearman_client.client.submission import WORKLOAD_IS_KEY, Priority
from gearman_client.job_pairs import DEFAULT_PRIORITY, priority_queue
from gearman_client.text import to_text

#: The words of the protocol extension for results (docs/protocol-extensions.md).
JobState = Literal["waiting", "delayed", "running", "complete", "failed", "exception"]
#: How a job has ended, as batches of jobs count it.
JobOutcome = Literal["complete", "failed", "expired", "cancelled", "stopped"]
ENDED: frozenset[JobState] = frozenset({"complete", "failed", "exception"})
_PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


class Listener(Protocol):
    """Somebody at a client's connection who wants to hear of a job."""

    def tell(self, packet_type: int, *arguments: bytes) -> None:
        """Send a report of the worker to the client."""

    def ended(self, job: SubmittedJob) -> None:
        """Send the end of the job to the client."""


@dataclass(eq=False, slots=True)
class SubmittedJob:
    """A job that was submitted to an `EagerServer`; its fields follow what happens to it.

    function: its name at the job server, with the client's namespace.
    workload: the bytes; `json()` reads them, and `args` and `kwargs` are those of a task's call.
    unique: the unique id, or empty.
    background: nobody waits for the result. A background job that a foreground one joined stays one.
    pairs: the options of the job; `option("retries")` reads one.
    run_at: Unix seconds, of a job that must not run before; 0: at once.
    submissions: the number of submissions that became this job, more than one with equal unique ids.
    attempts: the number of attempts so far. A retry follows at once, without the wait that a real server would make.
    result: the body of WORK_COMPLETE; None before.
    error: what the function raised in the last attempt.
    reason: the text of the failure, as clients get it.
    progress: numerator and denominator of the last report; the denominator is 0 if there was none.
    data, warnings: the reports of the last attempt.
    cursor: what the last checkpoint was given, for the next attempt; None: there was none.
    outcome: how it has ended, as a batch counts it; None before.
    throttled: how often its function has put it back with `Throttled`, which is no attempt.
    """

    function: str
    workload: bytes
    unique: str
    priority: Priority
    background: bool
    handle: str
    run_at: float = 0.0
    reducer: str = ""
    state: JobState = "waiting"
    submissions: int = 1
    attempts: int = 0
    result: bytes | None = None
    error: BaseException | None = None
    reason: bytes = b""
    progress: tuple[int, int] = (0, 0)
    data: list[bytes] = field(default_factory=list)
    warnings: list[bytes] = field(default_factory=list)
    #: The options of the job, as the pairs of SUBMIT_JOB_WITH (docs/protocol-extensions.md).
    pairs: Sequence[tuple[bytes, bytes]] = ()
    #: Unix seconds: it is not worth running any more then; infinite: it always is.
    not_after: float = inf
    cursor: Any = None
    outcome: JobOutcome | None = None
    throttled: int = 0
    #: Whether somebody has stopped it while it runs.
    is_stopping: bool = False
    #: Unix seconds of the server's clock.
    ended_at: float = 0.0
    #: The server forgets its result then.
    expires_at: float = 0.0
    #: The attempts that failed, and those whose worker was lost.
    failures: int = 0
    losses: int = 0
    #: The thread that runs it.
    thread: int = 0
    #: Clients that wait for a foreground job, and for a kept result.
    listeners: list[Listener] = field(default_factory=list, repr=False)
    waiters: list[Listener] = field(default_factory=list, repr=False)

    @property
    def handle_bytes(self) -> bytes:
        """The handle, as packets have it."""
        return self.handle.encode()

    @property
    def key(self) -> tuple[str, str, bytes]:
        """Equal for jobs that are one job, if there is a unique id; `"-"` makes the workload the id."""
        return self.function, self.unique, self.workload if self.unique == WORKLOAD_IS_KEY else b""

    @property
    def has_ended(self) -> bool:
        """Whether it is complete or has failed."""
        return self.state in ENDED

    def option(self, name: str) -> str | None:
        """The value of an option of the job, as the server got it: `"3"` of `retries`, milliseconds of a duration."""
        return next((to_text(value) for key, value in self.pairs if key == name.encode()), None)

    def option_s(self, name: str, default_s: float) -> float:
        """The seconds of an option that is a duration."""
        value = self.option(name)
        return default_s if value is None else int(value) / 1000

    def json(self) -> Any:
        """The workload read as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        from json import loads

        return loads(self.workload)

    @property
    def args(self) -> list[Any]:
        """The arguments by position of a task's call, as JSON values."""
        return self._call()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments by name of a task's call, as JSON values."""
        return self._call()[1]

    def _call(self) -> tuple[list[Any], dict[str, Any]]:
        from gearman_client.typed_json.call import split_call

        return split_call(self.workload)


def submitted_with(
    function: bytes, unique: bytes, pairs: Sequence[tuple[bytes, bytes]], workload: bytes, now: float
) -> SubmittedJob:
    """A job with options of its own, which is submitted now (Unix seconds)."""
    job = SubmittedJob(
        function=to_text(function),
        workload=workload,
        unique=to_text(unique),
        priority="normal",
        background=(b"background", b"1") in pairs,
        handle="",
        pairs=pairs,
    )
    job.priority = _PRIORITIES[priority_queue(int(job.option("priority") or DEFAULT_PRIORITY))]
    job.reducer = job.option("reducer") or ""
    delay_s, expires_in_s = job.option_s("delay", 0.0), job.option_s("expires_in", inf)
    job.run_at = now + delay_s if delay_s else job.option_s("at", 0.0)
    job.not_after = min(now + expires_in_s, job.option_s("expires", inf))
    return job
