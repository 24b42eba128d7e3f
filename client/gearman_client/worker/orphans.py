"""Jobs whose server is gone, and what a worker has to tell the other servers of them. No I/O.

The answer of such a job goes to all servers with the same store, since one of them adopts it. So do the last answers
that went over a connection which has ended: its server may have died before it had written them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Final, NamedTuple, Protocol

#: An answer is kept for so long after it was sent (seconds), and no more than so many, of so many bytes together.
SENT_S: Final = 10.0
MAX_SENT: Final = 1000
MAX_SENT_BYTES: Final = 1 << 20
#: Servers that come up within this time (seconds) are told too; that may take so many bytes.
TELL_S: Final = 15.0
MAX_TOLD_BYTES: Final = 8 << 20


class SentAnswer(NamedTuple):
    """The answer of a job."""

    handle: bytes
    attempt: int
    packet: bytes


class SentAnswers:
    """The last answers that went over one connection."""

    __slots__ = ("_answers", "_size_bytes")

    def __init__(self) -> None:
        self._answers: deque[tuple[float, bytes, int, bytes]] = deque()
        self._size_bytes = 0

    def note(self, answer: tuple[float, bytes, int, bytes]) -> None:
        """An answer is sent: when, and the fields of a `SentAnswer`."""
        answers = self._answers
        answers.append(answer)
        self._size_bytes += len(answer[3])
        oldest_at = answer[0] - SENT_S
        while answers and (answers[0][0] < oldest_at or len(answers) > MAX_SENT or self._size_bytes > MAX_SENT_BYTES):
            self._size_bytes -= len(answers.popleft()[3])

    def take(self, now: float) -> list[SentAnswer]:
        """Those that the server may not have written; they are forgotten here."""
        answers = [
            SentAnswer(handle, attempt, packet)
            for sent_at, handle, attempt, packet in self._answers
            if sent_at >= now - SENT_S
        ]
        self._answers.clear()
        self._size_bytes = 0
        return answers


class Hearer(Protocol):
    """A link to a server, as far as it is told of jobs."""

    @property
    def store_id(self) -> bytes:
        """The id of the store of its server; empty while it is not connected, or knows nothing of such jobs."""

    def hear(self) -> None:
        """Take in what the server has said, if it is not known yet whether it is to be told."""

    def pass_on(self, packet: bytes) -> None:
        """Queue a packet, to be sent soon."""

    def is_stopped(self, handle: bytes) -> bool:
        """Whether the server has said that this job is to be stopped."""


class Orphans:
    """What one worker has told of jobs whose servers are gone, and to whom."""

    def __init__(self) -> None:
        #: The links of the worker.
        self.links: Callable[[], Iterable[Hearer]] = tuple
        self._told: deque[tuple[float, bytes, bytes]] = deque()
        self._size_bytes = 0

    def hearers(self, store_id: bytes) -> Iterator[Hearer]:
        """The servers that may have the jobs of that store now."""
        if store_id:
            for link in self.links():
                link.hear()
                if link.store_id == store_id:
                    yield link

    def has_hearer(self, store_id: bytes) -> bool:
        """Whether there is one."""
        return next(self.hearers(store_id), None) is not None

    def tell(self, store_id: bytes, packet: bytes, now: float = inf) -> bool:
        """Tell all of them. Returns whether there was one.

        now: tell also those that come up soon; without it only those that are there.
        """
        if now != inf:
            self._keep(store_id, packet, now)
        is_told = False
        for link in self.hearers(store_id):
            link.pass_on(packet)
            is_told = True
        return is_told

    def _keep(self, store_id: bytes, packet: bytes, now: float) -> None:
        told = self._told
        told.append((now, store_id, packet))
        self._size_bytes += len(packet)
        while told and (self._size_bytes > MAX_TOLD_BYTES or now - told[0][0] > TELL_S):
            self._size_bytes -= len(told.popleft()[2])

    def greet(self, link: Hearer, now: float) -> None:
        """A server has come up: tell it what the others were told lately."""
        for told_at, store_id, packet in self._told:
            if store_id == link.store_id and now - told_at <= TELL_S:
                link.pass_on(packet)

    def is_stopped(self, store_id: bytes, handle: bytes) -> bool:
        """Whether a server wants the job to be stopped."""
        return any(link.is_stopped(handle) for link in self.hearers(store_id))
