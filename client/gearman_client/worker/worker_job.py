"""One job that a worker holds, and the answers that the worker can give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gearman_client.address import Address
from gearman_client.connection.connection import Connection
from gearman_client.errors import ArgumentError, JobAnswered, JobStopped
from gearman_client.extensions import (
    JOB_FAILURE_OPTION,
    JOB_OPTIONS_OPTION,
    WORK_FAILURE,
)
from gearman_client.packet import HEADER, REQUEST_MAGIC, PacketType, encode_request
from gearman_client.text import to_body, to_text
from gearman_client.worker.job_link import JobLink
from gearman_client.worker.resumable import Resumable

#: Plain integers, because an enum member costs an extra lookup for every job.
_WORK_STATUS, _WORK_COMPLETE, _WORK_FAIL = (
    int(PacketType.WORK_STATUS),
    int(PacketType.WORK_COMPLETE),
    int(PacketType.WORK_FAIL),
)
_WORK_EXCEPTION, _WORK_DATA, _WORK_WARNING = (
    int(PacketType.WORK_EXCEPTION),
    int(PacketType.WORK_DATA),
    int(PacketType.WORK_WARNING),
)
_pack_header: Final = HEADER.pack
#: The headers of short answers, by the length of the body.
_COMPLETE_HEADERS: Final = tuple(_pack_header(REQUEST_MAGIC, _WORK_COMPLETE, length) for length in range(128))
_SHORT_BYTES: Final = len(_COMPLETE_HEADERS)
_THROTTLED: Final = "throttled"
#: The types of results that are no bytes, if they are false.
_EMPTY: Final = (bytes, type(None))


class WorkerJob(Resumable):
    """A job assigned to this worker.

    `complete`, `fail` and `exception` end it; the answer leaves with the next grab, in one write, or with the worker's
    `flush` or `close`. `status`, `data` and `warning` leave at once. If the connection is gone by then, all of them do
    nothing, because the server runs the job again.
    """

    __slots__ = (
        "_unique",
        "answered",
        "attempt",
        "connection",
        "function",
        "handle_bytes",
        "workload",
    )

    #: The longest time of this attempt by an option of the job (seconds; 0: no limit). None: it has none of its own.
    timeout_s: float | None = None

    def __init__(
        self, link: JobLink, handle: bytes, function: str, unique: bytes, workload: bytes, attempt: int | None = None
    ) -> None:
        self._link = link
        #: The connection over which it came.
        self.connection: Connection | None = link.connection
        self.handle_bytes = handle
        self.function = function
        self._unique = unique
        self.workload = workload
        self.attempt = attempt
        #: Whether an answer was given; `_THROTTLED`: it was put back by `throttle`.
        self.answered: bool | str = False
        self.progress = None

    @property
    def handle(self) -> str:
        """The server's name for the job."""
        return to_text(self.handle_bytes)

    @property
    def unique(self) -> str:
        """The client's unique id, or empty."""
        return to_text(self._unique)

    @property
    def headers(self) -> Mapping[str, str]:
        """The names and values that the client gave the job for its function, such as `traceparent`."""
        return {}

    @property
    def tags(self) -> tuple[str, ...]:
        """The short texts by which the job can be found at the server."""
        return ()

    @property
    def batch(self) -> str:
        """The id of the batch of jobs that it is part of, for `batch=` of further jobs; or empty."""
        return ""

    @property
    def key(self) -> str:
        """What limits and fairness within the function go by: a customer, a domain; or empty."""
        return ""

    @property
    def priority(self) -> int | None:
        """From 0 to 9, the most urgent; None: the client gave none as an option."""
        return None

    @property
    def is_lost(self) -> bool:
        """Whether the connection over which it came is gone: then the server runs it again."""
        return self.connection is None or self.connection is not self._link.connection

    @property
    def must_stop(self) -> bool:
        """Whether somebody has stopped the job, as `client.stop` does: it is over, and never run again."""
        return self._link.hears_stop(self.connection, self.handle_bytes)

    def check_stopped(self) -> None:
        """End here if somebody has stopped the job. Call it now and then in a long one, in the thread of the worker: it
        costs little, and looks at what the server has sent once a millisecond. `iterate` calls it before each item.
        Only servers of ours tell.

        Raises:
            JobStopped: that is so.
        """
        if self.must_stop:
            raise JobStopped(f"{self.function} was stopped")

    @property
    def link(self) -> JobLink:
        """The link over which it came."""
        return self._link

    @property
    def server(self) -> Address:
        """The job server that assigned the job."""
        return self._link.address

    @property
    def server_is_ours(self) -> bool:
        """Whether that server knows our extensions to the protocol."""
        return self._link.server_is_ours or (self.is_lost and bool(self._link.former_extensions))

    def json(self) -> Any:
        """The workload read as JSON.

        Raises:
            ValueError: it is not JSON; the text says where.
        """
        from json import loads  # here: not every worker needs it

        try:
            return loads(self.workload)
        except ValueError as error:
            raise ValueError(f"the workload is not JSON: {error}") from error

    def complete(self, result: bytes | bytearray | memoryview | str | None = None) -> None:
        """The job is done; `result` goes to its clients."""
        if self.answered:
            raise JobAnswered(f"job {self.handle} has been answered already")
        link = self._link
        if link.takes_lists and not result and type(result) in _EMPTY and self.connection is link.connection:
            self.answered = True
            link.done.append(self)
            return
        handle = self.handle_bytes
        body = result if type(result) is bytes else to_body(result)
        length = len(handle) + 1 + len(body)
        if length < _SHORT_BYTES:
            header = _COMPLETE_HEADERS[length]
        else:
            header = _pack_header(REQUEST_MAGIC, _WORK_COMPLETE, length)
        self.answered = True
        self._link.answer(self.connection, handle, b"\0".join((header + handle, body)), self.attempt or 0)

    def fail(self) -> None:
        """The job failed."""
        self._end(encode_request(_WORK_FAIL, self.handle_bytes))

    def exception(self, data: bytes | str) -> None:
        """The job failed, and `data` gives the reason to clients that asked for exceptions.

        gearmand sends other clients a substitute that some of them do not recognise, so they wait for ever; see
        `fail_because`.
        """
        self._end(encode_request(_WORK_EXCEPTION, self.handle_bytes, to_body(data)))

    def fail_because(self, reason: bytes | str, *, trace: bytes | str = b"") -> None:
        """The job failed; say so in a form that every client of this server understands.

        Our own server takes an exception, and keeps the traceback if the job fails for good. Any other server gets the
        reason as a warning, followed by a plain failure.
        """
        if trace and JOB_FAILURE_OPTION in self._extensions:
            self._fail(b"fail", reason, trace)
        elif self.server_is_ours:
            self.exception(reason)
        else:
            warning = encode_request(_WORK_WARNING, self.handle_bytes, to_body(reason))
            self._end(warning + encode_request(_WORK_FAIL, self.handle_bytes))

    def retry(
        self,
        reason: bytes | str,
        *,
        after_s: float | None = None,
        attempts: int | None = None,
        trace: bytes | str = b"",
    ) -> bool:
        """This attempt failed, and another is to follow after `after_s` seconds (None: the function's `backoff`).

        Once the job has had `attempts` attempts in all (None: no limit) this counts as an ordinary failure. Returns
        False if the server is not ours and can't be asked for a retry; then the job has failed.
        """
        wait = b"" if after_s is None else b"%d" % round(after_s * 1000)
        most = b"" if attempts is None else b"%d" % attempts
        return self._decide(b"retry", reason, trace, wait, most)

    def throttle(
        self,
        reason: bytes | str,
        *,
        after_s: float,
        scope: str = "key",
        attempts: int | None = None,
        trace: bytes | str = b"",
    ) -> bool:
        """Put the job back: what it needs takes no more now. No job with its key starts within `after_s` seconds, or,
        with the scope "function", none of its function. No attempt is counted.

        A job server that can't hold keys takes it as `retry` with so many `attempts`. Returns False if the server is
        not ours at all; then the job has failed.

        Raises:
            ArgumentError: the scope is another word.
        """
        if scope not in ("key", "function"):
            raise ArgumentError(f"scope={scope!r}: key or function is expected")
        if JOB_OPTIONS_OPTION not in self._extensions:
            return self.retry(reason, after_s=after_s, attempts=attempts, trace=trace)
        is_told = self._decide(b"throttle", reason, trace, b"%d" % round(after_s * 1000), scope.encode())
        self.answered = _THROTTLED if is_told else True
        return is_told

    @property
    def was_throttled(self) -> bool:
        """Whether it was put back by `throttle`: then jobs of the same set may have to wait too, and go back."""
        return self.answered == _THROTTLED

    def reject(self, reason: bytes | str, *, trace: bytes | str = b"") -> bool:
        """The job failed, and no further attempt is to follow. Returns False in the same case as `retry`."""
        return self._decide(b"reject", reason, trace)

    def _decide(
        self, verdict: bytes, reason: bytes | str, trace: bytes | str, wait: bytes = b"", most: bytes = b""
    ) -> bool:
        if JOB_FAILURE_OPTION not in self._extensions:
            self.fail_because(reason)
            return False
        self._fail(verdict, reason, trace, wait, most)
        return True

    def _fail(
        self, verdict: bytes, reason: bytes | str, trace: bytes | str, wait: bytes = b"", most: bytes = b""
    ) -> None:
        text = to_body(reason).replace(b"\0", b" ")
        self._end(encode_request(WORK_FAILURE, self.handle_bytes, verdict, wait, most, text, to_body(trace)))

    def status(self, numerator: int, denominator: int) -> None:
        """Report progress: `numerator` of `denominator`."""
        try:
            packet = encode_request(_WORK_STATUS, self.handle_bytes, b"%d" % numerator, b"%d" % denominator)
        except (TypeError, ValueError, OverflowError) as error:
            raise ArgumentError(f"status({numerator!r}, {denominator!r}): expected two whole numbers") from error
        self._tell(packet)

    def data(self, data: bytes | str) -> None:
        """Send a part of the result ahead of the rest."""
        self._tell(encode_request(_WORK_DATA, self.handle_bytes, to_body(data)))

    def warning(self, data: bytes | str) -> None:
        """Send a warning to the job's clients."""
        self._tell(encode_request(_WORK_WARNING, self.handle_bytes, to_body(data)))

    def leave_off(self) -> None:
        """End the attempt without an outcome: the job goes back to the head of its queue, and goes on at its last
        checkpoint. Nobody is told. For servers of ours, from which `iterate` has interrupted it."""
        self._fail(b"yield", b"", b"")

    # --- sending

    def _end(self, packet: bytes) -> None:
        """Answer that this attempt has come to nothing; what it has done is not done again."""
        self._answer(self._unsent_cursor() + packet)

    def _answer(self, packet: bytes) -> None:
        if self.answered:
            raise JobAnswered(f"job {self.handle} has been answered already")
        self.answered = True
        self._link.answer(self.connection, self.handle_bytes, packet, self.attempt or 0)

    def _tell(self, packet: bytes) -> None:
        if self.answered:
            raise JobAnswered(f"job {self.handle} has been answered already")
        self._link.tell(self.connection, packet, self.attempt or 0)
