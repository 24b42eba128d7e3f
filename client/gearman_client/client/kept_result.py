"""The request for the kept result of a background job: the reports that precede the answer, and the answer.

It uses one connection and does not choose a server; docs/protocol-extensions.md describes the packets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from time import monotonic
from typing import Final

from gearman_client.client.foreground import JobCallbacks, server_error
from gearman_client.client.job_status import to_number
from gearman_client.client.server_pool import next_packets
from gearman_client.connection.connection import Connection
from gearman_client.errors import (
    GearmanError,
    JobException,
    JobFailed,
    ProtocolError,
    ResultExpired,
    ResultNotKept,
    ResultUnknown,
    Timeout,
)
from gearman_client.extensions import GET_RESULT, RESULT, RESULT_ARGUMENTS
from gearman_client.packet import PacketType, encode_request
from gearman_client.text import to_text

#: The longest wait that the request can carry; a longer one waits for ever.
_MAX_WAIT_MS: Final = 10**12 - 1
#: The states in which there is no result, although the job has not failed and is no longer under way.
_WITHOUT: Final[dict[str, tuple[type[GearmanError], str]]] = {
    "unknown": (ResultUnknown, "the server has no result, there was no such job or it is long over"),
    "expired": (ResultExpired, "its result has expired, or newer results needed the room"),
    "too-large": (ResultNotKept, "it is complete, and its result was too large to be kept"),
    "not-kept": (ResultNotKept, "its result is not kept, its function has no keep_result at the server"),
}


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The server's answer about a job. `state` is one of the words that the protocol extension defines."""

    state: str
    numerator: int
    denominator: int
    content: bytes

    @property
    def is_known(self) -> bool:
        """Whether the server knows the job at all."""
        return self.state != "unknown"

    def result_of(self, handle: str) -> bytes:
        """The result.

        Raises:
            JobFailed, JobException, ResultExpired, ResultUnknown, ResultNotKept, Timeout: there is no result;
                `Client.result` explains each case.
        """
        if self.state == "complete":
            return self.content
        if self.state == "failed":
            reason = to_text(self.content)
            raise JobFailed(f"job {handle} failed" + (f": {reason}" if reason else ""))
        if self.state == "exception":
            raise JobException(self.content)
        if self.state in _WITHOUT:
            error, text = _WITHOUT[self.state]
            raise error(f"job {handle}: {text}")
        raise Timeout(f"job {handle} has no result yet, it is {self.state}")


def ask_for_result(
    connection: Connection, handle: bytes, wait_s: float | None, reply_timeout_s: float, callbacks: JobCallbacks
) -> KeptAnswer:
    """Ask once, and pass the reports before the answer to `callbacks`.

    wait_s: None waits until the job ends, 0 does not wait.

    Raises:
        Timeout: the server itself does not answer.
        ServerError, ConnectionLost, ProtocolError: as with any request.
    """
    wait_ms = None if wait_s is None or wait_s == inf else ceil(max(0.0, wait_s) * 1000)
    if wait_ms is None or wait_ms > _MAX_WAIT_MS:
        wait, deadline = b"", inf
    else:
        wait, deadline = b"%d" % wait_ms, monotonic() + wait_ms / 1000 + reply_timeout_s
    connection.queue(encode_request(GET_RESULT, handle, wait))
    connection.flush()
    conversation = _Conversation(handle, callbacks)
    while conversation.answer is None:
        for packet_type, body in next_packets(connection, deadline):
            conversation.take(packet_type, body)
    return conversation.answer


class _Conversation:
    """Packets in, callbacks and finally the answer out."""

    def __init__(self, handle: bytes, callbacks: JobCallbacks) -> None:
        self.answer: KeptAnswer | None = None
        self._handle = handle
        self._callbacks = callbacks
        self._told: tuple[int, int] | None = None
        self._handlers: Final[dict[int, Callable[[bytes], None]]] = {
            PacketType.WORK_STATUS: self._on_status,
            PacketType.WORK_DATA: self._on_data,
            PacketType.WORK_WARNING: self._on_warning,
            RESULT: self._on_result,
        }

    def take(self, packet_type: int, body: bytes) -> None:
        if packet_type == PacketType.ERROR:
            raise server_error(body)
        handler = self._handlers.get(packet_type)
        if handler is None:
            raise ProtocolError(f"a client that asks for a result does not expect packet type {packet_type}")
        if body.partition(b"\0")[0] == self._handle:
            handler(body[len(self._handle) + 1 :])

    def _on_status(self, arguments: bytes) -> None:
        numerator, _, denominator = arguments.partition(b"\0")
        self._tell_progress(to_number(numerator), to_number(denominator))

    def _tell_progress(self, numerator: int, denominator: int) -> None:
        heard = self._callbacks.get("on_status")
        if heard is not None and self._told != (numerator, denominator):
            heard(numerator, denominator)
        self._told = (numerator, denominator)

    def _on_data(self, data: bytes) -> None:
        heard = self._callbacks.get("on_data")
        if heard is not None:
            heard(data)

    def _on_warning(self, data: bytes) -> None:
        heard = self._callbacks.get("on_warning")
        if heard is not None:
            heard(data)

    def _on_result(self, arguments: bytes) -> None:
        parts = arguments.split(b"\0", RESULT_ARGUMENTS - 2)
        if len(parts) != RESULT_ARGUMENTS - 1:
            raise ProtocolError("the server's RESULT has too few arguments")
        answer = KeptAnswer(to_text(parts[0]), to_number(parts[1]), to_number(parts[2]), parts[-1])
        if answer.denominator:
            self._tell_progress(answer.numerator, answer.denominator)
        heard = self._callbacks.get("on_exception")
        if answer.state == "exception" and heard is not None:
            heard(answer.content)
        self.answer = answer
