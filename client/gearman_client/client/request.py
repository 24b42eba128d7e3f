"""One request to a job server, and what to do with each packet about it: what `Exchange` calls. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gearman_client.errors import ServerError
from gearman_client.extensions import GET_RESULT, RESULT
from gearman_client.packet import Packet, PacketType, encode_request

#: Its answer, even a refusal, proves that the server is alive.
ALIVE_REQUEST: Final = encode_request(PacketType.ECHO_REQ, b"alive?")


class Request:
    """One request, and what to do with each packet about it. A subclass overrides what concerns it.

    packet: the bytes to send.
    answer: the type of the packet that answers it: JOB_CREATED for every submission.
    has_result: it submits a foreground job, so packets about the job follow the answer.

    If a method raises, the exception comes out of `Exchange.take` and the packets after that one are lost: the
    connection must then be closed. A request that nobody waits for any more must stay until its answer; its methods
    then do nothing.
    """

    __slots__ = ("packet",)
    answer: int = PacketType.JOB_CREATED
    has_result: bool = False

    def __init__(self, packet: bytes) -> None:
        self.packet = packet

    def created(self, handle: bytes) -> None:
        """The server has accepted the job. It is the last call for a background job."""

    def answered(self, body: bytes) -> None:
        """The answer to a request that submits nothing: the body of the packet whose type is `answer`."""

    def refused(self, error: ServerError) -> None:
        """The server answered with ERROR: the last call."""

    def status(self, numerator: int, denominator: int) -> None:
        """The worker reports progress."""

    def data(self, data: bytes) -> None:
        """The worker sends a part of its result."""

    def warning(self, data: bytes) -> None:
        """The worker sends a warning."""

    def complete(self, result: bytes) -> None:
        """The job is complete: the last call."""

    def fail(self) -> None:
        """The job has failed: the last call."""

    def exception(self, data: bytes) -> None:
        """The job has failed with these data: the last call."""


class AliveRequest(Request):
    """Asks whether the server is alive. A refusal shows it, too."""

    __slots__ = ()
    answer = PacketType.ECHO_RES

    def __init__(self) -> None:
        super().__init__(ALIVE_REQUEST)


class ResultRequest(Request):
    """GET_RESULT of our extension. Reports may come before the answer, which comes in no order with other answers.

    wait: the milliseconds to wait as decimal text; empty: until the job ends.
    """

    __slots__ = ("handle",)
    answer = RESULT

    def __init__(self, handle: bytes, wait: bytes) -> None:
        super().__init__(encode_request(GET_RESULT, handle, wait))
        self.handle = handle


class SharedJob(Request):
    """Several requests whose jobs the server made one: each hears everything once.

    gearmand sends a packet to a connection once for each of its requests. Other servers may send it only once, so the
    first copy goes to all requests, and its repetitions to none.
    """

    __slots__ = ("_copies", "_handle", "_last", "_note_end", "requests")

    def __init__(self, requests: list[Request], handle: bytes, note_end: Callable[[bytes], None]) -> None:
        super().__init__(b"")
        self.requests = requests
        self._handle = handle
        self._note_end = note_end
        self._last: Packet | None = None
        self._copies = 0

    def is_copy(self, packet_type: int, body: bytes) -> bool:
        """Whether this packet repeats the last one for another of the requests."""
        if self._copies and self._last == (packet_type, body):
            self._copies -= 1
            return True
        self._last = packet_type, body
        self._copies = len(self.requests) - 1
        return False

    def status(self, numerator: int, denominator: int) -> None:
        for request in self.requests:
            request.status(numerator, denominator)

    def data(self, data: bytes) -> None:
        for request in self.requests:
            request.data(data)

    def warning(self, data: bytes) -> None:
        for request in self.requests:
            request.warning(data)

    def complete(self, result: bytes) -> None:
        self._note_end(self._handle)
        for request in self.requests:
            request.complete(result)

    def fail(self) -> None:
        for request in self.requests:
            request.fail()

    def exception(self, data: bytes) -> None:
        for request in self.requests:
            request.exception(data)
