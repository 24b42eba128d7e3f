"""The results of background jobs whose function has `keep_result`, kept for as long as clients may ask. Pure.

They are bounded by count and size, besides the time that each function sets: the job that ended first goes first. A
durable store is told of every change, and hands its results back at the start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gearman_server.jobs.events import ResultsForgotten

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.events import EventStream

#: The memory that a result takes besides its texts, roughly.
OVERHEAD_BYTES: Final = 700
#: The wall clock can be set, so it is read at least this often.
_LONGEST_SLEEP_S: Final = 60.0
#: Results that were dropped before their time are reported at most this often.
_TELL_EVERY_S: Final = 60.0
#: One result may take at most one part in this many of the room; a larger one would drive out all others.
_LARGEST_PART: Final = 4
_FEW: Final = 1000
#: Results that are dropped at once when their time is over: a millisecond of work. The others follow.
EXPIRIES_AT_ONCE: Final = 500
#: The number of results whose handles are remembered after they are gone: about a megabyte.
MAX_EXPIRED: Final = 10_000


class Ending(Enum):
    """How a job ended."""

    COMPLETE = b"complete"
    #: The content is the server's reason, or empty after a plain WORK_FAIL.
    FAILED = b"failed"
    #: Clients that wait get WORK_EXCEPTION; the content is its data.
    EXCEPTION = b"exception"
    #: Complete, but the result is too large to be kept.
    TOO_LARGE = b"too-large"


@dataclass(frozen=True, slots=True)
class KeptResult:
    """The outcome of a job. Times are Unix seconds."""

    handle: bytes
    function: bytes
    ending: Ending
    #: The result, or why there is none.
    content: bytes
    #: The WORK_DATA and WORK_WARNING packets of its last attempt, as clients get them, in order.
    reports: bytes
    #: How many bytes of such packets are not kept, because there were too many.
    lost_bytes: int
    #: The last WORK_STATUS, as the worker sent it.
    numerator: bytes
    denominator: bytes
    ended_at: float
    expires_at: float

    @property
    def size_bytes(self) -> int:
        """The memory that it takes, roughly."""
        return len(self.content) + len(self.reports) + OVERHEAD_BYTES


class Looked(NamedTuple):
    """What the store has of a job: its result, or how it stands while it is not over."""

    result: KeptResult | None
    #: As GET_RESULT has it.
    state: bytes = b""
    #: The server that has it.
    owner: int = 0


@dataclass(frozen=True, slots=True)
class ResultBounds:
    """How many results are kept (with a count or a size of 0, none), and how much of one job's data and warnings."""

    max_count: int = 100_000
    max_bytes: int = 64 * 1024 * 1024
    max_report_bytes: int = 1024 * 1024


DEFAULT_BOUNDS: Final = ResultBounds()


def fitting(result: KeptResult, room_bytes: int) -> KeptResult:
    """The part of a result that fits: without its reports if need be, or only the state."""
    if len(result.reports) + len(result.content) > room_bytes:
        result = replace(result, reports=b"", lost_bytes=result.lost_bytes + len(result.reports))
    if len(result.content) > room_bytes:
        cut = Ending.TOO_LARGE if result.ending is Ending.COMPLETE else result.ending
        result = replace(result, ending=cut, content=b"")
    return result


class ResultStore(Protocol):
    """Keeps results for the next run."""

    def keep(self, result: KeptResult) -> None:
        """Keep the result of a job that has ended. It is written in the same transaction as the delete of the job's
        row, which is the next call. It replaces a result with the same handle. At the start the results are handed to
        `KeptResults.restore`, in the order of their ends."""

    def forget_results(self, handles: Sequence[bytes]) -> None:
        """Forget these results."""


class KeptResults:
    """The results, by handle, in the order in which their jobs ended."""

    def __init__(
        self,
        store: ResultStore,
        bounds: ResultBounds,
        agenda: Agenda,
        events: EventStream,
    ) -> None:
        self.bounds = bounds
        #: Whether other servers have the same results; then none is in memory.
        self.are_shared = False
        #: How many there are, and what they take.
        self.count = 0
        self.size_bytes = 0
        self._store = store
        self._events = events
        self._unix_time = agenda.unix_time
        # Once they are full, both keep losing their first entries. A plain dictionary would search for its first entry
        # behind the gaps of all the former ones: 36 µs with the default bounds (measured).
        self._results: OrderedDict[bytes, KeptResult] = OrderedDict()
        # Handles whose results are gone.
        self._expired: OrderedDict[bytes, None] = OrderedDict()
        # A heap of expiry times. Entries of results that are gone stay until there are too many of them.
        self._expiries: list[tuple[float, bytes]] = []
        self._forgotten = 0
        self._told_at: float | None = None
        self._alarm = agenda.alarm(self._look)

    @property
    def by_handle(self) -> Mapping[bytes, KeptResult]:
        """All results, to be read only."""
        return self._results

    def get(self, handle: bytes) -> KeptResult | None:
        """The result, unless its time is over."""
        result = self._results.get(handle)
        return result if result is not None and result.expires_at > self._unix_time() else None

    def has_expired(self, handle: bytes) -> bool:
        """Whether there was a result whose time is over, or that had to make room, as far as that is remembered."""
        return handle in self._expired or (handle in self._results and self.get(handle) is None)

    def put(self, result: KeptResult, now: float) -> KeptResult:
        """Keep a result, instead of an earlier one with the same handle. Returns it as it is kept."""
        result = fitting(result, self.bounds.max_bytes // _LARGEST_PART)
        self._store.keep(result)
        if self.are_shared:
            return result
        self._add(result)
        self._forget_excess(now)
        self._plan_look(now)
        return result

    def note_shared(self, count: int, size_bytes: int, too_many: int, now: float) -> None:
        """The table that others use too has so many results; this server has removed some for the bounds."""
        self.count, self.size_bytes = count, size_bytes
        if too_many:
            self._tell_forgotten(too_many, now)

    def restore(self, results: Iterable[KeptResult], now: float) -> None:
        """Take over results of an earlier run, in the order of their ends; they are in the store."""
        for result in results:
            if result.handle not in self._results:
                self._add(result)
        self._forget_excess(now)
        self._plan_look(now)

    def _add(self, result: KeptResult) -> None:
        self._remove(result.handle)
        self._expired.pop(result.handle, None)
        self._results[result.handle] = result
        self.size_bytes += result.size_bytes
        self.count += 1
        heappush(self._expiries, (result.expires_at, result.handle))
        if len(self._expiries) > 2 * len(self._results) + _FEW:
            self._expiries = [(each.expires_at, each.handle) for each in self._results.values()]
            heapify(self._expiries)

    def _remove(self, handle: bytes) -> None:
        result = self._results.pop(handle, None)
        if result is not None:
            self.size_bytes -= result.size_bytes
            self.count -= 1

    def _forget_excess(self, now: float) -> None:
        gone = []
        while len(self._results) > self.bounds.max_count or self.size_bytes > self.bounds.max_bytes:
            gone.append(next(iter(self._results)))
            self._remove(gone[-1])
        if gone:
            self._note_gone(gone)
            self._tell_forgotten(len(gone), now)

    def _note_gone(self, handles: list[bytes]) -> None:
        self._store.forget_results(handles)
        self._expired.update(dict.fromkeys(handles))
        while len(self._expired) > MAX_EXPIRED:
            self._expired.popitem(last=False)

    def _tell_forgotten(self, count: int, now: float) -> None:
        """Report dropped results, at most once a minute however many there are."""
        self._forgotten += count
        if self._told_at is None or now - self._told_at >= _TELL_EVERY_S:
            self._events.emit(ResultsForgotten(self._forgotten))
            self._told_at, self._forgotten = now, 0

    def _plan_look(self, now: float) -> None:
        if self._expiries:
            self._alarm.by(now + min(max(self._expiries[0][0] - self._unix_time(), 0.0), _LONGEST_SLEEP_S))

    def _look(self, now: float) -> None:
        unix_now = self._unix_time()
        gone: list[bytes] = []
        while len(gone) < EXPIRIES_AT_ONCE and self._expiries and self._expiries[0][0] <= unix_now:
            expires_at, handle = heappop(self._expiries)
            result = self._results.get(handle)
            if result is not None and result.expires_at == expires_at:
                self._remove(handle)
                gone.append(handle)
        if gone:
            self._note_gone(gone)
        self._plan_look(now)
