"""One attempt of a job in this process: the function is called with a job whose answers are real packets, which are
read here."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

from gearman_client.address import Address
from gearman_client.client.client import Client
from gearman_client.errors import JobStopped
from gearman_client.extensions import (
    CHECKPOINT,
    CHECKPOINTS_OPTION,
    JOB_FAILURE_OPTION,
    JOB_OPTIONS_OPTION,
    WORK_FAILURE,
    WORK_FAILURE_ARGUMENTS,
)
from gearman_client.packet import REQUEST_MAGIC, PacketParser, PacketType
from gearman_client.testing.functions import EagerFunction
from gearman_client.testing.submitted_job import SubmittedJob
from gearman_client.testing.time_limit import JobTimeout
from gearman_client.typed_json.free_result import encode_result
from gearman_client.typed_json.mismatch import CallRefused
from gearman_client.worker.checkpoints import Progress, decode_cursor, encode_cursor
from gearman_client.worker.job_with_options import JobWithOptions

if TYPE_CHECKING:
    from gearman_client.async_client.async_client import AsyncClient

#: A function that always asks for another attempt gets no more than this in one process.
MAX_ATTEMPTS: Final = 1000

Report = Callable[[int, list[bytes]], None]

logger = logging.getLogger("gearman_client.testing")


class WorkerLost(Exception):
    """Raised by a function in a test: the worker dies under the job, which `crash_retries` gives another attempt."""


class Outcome(NamedTuple):
    """How an attempt ended. `content` is the result or the reason; `verdict` and `most_attempts` are the worker's
    wish, as in WORK_FAILURE."""

    state: Literal["complete", "failed", "exception", "lost"]
    content: bytes = b""
    error: BaseException | None = None
    verdict: str = "fail"
    most_attempts: int | None = None


class EagerJob(JobWithOptions):
    """The job that a function gets: it has what a `WorkerJob` and the manager's `Job` have."""

    #: Tells the annotation of a task's parameter that gets the job.
    is_gearman_job: ClassVar = True

    __slots__ = ("_async_client", "_client", "log", "settings")

    def __init__(
        self, link: Any, submitted: SubmittedJob, settings: Mapping[str, Any], client: Callable[[], Client]
    ) -> None:
        identity = submitted.handle_bytes, submitted.function, submitted.unique.encode()
        super().__init__(submitted.pairs, link, *identity, submitted.workload)
        self._client = client
        self._async_client: AsyncClient | None = None
        self.attempt = submitted.attempts
        if submitted.cursor is not None:
            self.progress = Progress(encode_cursor(submitted.cursor))
        self.settings = settings
        self.log = logging.LoggerAdapter(
            logging.getLogger(submitted.function), {"function": submitted.function, "handle": submitted.handle}
        )

    @property
    def client(self) -> Client:
        """A client for further jobs, as the manager's `Job` has it."""
        return self._client()

    @property
    def async_client(self) -> AsyncClient:
        """The same for coroutine functions."""
        if self._async_client is None:
            from gearman_client.async_client.async_client import AsyncClient

            self._async_client = AsyncClient(Address())
        return self._async_client

    async def close(self) -> None:
        """Close the asynchronous client, in its event loop."""
        if self._async_client is not None:
            await self._async_client.close()


class _Link:
    """The worker's end of a connection, as the job sees it; our server takes everything that it can send."""

    server_is_ours = True
    extensions = frozenset({JOB_FAILURE_OPTION, CHECKPOINTS_OPTION, JOB_OPTIONS_OPTION})
    former_extensions: frozenset[bytes] = frozenset()
    must_leave = can_go_on = takes_lists = False

    def __init__(self, submitted: SubmittedJob, report: Report) -> None:
        self._submitted = submitted
        self.address = Address()
        self.connection: Any = SimpleNamespace()
        self.outcome: Outcome | None = None
        self._report = report

    def hears_stop(self, _connection: object, _handle: bytes) -> bool:
        return self._submitted.is_stopping

    def answer(self, _connection: object, _handle: bytes, packet: bytes, _attempt: int = 0) -> None:
        for packet_type, body in PacketParser(REQUEST_MAGIC).feed(packet):
            self._take(packet_type, body)

    def tell(self, _connection: object, packet: bytes, _attempt: int = 0) -> None:
        for packet_type, body in PacketParser(REQUEST_MAGIC).feed(packet):
            if packet_type == CHECKPOINT:
                self._take(packet_type, body)
                continue
            self._report(packet_type, body.split(b"\0", 2 if packet_type == PacketType.WORK_STATUS else 1)[1:])

    def _take(self, packet_type: int, body: bytes) -> None:
        content = body.partition(b"\0")[2]
        if packet_type == CHECKPOINT:
            self._submitted.cursor = decode_cursor(content)
        elif packet_type == PacketType.WORK_COMPLETE:
            self.outcome = Outcome("complete", content)
        elif packet_type == PacketType.WORK_EXCEPTION:
            self.outcome = Outcome("exception", content)
        elif packet_type == WORK_FAILURE:
            _, verdict, _, most, reason, _ = body.split(b"\0", WORK_FAILURE_ARGUMENTS - 1)
            self.outcome = Outcome(
                "exception" if reason else "failed",
                reason,
                verdict=verdict.decode(),
                most_attempts=int(most) if most.isdigit() else None,
            )
        else:
            self.outcome = Outcome("failed")


def run_attempt(
    submitted: SubmittedJob, function: EagerFunction, report: Report, client: Callable[[], Client]
) -> Outcome:
    """Call the function once; everything that it may raise ends the attempt, but what ends a test or the process.

    client: makes the client for further jobs.
    """
    link = _Link(submitted, report)
    job = EagerJob(link, submitted, function.settings, client)
    error: BaseException | None = None
    is_done = False
    failures = (Exception, SystemExit, asyncio.CancelledError, JobTimeout, JobStopped)
    try:
        result = function.call(job)
        is_done = True
        if not job.answered:
            job.complete(encode_result(result))
    except WorkerLost as lost:
        return Outcome("lost", error=lost)
    except failures as raised:
        error = raised
        _log(job, raised)
        if not job.answered:
            _fail(job, raised, is_done=is_done)
    outcome = link.outcome or Outcome("failed")
    return outcome._replace(error=error)


def _fail(job: EagerJob, error: BaseException, *, is_done: bool) -> None:
    """As the manager's workers answer a failure."""
    text = _describe(error)
    trace = "".join(traceback.format_exception(error))
    wish: Any = error
    if isinstance(error, JobStopped):
        job.fail()
    elif _is_a(error, "Throttled"):
        job.throttle(text, after_s=wish.after_s, scope=wish.scope, trace=trace)
    elif _is_a(error, "Retry"):
        job.retry(text, after_s=wish.after_s, attempts=wish.attempts, trace=trace)
    elif is_done or isinstance(error, CallRefused) or _is_a(error, "Reject"):
        job.reject(text, trace=trace)
    else:
        job.fail_because(text, trace=trace)


def _is_a(error: BaseException, name: str) -> bool:
    """Whether it is the manager's exception of this name; a function that raises it has imported the manager."""
    verdicts = sys.modules.get("gearman_manager.verdict")
    return verdicts is not None and isinstance(error, getattr(verdicts, name))


def _describe(error: BaseException) -> str:
    name = "Reject" if isinstance(error, CallRefused) else type(error).__name__
    return f"{name}: {error}" if str(error) else name


def _log(job: EagerJob, error: BaseException) -> None:
    is_wish = isinstance(error, CallRefused | JobStopped) or _is_a(error, "Retry") or _is_a(error, "Reject")
    logger.error("job %s of %s failed: %s", job.handle, job.function, _describe(error), exc_info=not is_wish)
