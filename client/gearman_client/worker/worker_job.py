"""One job that a worker holds, and the answers that the worker can give."""

from __future__ import annotations

from typing import Final, Protocol

from gearman_client.address import Address
from gearman_client.connection.connection import Connection
from gearman_client.errors import ArgumentError, JobAnswered
from gearman_client.extensions import WORK_FAILURE
from gearman_client.packet import HEADER, REQUEST_MAGIC, PacketType, encode_request
from gearman_client.text import to_body, to_text

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


class JobLink(Protocol):
    """The link over which a job came, as the job sees it: `ServerLink` is one."""

    address: Address
    connection: Connection | None
    server_is_ours: bool
    takes_failures: bool

    def answer(self, connection: Connection | None, handle: bytes, packet: bytes) -> None:
        """Queue the job's final answer."""

    def tell(self, connection: Connection | None, packet: bytes) -> None:
        """Send a report of the running job."""


class WorkerJob:
    """A job assigned to this worker.

    `complete`, `fail` and `exception` end it; the answer leaves with the next grab, in one write, or with the worker's
    `flush` or `close`. `status`, `data` and `warning` leave at once. If the connection is gone by then, all of them do
    nothing, because the server runs the job again.
    """

    __slots__ = ("_connection", "_link", "_unique", "answered", "attempt", "function", "handle_bytes", "workload")

    def __init__(self, link: JobLink, handle: bytes, function: str, unique: bytes, workload: bytes) -> None:
        self._link = link
        self._connection: Connection | None = link.connection
        self.handle_bytes = handle
        self.function = function
        self._unique = unique
        self.workload = workload
        self.attempt: int | None = None
        self.answered = False

    @property
    def handle(self) -> str:
        """The server's name for the job."""
        return to_text(self.handle_bytes)

    @property
    def unique(self) -> str:
        """The client's unique id, or empty."""
        return to_text(self._unique)

    @property
    def is_lost(self) -> bool:
        """Whether the connection over which it came is gone: then the server runs it again."""
        return self._connection is None or self._connection is not self._link.connection

    @property
    def connection(self) -> Connection | None:
        """The connection over which it came."""
        return self._connection

    @property
    def server(self) -> Address:
        """The job server that assigned the job."""
        return self._link.address

    @property
    def server_is_ours(self) -> bool:
        """Whether that server knows our extensions to the protocol."""
        return self._link.server_is_ours

    def complete(self, result: bytes | bytearray | memoryview | str | None = None) -> None:
        """The job is done; `result` goes to its clients."""
        handle = self.handle_bytes
        body = result if type(result) is bytes else to_body(result)
        header = _pack_header(REQUEST_MAGIC, _WORK_COMPLETE, len(handle) + 1 + len(body))
        self._answer(b"%b%b\0%b" % (header, handle, body))

    def fail(self) -> None:
        """The job failed."""
        self._answer(encode_request(_WORK_FAIL, self.handle_bytes))

    def exception(self, data: bytes | str) -> None:
        """The job failed, and `data` gives the reason to clients that asked for exceptions.

        gearmand sends other clients a substitute that some of them do not recognise, so they wait for ever; see
        `fail_because`.
        """
        self._answer(encode_request(_WORK_EXCEPTION, self.handle_bytes, to_body(data)))

    def fail_because(self, reason: bytes | str, *, trace: bytes | str = b"") -> None:
        """The job failed; say so in a form that every client of this server understands.

        Our own server takes an exception, and keeps the traceback if the job fails for good. Any other server gets the
        reason as a warning, followed by a plain failure.
        """
        if trace and self._link.takes_failures:
            self._fail(b"fail", reason, trace)
        elif self.server_is_ours:
            self.exception(reason)
        else:
            warning = encode_request(_WORK_WARNING, self.handle_bytes, to_body(reason))
            self._answer(warning + encode_request(_WORK_FAIL, self.handle_bytes))

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

    def reject(self, reason: bytes | str, *, trace: bytes | str = b"") -> bool:
        """The job failed, and no further attempt is to follow. Returns False in the same case as `retry`."""
        return self._decide(b"reject", reason, trace)

    def _decide(
        self, verdict: bytes, reason: bytes | str, trace: bytes | str, wait: bytes = b"", most: bytes = b""
    ) -> bool:
        if not self._link.takes_failures:
            self.fail_because(reason)
            return False
        self._fail(verdict, reason, trace, wait, most)
        return True

    def _fail(
        self, verdict: bytes, reason: bytes | str, trace: bytes | str, wait: bytes = b"", most: bytes = b""
    ) -> None:
        text = to_body(reason).replace(b"\0", b" ")
        self._answer(encode_request(WORK_FAILURE, self.handle_bytes, verdict, wait, most, text, to_body(trace)))

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

    def _answer(self, packet: bytes) -> None:
        if self.answered:
            raise JobAnswered(f"job {self.handle} has been answered already")
        self.answered = True
        self._link.answer(self._connection, self.handle_bytes, packet)

    def _tell(self, packet: bytes) -> None:
        if self.answered:
            raise JobAnswered(f"job {self.handle} has been answered already")
        self._link.tell(self._connection, packet)
