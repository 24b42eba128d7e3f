"""Requests, answers and refusals of HTTP as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote_to_bytes

from gearman_process.errors import ProcessError

Headers = Sequence[tuple[str, str]]


class HttpRefusal(ProcessError):
    """A request is answered with an HTTP error status; the text is the answer's body."""

    def __init__(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers

    @property
    def answer(self) -> HttpAnswer:
        """The answer that the peer gets."""
        return text_answer(self.status, f"{self}\n".encode(), *self.headers)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer without its framing. A body in pieces is sent piece by piece, as it is made."""

    status: int
    headers: Headers
    body: bytes | Iterable[bytes] = b""
    #: None: the standard's.
    reason: str | None = None

    @property
    def phrase(self) -> str:
        """The words after the status."""
        if self.reason is not None:
            return self.reason
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return ""


def text_answer(status: int, body: bytes = b"", *headers: tuple[str, str]) -> HttpAnswer:
    """A whole answer: plain text, unless the headers say otherwise."""
    if not any(name == "Content-Type" for name, _ in headers):
        headers = (*headers, ("Content-Type", "text/plain; charset=utf-8"))
    return HttpAnswer(status, headers, body)


class Body(Protocol):
    """A request's body, as far as the peer has sent it."""

    def read(self, /) -> bytes:
        """The next bytes; b"" at the end.

        Raises:
            HttpRefusal: it is malformed, too slow, or there is no memory for it.
        """

    def release(self, /) -> None:
        """The bytes read so far are no longer kept: others may have their memory."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request: its head is complete, its body is read by the application."""

    method: str
    #: As sent, with the query.
    target: str
    #: Names in lower case; each character of a value stands for a byte.
    headers: Headers
    #: `1.0` or `1.1`.
    version: str
    body: Body
    has_body: bool

    @property
    def authority(self) -> str | None:
        """The host, and the port if there is one, that the peer wanted to reach; None: it does not say."""
        if not self.target.startswith("/") and "://" in self.target:
            return self.target.partition("://")[2].partition("/")[0].partition("?")[0]
        return self.header("host")

    @property
    def path(self) -> bytes:
        """The path, percent-decoded."""
        return unquote_to_bytes(self._relative.partition("?")[0])

    @property
    def query(self) -> str:
        """What stands after the `?`."""
        return self._relative.partition("?")[2]

    @property
    def _relative(self) -> str:
        """The target without scheme and host."""
        if self.target.startswith("/") or "://" not in self.target:
            return self.target
        rest = self.target.partition("://")[2]
        return rest[min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest)) :]

    @property
    def length(self) -> int | None:
        """The announced length of the body in bytes."""
        length = self.header("content-length")
        return int(length) if length is not None else None

    def header(self, name: str) -> str | None:
        """The value of a header that may come once; None if it is missing. `name` is in lower case.

        Raises:
            HttpRefusal: it came several times.
        """
        values = [value for given, value in self.headers if given == name]
        if len(values) > 1:
            raise HttpRefusal(400, f"there is more than one {name} header")
        return values[0] if values else None
