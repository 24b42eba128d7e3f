"""One HTTP connection: reads requests and sends answers, each within its bounds.

h11 does the parsing, and decides where a body ends. It is lenient where the standard allows it, so the head is looked
at before: a line end other than CRLF, a folded header or a control character is where two programs read one request in
two ways. There is a parser for each request, so what follows a request that was not read to its end is never parsed.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final, Protocol

import h11

from gearman_process.http.bounds import BodyMemory, BodyShare, HttpBounds, Pace
from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest

READ_BYTES: Final = 1 << 16
#: How long a connection may go on reading what has arrived before the others run: a chunk can be as small as six bytes.
TURN_S: Final = 0.001
MOST_HEADERS: Final = 100
_LINE_END: Final = b"\r\n"
_END_OF_HEAD: Final = b"\r\n\r\n"
_OLD_VERSION: Final = b"HTTP/1.0"
_NEW_VERSION: Final = b"HTTP/1.1"
#: A line feed or carriage return that is no line end, a folded header, a control character, in this order.
_FAULT: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]|[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")

#: A whole header in quotes means nothing: curl sends it for `--header` with quotes too many, as gearmand's tests do.
_QUOTED_HEADER: Final = re.compile(rb'(?<=\r\n)"[^\s:]*:[^\r\n]*\r\n')


class Stream(Protocol):
    """A connected socket, as far as it is used here: plain, or gevent's."""

    def settimeout(self, value: float | None, /) -> None:
        """Do as a socket does."""

    def recv(self, size: int, /) -> bytes:
        """Do as a socket does."""

    def sendall(self, data: Any, /) -> None:
        """Do as a socket does."""

    def shutdown(self, how: int, /) -> None:
        """Do as a socket does."""

    def close(self) -> None:
        """Do as a socket does."""


class HttpConnection:
    """The server's side of one connection. `pause` lets other connections run."""

    def __init__(self, stream: Stream, bounds: HttpBounds, memory: BodyMemory, pause: Callable[[], None]) -> None:
        self.stream = stream
        self._bounds = bounds
        self._share = BodyShare(memory, self._give_up)
        self._pause = pause
        #: Since when the peer has owed a whole request (monotonic seconds); None while one is carried out.
        self.reading_since: float | None = time.monotonic()
        self._unparsed = b""
        self._parser = h11.Connection(h11.SERVER)
        self._pace: Pace | None = None
        self._turn_began_at = 0.0
        self._is_old = self._is_head = False
        self._has_read_all = True

    # --- a request

    def next_request(self) -> HttpRequest | None:
        """The next request; None when the peer has closed the connection, or has sent nothing for too long.

        Raises:
            HttpRefusal: it is no valid request; answer it, then close.
            OSError: the connection is lost.
        """
        self.reading_since = time.monotonic()
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=self._bounds.head_bytes)
        self._is_old = self._is_head = False
        if not self._read_head():
            return None
        event = self._next_event()
        assert isinstance(event, h11.Request)
        self._is_head = event.method == b"HEAD"
        headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers]
        by_name = dict(headers)
        self._check_framing(event.http_version, by_name)
        has_body = "transfer-encoding" in by_name or int(by_name.get("content-length", "0").partition(",")[0]) > 0
        if not has_body:
            self.read()  # the end of the message
        version = "1.0" if self._is_old else "1.1"
        return HttpRequest(event.method.decode(), event.target.decode(), headers, version, self, has_body)

    def _read_head(self) -> bool:
        """Have the parser take all that has come, up to the end of the headers and beyond. False: nothing has come."""
        head = bytearray(self._unparsed.removeprefix(_LINE_END))
        self._unparsed = b""
        self._has_read_all = not head
        started_at = time.monotonic()
        deadline = started_at + (self._bounds.head_s if head else self._bounds.idle_s)
        looked_at = 0
        while True:
            end = head.find(_END_OF_HEAD, max(0, looked_at - 3))
            self._is_old = head.partition(_LINE_END)[0].endswith(b" " + _OLD_VERSION)
            self._check_head(head, max(0, looked_at - 2), end)
            if end >= 0:
                break
            looked_at = len(head)
            data = self._receive(deadline, "the headers" if head else "")
            if not data and head:
                raise HttpRefusal(400, "the connection ended within the headers")
            if not data:
                return False
            if not head:
                data = data.removeprefix(_LINE_END)  # some clients send one after a body
                if not data:
                    continue
                self._has_read_all = False
                self.reading_since = started_at = time.monotonic()
                deadline = started_at + self._bounds.head_s
            head += data
        self._pace = Pace(self._bounds, started_at, time.monotonic())
        end += len(_LINE_END)
        self._parser.receive_data(_QUOTED_HEADER.sub(b"", head[:end]) + head[end:])
        return True

    def _check_head(self, head: bytearray, start: int, end: int) -> None:
        stop = end + 2 if end >= 0 else len(head)
        fault = _FAULT.search(head, start, stop)
        if fault is not None:
            raise HttpRefusal(400, f"the head of the request is malformed at {bytes(fault[0])!r}")
        if stop > self._bounds.head_bytes or head.count(b"\n", 0, stop) > MOST_HEADERS + 1:
            most = f"{MOST_HEADERS} headers, and with the request line {self._bounds.head_bytes} bytes"
            raise HttpRefusal(431, f"a request may have {most}")

    def _check_framing(self, version: bytes, headers: dict[str, str]) -> None:
        if not version.startswith(b"1."):
            raise HttpRefusal(400, "the version of HTTP must be 1.0 or 1.1")
        if "transfer-encoding" in headers:
            if "content-length" in headers:
                raise HttpRefusal(400, "Content-Length and Transfer-Encoding are both given: which of them is right?")
            if self._is_old:
                raise HttpRefusal(400, "HTTP/1.0 has no Transfer-Encoding")

    # --- its body

    def read(self) -> bytes:
        """The next bytes of the request's body; b"" at the end.

        Raises:
            HttpRefusal: the body is malformed, incomplete or too slow, or the memory for bodies is used up.
            OSError: the connection is lost.
        """
        if self._has_read_all:
            return b""
        if self._parser.they_are_waiting_for_100_continue:
            self._send(self._sent(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")))
        event = self._next_event()
        if isinstance(event, h11.Data):
            self._share.grow(len(event.data), time.monotonic())
            return bytes(event.data)
        self._has_read_all = True
        self.reading_since = None
        return b""

    def release(self) -> None:
        """The bytes of the body are no longer kept here: others may have their memory."""
        self._share.free()

    def _next_event(self) -> object:
        now = time.monotonic()
        if now - self._turn_began_at > TURN_S:
            self._pause()
            self._turn_began_at = time.monotonic()
        try:
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                self._parser.receive_data(self._receive_body())
        except h11.RemoteProtocolError as error:
            # The text can quote the peer, so only its beginning is told.
            raise HttpRefusal(error.error_status_hint, str(error)[:200]) from error
        return event

    def _receive_body(self) -> bytes:
        assert self._pace is not None
        while True:
            self.stream.settimeout(self._pace.wait_s(time.monotonic()))
            with contextlib.suppress(TimeoutError):
                data = self.stream.recv(READ_BYTES)
                self._pace.note(len(data))
                return data

    def _receive(self, deadline: float, what: str) -> bytes:
        """Receive before the deadline. When that is over: b"" if nothing is named, else a refusal."""
        with contextlib.suppress(TimeoutError):
            left_s = deadline - time.monotonic()
            if left_s > 0:
                self.stream.settimeout(left_s)
                return self.stream.recv(READ_BYTES)
        if what:
            raise HttpRefusal(408, f"{what} took more than {self._bounds.head_s:g} s")
        return b""

    # --- the answer

    def answer(self, answer: HttpAnswer, *, closes: bool = False) -> bool:
        """Send the answer. Returns whether another request can follow; `closes` says that none may.

        Raises:
            OSError: the connection is lost, or the peer does not read.
        """
        self.reading_since = None
        self.release()
        headers = [("Date", _date(int(time.time()))), *answer.headers]
        pieces: Iterable[bytes] = answer.body if not isinstance(answer.body, bytes) else (answer.body,)
        if isinstance(answer.body, bytes):
            headers.append(("Content-Length", str(len(answer.body))))
        closes = closes or not self._has_read_all
        if closes:
            headers.append(("Connection", "close"))
        head = h11.Response(
            status_code=answer.status,
            reason=answer.phrase.encode("latin-1"),
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        )
        start = self._sent(head)
        for piece in pieces:
            if piece and not self._is_head:
                self._send(start + self._sent(h11.Data(data=piece)))
                start = b""
        self._send(start + self._sent(h11.EndOfMessage()))
        if closes or self._parser.our_state is not h11.DONE or self._parser.their_state is not h11.DONE:
            return False
        self._unparsed = self._parser.trailing_data[0]
        return True

    def _sent(self, event: h11.Event) -> bytes:
        """An event's bytes. h11 always writes HTTP/1.1; a peer of HTTP/1.0 is answered in its own version."""
        data = self._parser.send(event) or b""
        if self._is_old and data.startswith(_NEW_VERSION) and not isinstance(event, h11.Data):
            data = _OLD_VERSION + data[len(_NEW_VERSION) :]
        return data

    def _send(self, data: bytes) -> None:
        """Send piece by piece: each has its own time, so that a large answer may take longer than a small one."""
        for at in range(0, len(data), self._bounds.send_bytes):
            self.stream.settimeout(self._bounds.send_s)
            self.stream.sendall(memoryview(data)[at : at + self._bounds.send_bytes])

    # --- the end

    def close(self) -> None:
        """Close. If the peer may still be sending, it gets a moment to read the answer: a close with unread input
        would reset the connection, and destroy the answer on its way."""
        self.release()
        with contextlib.suppress(OSError):
            if not self._has_read_all:
                self._linger()
        self.stream.close()

    def abandon(self) -> None:
        """Have `close` lose no time."""
        self._has_read_all = True

    def _give_up(self) -> None:
        """Called for another connection: whoever waits for bytes of this one now finds its end."""
        self.abandon()
        with contextlib.suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)

    def _linger(self) -> None:
        now = self.reading_since = time.monotonic()  # meanwhile others may have its place
        self.stream.shutdown(socket.SHUT_WR)
        left_bytes = self._bounds.linger_bytes
        while left_bytes > 0 and (data := self._receive(now + self._bounds.linger_s, "")):
            left_bytes -= len(data)


@lru_cache(maxsize=1)
def _date(unix_time: int) -> str:
    return formatdate(unix_time, usegmt=True)
