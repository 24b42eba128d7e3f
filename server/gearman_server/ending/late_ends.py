"""The ends of late: of attempts, and of jobs that had none, in two rings, for `jobs finished`. Pure.

Ends that are no success have a ring of their own, so that no rate of successes drives them out. Ends are numbered
without gaps: a reader that misses a number knows that it was not kept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from gearman_server.jobs.endings import End, Sequel
from gearman_server.jobs.job import CANCELLED

if TYPE_CHECKING:
    from gearman_server.jobs.access import Identity
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.job import Extras, Job
    from gearman_server.jobs.session import Session

#: The parts of texts that are kept: the first bytes, and the last ones of a traceback, where the error is.
WORKLOAD_BYTES: Final = 512
#: The same of a job whose end was no success: so much of most jobs is the whole, with which they can be run again.
FAILED_WORKLOAD_BYTES: Final = 4096
ERROR_BYTES: Final = 1024
TRACEBACK_BYTES: Final = 4096
#: Of each of the two numbers of a progress: a worker can send megabytes.
PROGRESS_BYTES: Final = 32
MOST_TAGS: Final = 32
#: The ends that are noted of a job that its worker goes on with.
_WITHDRAWN: Final = (End.CANCELLED, End.STOPPED)
#: Ends whose attempts count as such in the job's history before they are noted.
_COUNTED: Final = (End.FAILED, End.EXCEPTION, End.TIMEOUT, End.LOST)


class LateEnd(NamedTuple):
    """One end. Times are monotonic seconds: they are turned into the wall clock's when somebody asks."""

    number: int
    at: float
    handle: bytes
    function: bytes
    unique: bytes
    priority: int
    is_background: bool
    end: End
    sequel: Sequel
    #: The number of the attempt, from 1; 0: the job was not begun, or not again.
    attempt: int
    submitted: float
    #: None: it was not begun, or the server does not know.
    started: float | None
    #: The worker's client id and connection; empty: there was none.
    worker: bytes
    identity: Identity | None
    #: The reason; empty for a success.
    error: bytes
    traceback: bytes
    workload_bytes: int
    workload: bytes
    result: bytes
    progress: tuple[bytes, bytes] | None
    tags: tuple[bytes, ...]


#: Makes a row of its fields in a fifth of the time that the class takes.
_made: Final = tuple.__new__
_number: Final = attrgetter("number")


class LateEnds:
    """Keeps the last ends."""

    def __init__(self, most: int, agenda: Agenda, run: bytes) -> None:
        """`most` are kept in all; `run` tells this server's run from others."""
        self.run = run
        #: The number of the last end.
        self.last_number = 0
        self._agenda = agenda
        self._failures: deque[LateEnd] = deque(maxlen=max(1, most // 2))
        self._successes: deque[LateEnd] = deque(maxlen=max(1, most - most // 2))

    def note_success(self, job: Job, worker: Session, result: bytes) -> None:
        """Keep the end of a job that is complete. Most ends are, so nothing is called here that need not be."""
        if job.state is CANCELLED:  # as everybody was told; its worker has gone on for nothing
            return
        number = self.last_number = self.last_number + 1
        extras, workload = job.extras, job.workload
        row = (
            number,
            self._agenda.now,
            job.handle,
            job.function.name,
            job.unique,
            job.priority,
            job.is_background,
            End.COMPLETE,
            Sequel.NOTHING,
            1 if extras is None else job.attempt,
            job.submitted,
            job.since,
            worker.client_id,
            worker.identity,
            b"",
            b"",
            len(workload),
            workload[:WORKLOAD_BYTES],
            result,
            None if extras is None else _progress(extras),
            () if extras is None else _tags(extras),
        )
        self._successes.append(_made(LateEnd, row))

    def note(self, job: Job, worker: Session | None, end: End, sequel: Sequel, reason: bytes) -> None:
        """Keep another end, unless the job was withdrawn while it ran, which is its one end."""
        if job.state is CANCELLED and end not in _WITHDRAWN:
            return
        self.last_number += 1
        history, extras = job.history, job.extras
        attempt = 0 if history is None else history.attempts
        if end not in _COUNTED:
            attempt = 0 if worker is None else attempt + 1
        row = LateEnd(
            number=self.last_number,
            at=self._agenda.now,
            handle=job.handle,
            function=job.function.name,
            unique=job.unique,
            priority=job.priority,
            is_background=job.is_background,
            end=end,
            sequel=sequel,
            attempt=attempt,
            submitted=job.submitted,
            started=None if worker is None else job.since,
            worker=b"" if worker is None else worker.client_id,
            identity=None if worker is None else worker.identity,
            error=reason[:ERROR_BYTES],
            traceback=b"" if history is None or end not in _COUNTED else history.traceback[-TRACEBACK_BYTES:],
            workload_bytes=len(job.workload),
            workload=job.workload[:FAILED_WORKLOAD_BYTES],
            result=b"",
            progress=None if extras is None else _progress(extras),
            tags=() if extras is None else _tags(extras),
        )
        self._failures.append(row)

    def after(self, number: int, most: int) -> Iterator[LateEnd]:
        """The ends that are kept with numbers above that, at most so many, in their order."""
        rows = merge(_after(self._failures, number, most), _after(self._successes, number, most), key=_number)
        return islice(rows, most)


def _progress(extras: Extras) -> tuple[bytes, bytes] | None:
    progress = extras.progress
    return None if progress is None else (progress[0][:PROGRESS_BYTES], progress[1][:PROGRESS_BYTES])


def _tags(extras: Extras) -> tuple[bytes, ...]:
    """Not the options themselves, which may hold workloads of jobs that follow."""
    return () if extras.options is None else extras.options.tags[:MOST_TAGS]


def _after(ring: deque[LateEnd], number: int, most: int) -> Iterator[LateEnd]:
    """From the first such row on: a walk from an end of the ring could pass nearly all of them, and a deque finds a row
    in its middle in a microsecond."""
    begin = bisect_right(ring, number, key=_number)
    return (ring[at] for at in range(begin, min(begin + most, len(ring))))
