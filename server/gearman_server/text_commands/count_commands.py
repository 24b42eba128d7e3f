"""The text command `counts`: how the jobs of each function have fared, over all priorities. Pure.

Managers ask every few seconds, so a function has one short line. The first who asks has the server begin to count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from gearman_server.jobs.job import QUEUED
from gearman_server.jobs.job_counts import BUCKETS_S, COUNTERS, JobCounts
from gearman_server.text_commands.printable import printable
from gearman_server.text_commands.tables import in_pieces

if TYPE_CHECKING:
    from gearman_server.ending.counting import Counting
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function, JobQueue
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.session import Session


class CountCommands:
    """Carries the command out."""

    def __init__(self, functions: Functions, counting: Counting, agenda: Agenda) -> None:
        self._functions = functions
        self._counting = counting
        self._agenda = agenda

    def execute(self, _session: Session, _words: list[bytes]) -> Iterator[bytes]:
        """The answer: a line on the counting itself, one for each function that has had a job, and the dot."""
        return in_pieces(self._lines(self._counting.begin()))

    def _lines(self, since: float) -> Iterator[bytes]:
        bounds = " ".join(f"{bound:g}" for bound in BUCKETS_S)
        yield f"since\t{since:.3f}\t{' '.join(COUNTERS)}\t{bounds}\n".encode()
        for name in self._functions.names:
            function = self._functions.by_name.get(name)
            if function is not None and function.counts is not None and _is_used(function):
                yield _line(function, function.counts, self._agenda.now)
            else:
                yield b""  # it counts as a line of a piece, since the look takes its time too


def _is_used(function: Function) -> bool:
    return any(counts.is_used for counts in function.counts or ()) or any(map(len, function.queues))


def _line(function: Function, by_priority: Sequence[JobCounts], now: float) -> bytes:
    """Name, the counters; jobs that wait, that run, and milliseconds that the oldest has waited; then for waiting times
    and for run times the sum in milliseconds and the counts of the buckets."""
    waiting = sum(queue.waiting for queue in function.queues)
    oldest_ms = round(1000 * max(oldest_age_s(queue, now) for queue in function.queues))
    columns = (
        printable(function.name).decode("utf-8", "surrogateescape"),
        _sums(by_priority, lambda counts: [getattr(counts, name) for name in COUNTERS]),
        f"{waiting} {function.running} {oldest_ms}",
        str(round(1000 * sum(counts.waited.sum_s for counts in by_priority))),
        _sums(by_priority, lambda counts: counts.waited.counts),
        str(round(1000 * sum(counts.ran.sum_s for counts in by_priority))),
        _sums(by_priority, lambda counts: counts.ran.counts),
    )
    return "\t".join(columns).encode("utf-8", "surrogateescape") + b"\n"


def _sums(by_priority: Sequence[JobCounts], numbers: Callable[[JobCounts], Sequence[int]]) -> str:
    return " ".join(str(sum(each)) for each in zip(*map(numbers, by_priority), strict=True))


def oldest_age_s(queue: JobQueue, now: float) -> float:
    """How long the job has waited whose turn is next."""
    first = queue.peek() if queue.is_keyed else None
    first = first or next((job for job in queue if job.state is QUEUED), None)
    return max(0.0, now - first.since) if first is not None else 0.0
