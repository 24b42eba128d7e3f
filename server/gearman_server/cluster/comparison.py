"""What the store has of this server's jobs, beside what it should have, after it may have lost commits. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.job import WRITTEN
from gearman_server.jobs.store import number_of

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife


class Comparison:
    """Compares, step by step, so that others are served meanwhile."""

    def __init__(self, life: JobLife) -> None:
        self._life = life

    def start(self, stored: set[int], finish: Callable[[int, set[int]], None]) -> None:
        """Have the jobs written whose rows are not `stored`: they were acknowledged.

        `finish` gets their number, and what is stored and belongs to no job that is here.
        """
        self._life.agenda.chores.start(self._compare(list(self._life.jobs.values()), stored, finish))

    def _compare(self, jobs: list[Job], stored: set[int], finish: Callable[[int, set[int]], None]) -> Iterator[None]:
        durability, missing = self._life.durability, 0
        for at in range(0, len(jobs), STEP):
            for job in jobs[at : at + STEP]:
                number = number_of(job.handle)
                if number in stored:
                    stored.discard(number)  # also if nobody has told yet that it is written
                elif job.record is WRITTEN:
                    missing += 1
                    job.record = None
                    durability.owe(job)
            yield
        finish(missing, stored)
