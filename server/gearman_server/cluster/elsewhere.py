"""Questions about jobs that other servers of the cluster have. Pure.

A handle that is not in memory is looked up in the store, which names the owner. The question goes to that server, if
there is a link to it; without one the row itself tells whether the job waits or runs. A peer gets no further answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gearman_client.packet import PacketType, encode_request, encode_response

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session

#: More questions than this wait for no answer.
MAX_QUESTIONS: Final = 10_000


_UNREACHABLE: Final = b"ERR UNREACHABLE the server that has the job does not answer; ask again\r\n"


class Found(NamedTuple):
    """The row of a job."""

    owner: int
    is_running: bool


class Directory(Protocol):
    """Finds the rows of jobs."""

    def find(self, handle: bytes, answer: Callable[[Found | None], None]) -> None:
        """Call `answer`, later, with the row of that handle; None: there is none, or the store can't be asked."""


class Links(Protocol):
    """Connections to the other servers."""

    @property
    def ids(self) -> Sequence[int]:
        """The other servers that live."""

    def ask(self, owner: int, request: bytes, answer: Callable[[bytes | None], None]) -> None:
        """Send the request to that server, and call `answer`, later, with the body of its reply, or the line; None: it
        can't be asked, or does not answer in time."""

    def tell_all(self, packet: bytes) -> None:
        """Send a packet that has no answer to all of them, also to those to which there is no connection now."""


class Elsewhere:
    """Asks other servers for the sessions of this one."""

    def __init__(self, directory: Directory, links: Links, touched: set[Session]) -> None:
        self._directory = directory
        self._links = links
        self._touched = touched
        self._open = 0

    def may_ask(self, session: Session) -> bool:
        """Whether others are asked for this session."""
        return not session.is_peer and self._open < MAX_QUESTIONS

    def status(self, session: Session, handle: bytes) -> bool:
        """Answer GET_STATUS for a job that is not here. False: nobody is asked."""
        if not self.may_ask(session):
            return False
        gap = session.withhold()

        def finish(found: Found | None, body: bytes | None) -> None:
            fields: Sequence[bytes] = [b"0"] * 4
            if body is not None and body.count(b"\0") == 4:
                fields = body.split(b"\0")[1:]
            elif found is not None:
                fields = [b"1", b"%d" % found.is_running, b"0", b"0"]
            gap.release(encode_response(PacketType.STATUS_RES, handle, *fields))
            self._touched.add(session)

        self.ask(handle, encode_request(PacketType.GET_STATUS, handle), finish)
        return True

    def cancel(self, session: Session, handle: bytes, unknown: bytes) -> bytes:
        """Cancel a job that is not here. The answer is `unknown` if it is nowhere; empty if it follows later."""
        if not self.may_ask(session):
            return unknown
        gap = session.withhold()

        def finish(found: Found | None, line: bytes | None) -> None:
            if line is not None:
                gap.release(line.rstrip(b"\r") + b"\r\n")
            else:
                gap.release(unknown if found is None else _UNREACHABLE)
            self._touched.add(session)

        self.ask(handle, b"cancel job %s\n" % handle, finish)
        return b""

    def ask(self, handle: bytes, request: bytes, answer: Callable[[Found | None, bytes | None], None]) -> None:
        """Send the request to the owner of that job. `answer` gets its row, and the reply as by `Links.ask`."""
        self._open += 1

        def finish(found: Found | None, body: bytes | None) -> None:
            self._open -= 1
            answer(found, body)

        def go_on(found: Found | None) -> None:
            if found is None:
                finish(None, None)
            else:
                self._links.ask(found.owner, request, lambda body: finish(found, body))

        self._directory.find(handle, go_on)
