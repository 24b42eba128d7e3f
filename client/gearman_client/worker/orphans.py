"""Jobs whose server is gone, and what a worker has to tell the other servers of them. No I/O.

The answer of such a job goes to all servers with the same store, since one of them adopts it, and to the same server
once it is back. So do the last answers that went over a connection which has ended: its server may have died before it
had written them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple, Protocol

from gearman_client.address import Address
from gearman_client.extensions import ORPHAN_RUNS
from gearman_client.packet import PacketType, encode_request

#: An answer is kept for so long after it was sent (seconds), and no more than so many, of so many bytes together.
SENT_S: Final = 10.0
MAX_SENT: Final = 1000
MAX_SENT_BYTES: Final = 1 << 20
#: Servers that come up within this time (seconds) are told too; that may take so many bytes.
TELL_S: Final = 60.0
MAX_TOLD_BYTES: Final = 8 << 20
#: A job that reports has its worker hear of the deaths of servers this often (seconds).
LOOK_S: Final = 0.25
#: Of so many running jobs it is told that they go on.
MAX_RUNNING: Final = 10_000


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
        """An answer is sent: when, and the fields of a `SentAnswer`; the packet is empty if the end of a job without a
        result was sent together with others."""
        answers = self._answers
        answers.append(answer)
        self._size_bytes += len(answer[3])
        oldest_at = answer[0] - SENT_S
        while answers and (answers[0][0] < oldest_at or len(answers) > MAX_SENT or self._size_bytes > MAX_SENT_BYTES):
            self._size_bytes -= len(answers.popleft()[3])

    def take(self, now: float) -> list[SentAnswer]:
        """Those that the server may not have written; they are forgotten here."""
        answers = [
            SentAnswer(handle, attempt, packet or encode_request(PacketType.WORK_COMPLETE, handle, b""))
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

    def listen(self) -> None:
        """Take in what the server has said, without a wait."""

    def note_dead(self, dead: Set[Address]) -> None:
        """The servers at these addresses were declared dead by the others of their clusters."""

    def pass_on(self, packet: bytes) -> None:
        """Queue a packet, to be sent soon."""

    def is_stopped(self, handle: bytes) -> bool:
        """Whether the server has said that this job is to be stopped."""


@dataclass(slots=True)
class Told:
    """A word, for the servers that come up soon."""

    told_at: float
    store_id: bytes
    packet: bytes
    #: Called if no server is ever told of it.
    lost: Callable[[], object] | None


class Orphans:
    """What one worker has told of jobs whose servers are gone, and to whom."""

    def __init__(self) -> None:
        #: The links of the worker.
        self.links: Callable[[], Iterable[Hearer]] = tuple
        self._told: deque[Told] = deque()
        self._size_bytes = 0
        #: When the links were listened to last (monotonic seconds).
        self._looked_at = 0.0
        #: The jobs that go on: by store and handle, their attempts and when they came (monotonic seconds).
        self._running: dict[tuple[bytes, bytes], tuple[int, float]] = {}

    @property
    def has_words(self) -> bool:
        """Whether servers that come up are told of anything."""
        return bool(self._told or self._running)

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

    def goes_on(self, store_id: bytes, handle: bytes, attempt: int, came_at: float, now: float) -> None:
        """Tell all of them that this job runs, now and, as long as it does, those that come up."""
        if len(self._running) < MAX_RUNNING:
            self._running[store_id, handle] = attempt, came_at
        packet = _runs(handle, attempt, now - came_at)
        for link in self.hearers(store_id):
            link.pass_on(packet)

    def ended(self, store_id: bytes, handle: bytes) -> None:
        """This job runs no longer."""
        self._running.pop((store_id, handle), None)

    def tell(self, store_id: bytes, packet: bytes, now: float = inf, lost: Callable[[], object] | None = None) -> bool:
        """Tell all of them. Returns whether there was one.

        now: tell also those that come up soon; without it only those that are there.
        lost: called if there is none at all.
        """
        is_told = False
        for link in self.hearers(store_id):
            link.pass_on(packet)
            is_told = True
        if now != inf:
            self._keep(Told(now, store_id, packet, None if is_told else lost))
        return is_told

    def _keep(self, word: Told) -> None:
        told = self._told
        told.append(word)
        self._size_bytes += len(word.packet)
        while told and (self._size_bytes > MAX_TOLD_BYTES or word.told_at - told[0].told_at > TELL_S):
            self._drop()

    def _drop(self) -> None:
        word = self._told.popleft()
        self._size_bytes -= len(word.packet)
        if word.lost is not None:
            word.lost()

    def greet(self, link: Hearer, now: float) -> None:
        """A server has come up: tell it what the others were told lately."""
        for (store_id, handle), (attempt, came_at) in self._running.items():
            if store_id == link.store_id:
                link.pass_on(_runs(handle, attempt, now - came_at))
        for word in self._told:
            if word.store_id == link.store_id and now - word.told_at <= TELL_S:
                link.pass_on(word.packet)
                word.lost = None

    def note_dead(self, dead: Set[Address]) -> None:
        """The servers at these addresses were declared dead: others have their jobs, whatever their connections say."""
        for link in self.links():
            link.note_dead(dead)

    def look_around(self, now: float) -> None:
        """In the middle of a job: hear now and then whether a server was declared dead."""
        if now >= self._looked_at + LOOK_S:
            self._looked_at = now
            for link in self.links():
                link.listen()

    def close(self) -> None:
        """The worker ends: nobody is told any more."""
        while self._told:
            self._drop()

    def is_stopped(self, store_id: bytes, handle: bytes) -> bool:
        """Whether a server wants the job to be stopped."""
        return any(link.is_stopped(handle) for link in self.hearers(store_id))


def _runs(handle: bytes, attempt: int, elapsed_s: float) -> bytes:
    return encode_request(ORPHAN_RUNS, handle, b"", b"%d" % attempt, b"%d" % round(elapsed_s * 1000))
