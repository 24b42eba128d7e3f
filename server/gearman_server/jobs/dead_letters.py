"""Background jobs that failed for good, kept so that an operator can see why, and try them again or drop them. Pure.

They are bounded by count, size and age: the oldest go first. A durable store is told of every change, and hands its
letters back at the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gearman_server.jobs.events import JobBuried, JobRevived, LettersForgotten

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.events import EventStream
    from gearman_server.jobs.job import Job

#: The memory that a letter takes besides its texts, roughly.
_OVERHEAD_BYTES: Final = 600
#: A letter may outlive its time by this much.
_LONGEST_SLEEP_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that is not run again unless it is revived. Times are Unix seconds."""

    handle: bytes
    function: bytes
    unique: bytes
    workload: bytes
    priority: int
    reducer: bytes | None
    #: Attempts that failed, and attempts whose worker was lost.
    failures: int
    losses: int
    submitted_at: float
    first_started_at: float
    last_started_at: float
    died_at: float
    error: bytes
    traceback: bytes

    @property
    def attempts(self) -> int:
        """How many attempts there were."""
        return self.failures + self.losses

    @property
    def size_bytes(self) -> int:
        """The memory that it takes, roughly."""
        return len(self.workload) + len(self.error) + len(self.traceback) + len(self.unique) + _OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class DeadLetterBounds:
    """How many letters are kept, and for how long. With a count or a size of 0, none are."""

    max_count: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 7 * 86400.0


DEFAULT_BOUNDS: Final = DeadLetterBounds()


def letter_of(job: Job, now: float, unix_now: float) -> DeadLetter:
    """The letter of a job that has just failed for good, by the monotonic clock and the wall's."""
    history = job.history
    assert history is not None  # it has failed
    offset = unix_now - now
    return DeadLetter(
        handle=job.handle,
        function=job.function.name,
        unique=job.unique,
        workload=job.workload,
        priority=job.priority,
        reducer=job.rare.reducer,
        failures=history.failures,
        losses=history.losses,
        submitted_at=job.submitted + offset,
        first_started_at=history.first_started + offset,
        last_started_at=history.last_started + offset,
        died_at=unix_now,
        error=history.error,
        traceback=history.traceback,
    )


class LetterStore(Protocol):
    """Keeps letters for the next run."""

    def bury(self, letter: DeadLetter) -> None:
        """Keep the letter of a job that failed for good. It is written in the same transaction as the delete of the
        job's row, which is the next call. It replaces a letter with the same handle. At the start the letters are
        handed to `Broker.restore_dead`, the oldest first."""

    def forget_dead(self, handles: Sequence[bytes]) -> None:
        """Forget these letters. If one of the jobs was inserted anew, `insert` was called before, and both are written
        in the same transaction."""


class DeadLetters:
    """The letters, by handle, the oldest first."""

    def __init__(
        self,
        store: LetterStore,
        bounds: DeadLetterBounds,
        agenda: Agenda,
        events: EventStream,
    ) -> None:
        self._store = store
        self._bounds = bounds
        self._events = events
        self._unix_time = agenda.unix_time
        self._letters: dict[bytes, DeadLetter] = {}
        self.size_bytes = 0
        self._alarm = agenda.alarm(self._look)

    @property
    def by_handle(self) -> Mapping[bytes, DeadLetter]:
        """All letters, to be read only."""
        return self._letters

    def bury(self, job: Job, now: float) -> None:
        """Keep a letter of a background job that has failed for good."""
        letter = letter_of(job, now, self._unix_time())
        self._events.emit(JobBuried(letter.handle, letter.function, letter.error, letter.attempts, letter.priority))
        self.put(letter, now)

    def put(self, letter: DeadLetter, now: float) -> None:
        """Keep a letter, if the bounds allow it."""
        if not self._bounds.max_count or letter.size_bytes > self._bounds.max_bytes:
            self._events.emit(LettersForgotten(1, "there is no room for it"))
            return
        self._add(letter)
        self._store.bury(letter)
        self._forget_excess()
        self._plan_look(now)

    def restore(self, letters: Iterable[DeadLetter], now: float) -> None:
        """Take over letters of an earlier run, the oldest first; they are in the store."""
        for letter in letters:
            if letter.handle not in self._letters:
                self._add(letter)
        self._letters = dict(sorted(self._letters.items(), key=lambda item: item[1].died_at))
        self._forget_excess()
        self._plan_look(now)

    def take(self, handle: bytes) -> DeadLetter | None:
        """Remove a letter and return it."""
        letter = self._remove(handle)
        if letter is not None:
            self._store.forget_dead([handle])
        return letter

    def revived(self, letter: DeadLetter) -> None:
        """Remove the letter of a job that was queued again."""
        self.take(letter.handle)
        self._events.emit(JobRevived(letter.handle, letter.function, letter.priority))

    def _add(self, letter: DeadLetter) -> None:
        self._remove(letter.handle)
        self._letters[letter.handle] = letter
        self.size_bytes += letter.size_bytes

    def _remove(self, handle: bytes) -> DeadLetter | None:
        letter = self._letters.pop(handle, None)
        if letter is not None:
            self.size_bytes -= letter.size_bytes
        return letter

    def _forget_excess(self) -> None:
        gone = []
        while len(self._letters) > self._bounds.max_count or self.size_bytes > self._bounds.max_bytes:
            gone.append(next(iter(self._letters)))
            self._remove(gone[-1])
        self._tell_forgotten(gone, "there are too many")

    def _tell_forgotten(self, handles: list[bytes], why: str) -> None:
        if handles:
            self._store.forget_dead(handles)
            self._events.emit(LettersForgotten(len(handles), why))

    def _plan_look(self, now: float) -> None:
        oldest = next(iter(self._letters.values()), None)
        if oldest is not None and self._alarm.due is None:
            remaining_s = oldest.died_at + self._bounds.max_age_s - self._unix_time()
            self._alarm.by(now + min(max(remaining_s, 0.0), _LONGEST_SLEEP_S))

    def _look(self, now: float) -> None:
        too_old = self._unix_time() - self._bounds.max_age_s
        gone = []
        for handle, letter in self._letters.items():
            if letter.died_at > too_old:
                break
            gone.append(handle)
        for handle in gone:
            self._remove(handle)
        self._tell_forgotten(gone, "they are too old")
        self._plan_look(now)
