"""All jobs by handle, their unique keys, and the sessions that listen to them. Pure.

`job_life` changes jobs; this module keeps the indexes consistent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, islice, repeat, starmap
from sys import getsizeof
from typing import TYPE_CHECKING, Final, TypeVar

from gearman_client.packet import PacketType
from gearman_server.jobs.job import Job, coalescing_key
from gearman_server.jobs.replies import MAX_HANDLE_BYTES, forwarded

if TYPE_CHECKING:
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job import CoalescingKey
    from gearman_server.jobs.session import Session

#: A smaller index is left alone. A growing dictionary takes up to 120 bytes for each of its keys.
_SMALL_INDEX_BYTES: Final = 1 << 20
_SPARSE_BYTES_PER_JOB: Final = 256

#: So many handles have all digits but the last three in common.
THOUSAND: Final = 1000
_ENDINGS: Final = tuple(b"%03d" % number for number in range(THOUSAND))

Key = TypeVar("Key")
Value = TypeVar("Value")


class Crowd(Collection["Session"]):
    """Several listeners of one job, or many: one comes and goes without a walk over the others."""

    __slots__ = ("_size", "_times")

    def __init__(self, sessions: Iterable[Session]) -> None:
        #: How often each is to be told.
        self._times: dict[Session, int] = {}
        self._size = 0
        for session in sessions:
            self.add(session)

    def add(self, session: Session) -> None:
        """One more, or one of them once more."""
        self._times[session] = self._times.get(session, 0) + 1
        self._size += 1

    def remove(self, session: Session) -> None:
        """Forget the session, however often it is here."""
        self._size -= self._times.pop(session, 0)

    def __iter__(self) -> Iterator[Session]:
        return chain.from_iterable(starmap(repeat, self._times.items()))

    def __len__(self) -> int:
        return self._size

    def __contains__(self, session: object) -> bool:
        return session in self._times


class Handles:
    """Makes handles, each once: the server's prefix and a number of up to nineteen digits.

    To write out such a number took a tenth of a submission's time. Handles follow one another, so all digits but the
    last three are written once for a thousand handles.
    """

    def __init__(self, take_numbers: Callable[[int], range], prefix: bytes) -> None:
        """`take_numbers` gives numbers that follow one another and that nobody else gets: one at least, and so many at
        most."""
        self._take_numbers = take_numbers
        self._start = cut_handle_prefix(prefix) + b":"
        self._ready: Iterator[bytes] = iter(())

    def new(self) -> bytes:
        """The next handle.

        Raises:
            RefusedError: the store gives no numbers.
        """
        handle = next(self._ready, None)
        if handle is None:
            self._ready = self._handles_of(self._take_numbers(THOUSAND))
            handle = next(self._ready)
        return handle

    def several(self, count: int) -> list[bytes]:
        """The next handles.

        Raises:
            RefusedError: the store gives no numbers.
        """
        handles = list(islice(self._ready, count))
        while len(handles) < count:
            self._ready = self._handles_of(self._take_numbers(THOUSAND))
            handles += islice(self._ready, count - len(handles))
        return handles

    def _handles_of(self, numbers: range) -> Iterator[bytes]:
        """Lazily, so that the first of a thousand does not pay for all."""
        next_thousand = (numbers.start // THOUSAND + 1) * THOUSAND
        if numbers.stop <= next_thousand:
            return self._in_one_thousand(numbers)
        later = range(next_thousand, numbers.stop)
        return chain(self._in_one_thousand(range(numbers.start, next_thousand)), self._handles_of(later))

    def _in_one_thousand(self, numbers: range) -> Iterator[bytes]:
        common, first = divmod(numbers.start, THOUSAND)
        if common == 0:
            return iter([self._start + b"%d" % number for number in numbers])  # without zeros in front
        return map((self._start + b"%d" % common).__add__, _ENDINGS[first : first + len(numbers)])


class JobTable:
    """Jobs by handle."""

    def __init__(self, handles: Handles, touched: set[Session]) -> None:
        """Sessions for which packets are left are added to `touched`."""
        self.jobs: dict[bytes, Job] = {}
        #: The jobs that have a unique key, by that key; a dictionary by function if several functions use the key. One
        #: table for all functions, so that a question about a key asks none of them.
        self.by_key: dict[CoalescingKey, Job | dict[Function, Job]] = {}
        #: The handles of jobs that have ended and whose unique key is still theirs, by function and key.
        self.outlived: dict[tuple[bytes, bytes], bytes] = {}
        #: Told of a job whose key, which holds for a cluster, is free.
        self.note_freed: Callable[[Job], None] = _nothing
        #: A handle that no job has; RefusedError if the store gives no numbers.
        self.new_handle: Callable[[], bytes] = handles.new
        #: So many of them.
        self.new_handles: Callable[[int], list[bytes]] = handles.several
        self.touched = touched

    def create(
        self, function: Function, unique: bytes, workload: bytes, priority: int, key: CoalescingKey | None, now: float
    ) -> Job:
        """Create a job. It is in no queue yet: the caller queues or delays it, answers, and wakes workers.

        `key` is its `coalescing_key`, which no other job of the function has.
        """
        handle = self.new_handle()
        job = self.jobs[handle] = Job(handle, function, unique, workload, priority, now)
        if key is not None:
            self.note_key(key, job)
        return job

    def note_key(self, key: CoalescingKey, job: Job) -> None:
        """Note the unique key of a new job, which no other one of its function has."""
        if self.by_key.setdefault(key, job) is not job:
            self._share_key(key, job)

    def find_by_key(self, function: Function, key: CoalescingKey) -> Job | None:
        """The function's job with that unique key."""
        known = self.by_key.get(key)
        if isinstance(known, dict):
            return known.get(function)
        return known if known is not None and known.function is function else None

    def find_by_unique(self, unique: bytes) -> Job | None:
        """Any function's job with that unique key."""
        known = self.by_key.get(unique)
        return next(iter(known.values())) if isinstance(known, dict) else known

    def add_key(self, key: CoalescingKey, job: Job) -> None:
        """Note the unique key of a job, unless another one of its function has it."""
        known = self.by_key.setdefault(key, job)
        if known is not job and self.find_by_key(job.function, key) is None:
            self._share_key(key, job)

    def _share_key(self, key: CoalescingKey, job: Job) -> None:
        known = self.by_key[key]
        if not isinstance(known, dict):
            known = self.by_key[key] = {known.function: known}
        known[job.function] = job

    def forget_key(self, job: Job) -> None:
        """Free its unique key: further submissions of the key are new jobs."""
        if job.extras is not None and job.extras.is_key_shared:
            self.note_freed(job)
        key = coalescing_key(job.unique, job.workload)
        known = self.by_key.get(key) if key is not None else None
        if known is None or key is None:
            return
        # A job that was cancelled while it ran has freed its key already, and another job may have it by now.
        if known is job:
            del self.by_key[key]
        elif isinstance(known, dict) and known.get(job.function) is job:
            del known[job.function]
            if not known:
                del self.by_key[key]

    def shrink(self) -> None:
        """Rebuild indexes that are large but sparse: a dictionary does not shrink when entries are removed."""
        _shrink(self.jobs)
        _shrink(self.by_key)

    # --- who is told

    def listen(self, session: Session, job: Job) -> None:
        """Tell the session of the job's progress and end from now on."""
        listeners = job.listeners
        if not listeners:
            job.listeners = (session,)
        elif isinstance(listeners, Crowd):
            listeners.add(session)
        else:
            job.listeners = Crowd((*listeners, session))
        session.listening.add(job)

    def forget_listener(self, job: Job, session: Session) -> None:
        """Stop telling this session, which has forgotten the job, of it."""
        if isinstance(job.listeners, Crowd):
            job.listeners.remove(session)
        else:
            job.listeners = ()

    def forget_listeners(self, job: Job) -> None:
        """Stop telling anybody of the job."""
        for listener in job.listeners:
            listener.listening.discard(job)
        job.listeners = ()

    def tell(self, job: Job, packet: bytes) -> None:
        """Send one packet to all listeners of the job, in the order in which they came."""
        touched = self.touched
        for listener in job.listeners:
            listener.reply(packet)
            touched.add(listener)

    def tell_failure(self, job: Job, reason: bytes | None = None) -> None:
        """Tell all listeners that the job failed; those that asked for exceptions get the reason, if there is one."""
        failure = forwarded(PacketType.WORK_FAIL, job.handle)
        if reason is None:
            self.tell(job, failure)
            return
        exception = forwarded(PacketType.WORK_EXCEPTION, job.handle + b"\0" + reason)
        for listener in job.listeners:
            listener.reply(exception if listener.wants_exceptions else failure)
            self.touched.add(listener)


def _shrink(index: dict[Key, Value]) -> None:
    if getsizeof(index) <= max(_SMALL_INDEX_BYTES, len(index) * _SPARSE_BYTES_PER_JOB):
        return
    kept = dict(index)
    index.clear()
    index.update(kept)


def _nothing(_job: Job) -> None:
    """There is no cluster."""


def cut_handle_prefix(prefix: bytes) -> bytes:
    """The prefix, cut so that a handle with any 64-bit number stays within the protocol's bound."""
    return prefix.replace(b"\0", b"")[: MAX_HANDLE_BYTES - 1 - len(":") - len(str(2**63))]
