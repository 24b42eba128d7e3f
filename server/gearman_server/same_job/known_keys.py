"""Keys that are known longer than their job lives: ids of submissions, and unique keys with `unique_for`. Pure.

They are bounded by time and number. A durable store keeps them. The id of the submission that made a job is written
with the job's row, and that of one that joined the job before the row is deleted, because until then the job's unique
key finds it; a unique key is written with the delete of the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.jobs.delayed_jobs import WallAlarm
from gearman_server.jobs.events import EventStream, KeysForgotten
from gearman_server.jobs.job import CANCELLED, WRITTEN
from gearman_server.jobs.store import SUBMISSION_KNOWN_S, KeyKind, KnownKey, number_of, submission_key, unique_key

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.store import Store

#: The most keys that are known; the oldest are forgotten first.
MAX_KEYS: Final = 200_000
#: Keys that are forgotten in one step.
_AT_ONCE: Final = 1000
#: The number of a key that the store does not keep: that of no handle.
_NOT_KEPT: Final = 0
#: A key's kind, function and text.
_Name = tuple[KeyKind, bytes, bytes]


class KnownKeys:
    """The keys, by kind, function and text."""

    def __init__(self, store: Store, table: JobTable, life: JobLife, agenda: Agenda, events: EventStream) -> None:
        life.note_end, table.note_freed = self._job_ended, life.durability.free_key
        self._store = store
        self._table = table
        self._durability = life.durability
        self._agenda = agenda
        self._unix_time = agenda.unix_time
        self._events = events
        #: The one that was noted first at the beginning.
        self._keys: dict[_Name, KnownKey] = {}
        self._expiries: list[tuple[float, _Name]] = []
        self._alarm = WallAlarm(agenda, self._forget_due)

    def handle_of_submission(self, function: bytes, submission: bytes) -> bytes | None:
        """The handle of the job that was submitted with this id."""
        key = self._keys.get((KeyKind.SUBMISSION, function, submission))
        return None if key is None else key.handle

    def note_submission(self, job: Job) -> None:
        """Know the id with which a new job was submitted. The store writes it with the job's row."""
        key = self._own_key(job)
        if key is not None:
            self._add(key)

    def note_joined(self, function: bytes, submission: bytes, handle: bytes) -> None:
        """Know the id of a submission that was answered with the handle of an earlier job, which may have ended."""
        job = self._table.jobs.get(handle)
        has_row = self._store.is_durable and (job is None or job.record is not None)
        number = self._new_number() if has_row else _NOT_KEPT
        until = self._unix_time() + SUBMISSION_KNOWN_S
        key = KnownKey(KeyKind.SUBMISSION, function, submission, handle, until, number)
        self._add(key)
        if number == _NOT_KEPT:
            return
        if job is None or job.record is WRITTEN:
            self._store.remember(key)
        else:
            self._durability.when_known(job, partial(self._row_known, key))

    def _new_number(self) -> int:
        """A number for a further key of a job. The store tells keys apart by it, so it is one that no job will have."""
        try:
            return number_of(self._table.new_handle())
        except RefusedError:
            return _NOT_KEPT  # the store has been away for so long that it has none left

    def _row_known(self, key: KnownKey, is_stored: bool) -> None:
        """A submission has joined a job whose row was not written yet; now it is, or it will never be."""
        if self._keys.get(_name(key)) is key:
            if is_stored:
                self._store.remember(key)
            else:
                del self._keys[_name(key)]

    def await_row(self, job: Job) -> None:
        """Forget the id of a new job if that can't be stored: it has not run, and may be submitted again."""
        if job.record is not None:
            self._durability.when_known(job, partial(self._forget_unless, job))

    def _forget_unless(self, job: Job, is_stored: bool) -> None:
        key = None if is_stored else self._own_key(job)
        if key is not None and self.handle_of_submission(key.function, key.text) == job.handle:
            del self._keys[_name(key)]

    def _own_key(self, job: Job) -> KnownKey | None:
        return submission_key(job, self._unix_time() - self._agenda.now)

    def _job_ended(self, job: Job, is_withdrawn: bool) -> None:
        """Have an id written whose row will never be, and keep the unique key of a job with `unique_for`, unless it was
        cancelled or nobody wanted it any more."""
        rare = job.rare
        if rare.submission and job.record is not None and job.record is not WRITTEN:
            own = self._own_key(job)
            if own is not None:
                self._store.remember(own)
        options = rare.options
        if options is None or not options.unique_for_s:
            return
        if is_withdrawn or job.state is CANCELLED:
            if self._durability.are_keys_shared and job.record is not None:
                self._store.forget_keys([unique_key(job, 0.0)])
            return
        until = self._unix_time() + options.unique_for_s
        key = unique_key(job, until)
        self._add(key)
        if job.record is not None or not job.is_background:
            self._store.remember(key)

    def restore(self, keys: Iterable[KnownKey]) -> None:
        """Take over the keys of an earlier run; they are in the store."""
        for key in keys:
            self._add(key)

    def _add(self, key: KnownKey) -> None:
        name = _name(key)
        former = self._keys.pop(name, None)
        if former is not None and former.number != key.number:
            self._tell_store([former])
        self._keys[name] = key
        if key.kind is KeyKind.UNIQUE:
            self._table.outlived[key.function, key.text] = key.handle
        heappush(self._expiries, (key.until, name))
        self._alarm.by(key.until, self._agenda.now)
        if len(self._keys) > MAX_KEYS:
            self._forget_oldest()
        if len(self._expiries) > 2 * len(self._keys) + _AT_ONCE:
            self._expiries = [(key.until, name) for name, key in self._keys.items()]
            heapify(self._expiries)

    def _remove(self, key: KnownKey) -> None:
        del self._keys[_name(key)]
        if key.kind is KeyKind.UNIQUE:
            self._table.outlived.pop((key.function, key.text), None)

    def _forget_oldest(self) -> None:
        oldest = list(self._keys.values())[:_AT_ONCE]
        for key in oldest:
            self._remove(key)
        self._tell_store(oldest)
        self._events.emit(KeysForgotten(len(oldest)))

    def _forget_due(self, unix_now: float) -> float | None:
        expiries, gone = self._expiries, list[KnownKey]()
        while expiries and expiries[0][0] <= unix_now and len(gone) < _AT_ONCE:
            until, name = heappop(expiries)
            key = self._keys.get(name)
            if key is not None and key.until <= until:
                self._remove(key)
                gone.append(key)
        self._tell_store(gone)
        return expiries[0][0] if expiries else None

    def _tell_store(self, gone: Sequence[KnownKey]) -> None:
        kept = [key for key in gone if key.number != _NOT_KEPT]
        if kept:
            self._store.forget_keys(kept)


def _name(key: KnownKey) -> _Name:
    return key.kind, key.function, key.text
