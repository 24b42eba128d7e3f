"""Requests whose answer a coroutine awaits: each has a future, and a link that counts it.

Nothing here raises into the conversation, which others share: an error in a callback ends the request alone.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from gearman_client.client.foreground import JobCallbacks, unknown_request
from gearman_client.client.job_status import JobHandle
from gearman_client.client.kept_result import KeptAnswer, to_kept_answer
from gearman_client.client.request import Request, ResultRequest
from gearman_client.errors import ArgumentError, GearmanError, JobException, JobFailed, ProtocolError, ServerError
from gearman_client.text import to_text

if TYPE_CHECKING:
    from gearman_client.async_client.link import Link


class Stage(Enum):
    """How far a request is. The last three stages are final.

    WAITING: it waits for room. ASKED: its answer is due, or its job's end. OVER: its last packet has come.
    UNSENT: the connection was lost before the server can have had all of it. UNKNOWN: the server may have had it.
    """

    WAITING = auto()
    ASKED = auto()
    OVER = auto()
    UNSENT = auto()
    UNKNOWN = auto()


WAITING: Final = Stage.WAITING
ASKED: Final = Stage.ASKED
OVER: Final = Stage.OVER


def check_callbacks(callbacks: Mapping[str, object]) -> None:
    """Check that no callback is a coroutine function, which nobody would await.

    Raises:
        ArgumentError: one is.
    """
    for name, heard in callbacks.items():
        if name.startswith("on_") and inspect.iscoroutinefunction(heard):
            raise ArgumentError(f"{name} {heard!r}: expected a plain function, which may create a task, no coroutine")


class Awaited(Request):
    """What all awaited requests have. `future` gets the answer or the exception.

    is_left: nobody waits any more, and the future is done; what comes is swallowed.
    is_created: a foreground job was accepted.
    timer: ends the wait.
    questioned_at: when the server of a foreground job was asked whether it is alive, in the time of the loop.
    """

    future: asyncio.Future[Any]
    link: Link
    stage = Stage.UNSENT
    is_left: bool
    is_created = False
    timer: asyncio.TimerHandle | None = None
    questioned_at = 0.0

    def prepare(self, link: Link) -> None:
        """Belong to a link, whose event loop is to run the coroutine that waits."""
        self.link = link
        self.future = link.loop.create_future()
        self.stage = WAITING
        self.is_left = False

    def lose(self, stage: Stage, error: GearmanError) -> None:
        """The connection is gone."""
        self.stage = stage
        if not self.future.done():
            self.future.set_exception(error)

    def refused(self, error: ServerError) -> None:
        """The server answered with ERROR."""
        self._fail(unknown_request(error, self.link.address) or error)

    def _succeed(self, value: object) -> None:
        self.link.note_end(self)
        if not self.future.done():
            self.future.set_result(value)

    def _fail(self, error: GearmanError) -> None:
        self.link.note_end(self)
        if not self.future.done():
            self.future.set_exception(error)

    def _tell(self, heard: Callable[..., object] | None, *values: object) -> None:
        """Call a callback of the user. If it raises, the caller gets that, and the job goes on without it."""
        if heard is None or self.future.done():
            return
        try:
            heard(*values)
        except Exception as error:  # noqa: BLE001 - it reaches the caller, whose callback it was
            self.future.set_exception(error)


class AwaitedAnswer(Awaited):
    """A request that submits nothing; the future gets the body of the answer, a packet of the type `answer`."""

    def __init__(self, packet: bytes, answer: int) -> None:
        super().__init__(packet)
        self.answer = answer

    def answered(self, body: bytes) -> None:
        """The answer."""
        self._succeed(body)


class AwaitedHandle(Awaited):
    """The submission of a background job; the future gets its `JobHandle`."""

    def created(self, handle: bytes) -> None:
        """The server has the job."""
        self._succeed(JobHandle(to_text(handle), self.link.address))


class AwaitedJob(Awaited):
    """The submission of a foreground job; the future gets its result."""

    has_result = True

    def __init__(self, packet: bytes, callbacks: JobCallbacks) -> None:
        super().__init__(packet)
        self._callbacks = callbacks
        self._handle = b""

    def created(self, handle: bytes) -> None:
        """The server has accepted the job."""
        self._handle = handle
        self.is_created = True
        heard = self._callbacks.get("on_created")
        if heard is not None:
            self._tell(heard, JobHandle(to_text(handle), self.link.address))

    def status(self, numerator: int, denominator: int) -> None:
        """Progress."""
        self._tell(self._callbacks.get("on_status"), numerator, denominator)

    def data(self, data: bytes) -> None:
        """A part of the result."""
        self._tell(self._callbacks.get("on_data"), data)

    def warning(self, data: bytes) -> None:
        """A warning."""
        self._tell(self._callbacks.get("on_warning"), data)

    def complete(self, result: bytes) -> None:
        """The result."""
        self._succeed(result)

    def fail(self) -> None:
        """The job has failed."""
        self._fail(JobFailed(f"job {to_text(self._handle)} failed"))

    def exception(self, data: bytes) -> None:
        """The job has failed, with data."""
        self._tell(self._callbacks.get("on_exception"), data)
        self._fail(JobException(data))


class AwaitedResult(Awaited, ResultRequest):
    """The request for a kept result; the future gets the `KeptAnswer`.

    until: when the server stops to wait for the job's end, in the time of the loop; minus infinity: it does not wait.

    Several may ask for one job over a connection. The server answers each when its wait is over, and no answer tells
    which one it is for: so one that says that there is no result yet is for the one whose wait ends first.
    """

    def __init__(self, handle: bytes, wait: bytes, until: float, callbacks: JobCallbacks) -> None:
        super().__init__(handle, wait)
        self.until = until
        self._callbacks = callbacks
        self._told: tuple[int, int] | None = None

    def prepare(self, link: Link) -> None:
        """Be one of the requests for the job's result."""
        super().prepare(link)
        link.results.setdefault(self.handle, []).append(self)

    def refused(self, error: ServerError) -> None:
        """The server answered with ERROR."""
        self._end()
        super().refused(error)

    def status(self, numerator: int, denominator: int) -> None:
        """Progress; the answer may repeat the last."""
        if self._told != (numerator, denominator):
            self._tell(self._callbacks.get("on_status"), numerator, denominator)
        self._told = numerator, denominator

    def data(self, data: bytes) -> None:
        """A part of the result."""
        self._tell(self._callbacks.get("on_data"), data)

    def warning(self, data: bytes) -> None:
        """A warning."""
        self._tell(self._callbacks.get("on_warning"), data)

    def answered(self, body: bytes) -> None:
        """The answer: the result, or why there is none."""
        try:
            answer: KeptAnswer = to_kept_answer(body.partition(b"\0")[2])
        except ProtocolError as error:
            self._end()
            self._fail(error)
            return
        if not answer.has_ended:
            first = min(self.link.results[self.handle], key=lambda request: request.until)
            self._change_places(first)
        self._end()
        if answer.denominator:
            self.status(answer.numerator, answer.denominator)
        if answer.state == "exception":
            self._tell(self._callbacks.get("on_exception"), answer.content)
        self._succeed(answer)

    def _change_places(self, other: AwaitedResult) -> None:
        """Take over what the other one's caller waits for; the other one goes on for this one's caller."""
        if other is not self:
            mine, theirs = self.__dict__, other.__dict__
            for name in ("future", "until", "is_left", "_callbacks", "_told"):
                mine[name], theirs[name] = theirs[name], mine[name]

    def _end(self) -> None:
        requests = self.link.results[self.handle]
        requests.remove(self)
        if not requests:
            del self.link.results[self.handle]
