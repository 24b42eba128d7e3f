"""One foreground job whose caller waits for it, as a request of an `Exchange`. It does no I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypedDict

from gearman_client.address import Address
from gearman_client.client.job_status import JobHandle
from gearman_client.client.request import Request
from gearman_client.errors import JobException, JobFailed, NotSupported, ServerEnding, ServerError
from gearman_client.extensions import ENDING_CODE, ENDING_TEXT
from gearman_client.text import to_text

#: What gearmand, and what Perl's server says of a packet that it does not know; Perl's says so of other errors too.
_UNKNOWN_REQUEST_CODES: Final = frozenset({"INVALID_COMMAND", "server_error"})
_NO_METHOD: Final = "Can't locate object method"


class JobCallbacks(TypedDict, total=False):
    """The callbacks for reports about a job; `Client.submit` calls them while it waits."""

    on_created: Callable[[JobHandle], object]
    on_status: Callable[[int, int], object]
    on_data: Callable[[bytes], object]
    on_warning: Callable[[bytes], object]
    on_exception: Callable[[bytes], object]


class ForegroundJob(Request):
    """One foreground job whose caller waits: it calls the callbacks, and `result` is set at its end.

    Raises (out of `Exchange.take`):
        ServerError, JobFailed, JobException: the job was refused or failed.
    """

    __slots__ = ("_callbacks", "_handle", "_server", "result")
    has_result = True

    def __init__(self, packet: bytes, server: Address, callbacks: JobCallbacks) -> None:
        super().__init__(packet)
        self.result: bytes | None = None
        self._server = server
        self._callbacks = callbacks
        self._handle: bytes | None = None

    @property
    def is_created(self) -> bool:
        """Whether the server has accepted the job."""
        return self._handle is not None

    def created(self, handle: bytes) -> None:
        self._handle = handle
        heard = self._callbacks.get("on_created")
        if heard is not None:
            heard(JobHandle(to_text(handle), self._server))

    def refused(self, error: ServerError) -> None:
        raise error

    def status(self, numerator: int, denominator: int) -> None:
        heard = self._callbacks.get("on_status")
        if heard is not None:
            heard(numerator, denominator)

    def data(self, data: bytes) -> None:
        heard = self._callbacks.get("on_data")
        if heard is not None:
            heard(data)

    def warning(self, data: bytes) -> None:
        heard = self._callbacks.get("on_warning")
        if heard is not None:
            heard(data)

    def complete(self, result: bytes) -> None:
        self.result = result

    def fail(self) -> None:
        raise JobFailed(f"job {to_text(self._handle or b'')} failed")

    def exception(self, data: bytes) -> None:
        heard = self._callbacks.get("on_exception")
        if heard is not None:
            heard(data)
        raise JobException(data)


def server_error(body: bytes) -> ServerError:
    """The error of an ERROR packet."""
    code, _, text = body.partition(b"\0")
    kind = ServerEnding if text == ENDING_TEXT and code == ENDING_CODE else ServerError
    return kind(to_text(code), to_text(text))


def unknown_request(error: ServerError, server: Address) -> NotSupported | None:
    """The error to raise instead if the server refused a request because it does not know its kind."""
    if error.code not in _UNKNOWN_REQUEST_CODES or (error.code == "server_error" and _NO_METHOD not in error.text):
        return None
    return NotSupported(f"{server} does not know this kind of request ({error.code}): gearmand and gearman-server do")
