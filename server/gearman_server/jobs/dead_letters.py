"""Background jobs that failed for good, kept so that an operator can see why, and try them again or drop them. Pure.

They are bounded by count, size and age: the oldest go first. A durable store is told of every change, and hands its
letters back at the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gearman_server.jobs.events import JobBuried, JobRevived, LettersForgotten
from gearman_server.jobs.job import JobHistory
from gearman_server.options.job_options import with_cursor

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.events import EventStream
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.policies import FunctionPolicy

#: The memory that a letter takes besides its texts, roughly.
OVERHEAD_BYTES: Final = 600
#: A letter may outlive its time by this much.
_LONGEST_SLEEP_S: Final = 3600.0
#: With letters of different ages among each other a look walks over all of them: so not for each one that ends.
_SHORTEST_SLEEP_S: Final = 1.0
_TOO_MANY: Final = "there are too many"
_TOO_OLD: Final = "they are too old"


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
    #: The pairs of its options, and its cursor.
    options: bytes = b""

    @property
    def attempts(self) -> int:
        """How many attempts there were."""
        return self.failures + self.losses

    @property
    def size_bytes(self) -> int:
        """The memory that it takes, roughly."""
        texts = self.workload, self.error, self.traceback, self.unique, self.options
        return sum(map(len, texts)) + OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class DeadLetterBounds:
    """How many letters are kept, and for how long. With a count or a size of 0, none are."""

    max_count: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 7 * 86400.0


DEFAULT_BOUNDS: Final = DeadLetterBounds()


def letter_of(job: Job, now: float, unix_now: float, error: bytes | None = None) -> DeadLetter:
    """The letter of a job that has just failed for good, by the monotonic clock and the wall's. The error is that of
    its last attempt, if none is given; a job without an attempt has no times of any."""
    offset = unix_now - now
    history = job.history or JobHistory(-offset)
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
        error=history.error if error is None else error,
        traceback=history.traceback,
        options=with_cursor(_kept_pairs(job), job.rare.cursor),
    )


def _kept_pairs(job: Job) -> bytes:
    """The pairs for a letter. The end of the job is counted in its batch: it leaves it."""
    options = job.rare.options
    if options is None or not options.batch:
        return job.kept_pairs
    return b"\0".join(pair for pair in job.kept_pairs.split(b"\0") if not pair.startswith(b"batch="))


class LetterStore(Protocol):
    """Keeps letters for the next run."""

    def bury(self, letter: DeadLetter) -> None:
        """Keep the letter of a job that failed for good. It is written in the same transaction as the delete of the
        job's row, which is the next call. It replaces a letter with the same handle. At the start the letters are
        handed to `DeadLetters.restore`, the oldest first."""

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
        self.bounds = bounds
        #: Whether other servers have the same letters; then none is in memory.
        self.are_shared = False
        #: How many there are.
        self.count = 0
        self._events = events
        self._agenda = agenda
        self._unix_time = agenda.unix_time
        #: For functions that have an age of their own, in seconds.
        self.ages_s: Mapping[bytes, float] = {}
        self._letters: dict[bytes, DeadLetter] = {}
        self.size_bytes = 0
        self._alarm = agenda.alarm(self._look)

    @property
    def by_handle(self) -> Mapping[bytes, DeadLetter]:
        """All letters, to be read only."""
        return self._letters

    def use_policies(self, by_function: Mapping[bytes, FunctionPolicy]) -> None:
        """Keep the letters of these functions no longer than their rules say."""
        ages_s = ((name, policy.retention_s) for name, policy in by_function.items())
        self.ages_s = {name: age_s for name, age_s in ages_s if age_s is not None}
        if self._letters:
            self._alarm.by(self._agenda.now)

    def bury(self, job: Job, now: float, error: bytes | None = None) -> bool:
        """Keep a letter of a background job that has failed for good; returns whether the bounds allow it. The error is
        that of its last attempt, if none is given."""
        letter = letter_of(job, now, self._unix_time(), error)
        self._events.emit(JobBuried(letter.handle, letter.function, letter.error, letter.attempts, letter.priority))
        return self.put(letter, now)

    def put(self, letter: DeadLetter, now: float) -> bool:
        """Keep a letter, if the bounds allow it; returns whether they do."""
        if not self.bounds.max_count or letter.size_bytes > self.bounds.max_bytes:
            self._events.emit(LettersForgotten(1, "there is no room for it"))
            return False
        if self.are_shared:
            self._store.bury(letter)
            return True
        self._add(letter)
        self._store.bury(letter)
        self._forget_excess()
        self._look_in(now, self._left_s(letter, self._unix_time()))
        return True

    def restore(self, letters: Iterable[DeadLetter], now: float) -> None:
        """Take over letters of an earlier run, the oldest first; they are in the store."""
        for letter in letters:
            if letter.handle not in self._letters:
                self._add(letter)
        self._letters = dict(sorted(self._letters.items(), key=lambda item: item[1].died_at))
        self._forget_excess()
        self._look_in(now, 0.0)

    def note_shared(self, count: int, size_bytes: int, too_many: int, too_old: int) -> None:
        """The table that others use too has so many letters; this server has removed some for the bounds."""
        self.count, self.size_bytes = count, size_bytes
        for gone, why in ((too_many, _TOO_MANY), (too_old, _TOO_OLD)):
            if gone:
                self._events.emit(LettersForgotten(gone, why))

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
        self.count += 1

    def _remove(self, handle: bytes) -> DeadLetter | None:
        letter = self._letters.pop(handle, None)
        if letter is not None:
            self.size_bytes -= letter.size_bytes
            self.count -= 1
        return letter

    def _forget_excess(self) -> None:
        gone = []
        while len(self._letters) > self.bounds.max_count or self.size_bytes > self.bounds.max_bytes:
            gone.append(next(iter(self._letters)))
            self._remove(gone[-1])
        self._tell_forgotten(gone, _TOO_MANY)

    def _tell_forgotten(self, handles: list[bytes], why: str) -> None:
        if handles:
            self._store.forget_dead(handles)
            self._events.emit(LettersForgotten(len(handles), why))

    def _left_s(self, letter: DeadLetter, unix_now: float) -> float:
        """How long a letter is still kept."""
        age_s = min(self.bounds.max_age_s, self.ages_s.get(letter.function, self.bounds.max_age_s))
        return letter.died_at + age_s - unix_now

    def _look_in(self, now: float, wait_s: float) -> None:
        if self._letters:
            self._alarm.by(now + min(max(wait_s, 0.0), _LONGEST_SLEEP_S))

    def _look(self, now: float) -> None:
        unix_now = self._unix_time()
        gone, next_s = [], _LONGEST_SLEEP_S
        for handle, letter in self._letters.items():
            left_s = self._left_s(letter, unix_now)
            if left_s <= 0:
                gone.append(handle)
                continue
            next_s = min(next_s, left_s)
            if not self.ages_s:
                break  # the others are younger
        for handle in gone:
            self._remove(handle)
        self._tell_forgotten(gone, _TOO_OLD)
        self._look_in(now, max(next_s, _SHORTEST_SLEEP_S) if self.ages_s else next_s)
