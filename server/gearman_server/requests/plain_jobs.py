"""The shortest ways in the life of plain jobs, which most are: what `JobLife` does with one call for each step. Pure.

Many jobs of a packet are made in one loop, many jobs of a function without limits on starts (`Throttle`) are given to a
worker in one, and a job without extras is ended in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from gearman_server.jobs.events import JobAssigned
from gearman_server.jobs.function import JobQueue
from gearman_server.jobs.job import ASSIGN, END, QUEUED, RUNNING, Job

if TYPE_CHECKING:
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session


class PlainJobs:
    """Makes plain jobs, gives them to workers, and ends them."""

    def __init__(self, life: JobLife) -> None:
        self._life = life
        self._agenda = life.agenda
        self._table = life.table
        self._jobs = life.jobs
        self._events = life.events

    def make(self, function: Function, priority: int, workloads: Sequence[bytes], now: float) -> list[bytes]:
        """Make background jobs that have no key, no limit and no place in a store, and queue them; nobody is woken for
        them, and no event tells of them. Returns their handles.

        Raises:
            RefusedError: the store gives no numbers; no job was made.
        """
        handles = self._table.new_handles(len(workloads))
        jobs = []
        for handle, workload in zip(handles, workloads, strict=True):
            job = self._jobs[handle] = Job(handle, function, b"", workload, priority, now)
            job.is_background = True
            jobs.append(job)
        queue = function.queues[priority]
        if type(queue) is JobQueue:
            queue.extend(jobs)
        else:  # it has an order of its own
            for job in jobs:
                queue.append(job)
        if function.counts is not None:
            function.counts[priority].submitted += len(jobs)
        return handles

    def assign_unbegun(
        self, jobs: Sequence[Job], function: Function, worker: Session, since: dict[bytes, float], now: float
    ) -> None:
        """As `JobLife.assign_unbegun` for each of a function's jobs; note in `since` since when each has waited."""
        assigned, counts = worker.assigned, function.counts
        for job in jobs:
            handle = job.handle
            job.state = ASSIGN[job.state]
            job.worker = worker
            assigned[handle] = job
            since[handle] = job.since
            if counts is not None:
                counts[job.priority].note_start(now - job.since, handle, now)
            if job.extras is not None and job.extras.options is not None and job.extras.options.is_unique_until_start:
                self._table.forget_key(job)
            job.since = now
        function.running += len(jobs)
        if self._events.wants_jobs:
            for job in jobs:
                self._events.emit(JobAssigned(job.handle, function.name, worker.identity))

    def take(self, function: Function, most: int, left_bytes: int) -> list[Job]:
        """Take jobs out of the function's queues, as many and with as many bytes of workload at most."""
        jobs: list[Job] = []
        for queue in function.queues:
            is_keyed = queue.is_keyed
            if not is_keyed:
                left_bytes = _take_plain(queue, jobs, most, left_bytes)
            while queue and len(jobs) < most:
                job = queue.peek() if is_keyed else queue[0]
                if job is None:
                    break
                if job.state is not QUEUED:
                    queue.drop_tombstones_at_head()
                    continue
                left_bytes -= len(job.workload)
                if left_bytes < 0 or not (job.extras is None or job.may_be_one_of_several):
                    return jobs
                if is_keyed:
                    queue.take()
                else:
                    queue.popleft()
                jobs.append(job)
        return jobs

    def end_each(self, handles: Sequence[bytes], worker: Session, now: float) -> list[bytes]:
        """As `end` for those of this worker's jobs that are plain, and that nobody waits for; they are counted, too.
        Returns the handles of the others."""
        if self._events.wants_jobs:
            return list(handles)
        assigned, jobs, ended = worker.assigned, self._jobs, END[RUNNING]
        note = self._life.endings.note_success
        others = []
        for handle in handles:
            job = assigned.get(handle)
            if (
                job is None
                or job.extras is not None
                or job.state is not RUNNING
                or job.listeners
                or job.unique
                or job.record is not None
            ):
                others.append(handle)
                continue
            function = job.function
            if function.throttle is not None or function.keep_result_s is not None:
                others.append(handle)
                continue
            if note is not None:
                note(job, worker, b"")
            del assigned[handle]
            job.worker = None
            job.state = ended
            function.running -= 1
            jobs.pop(handle, None)
            if function.counts is not None:
                function.counts[job.priority].note_completion(now - job.since, handle, now)
        if len(others) < len(handles):
            worker.done_at = now
        return others

    def end(self, job: Job, worker: Session) -> None:
        """As `JobLife.release_worker` and `JobLife.end` for a job of this worker that has no extras."""
        handle = job.handle
        del worker.assigned[handle]
        worker.done_at = self._agenda.now
        job.worker = None
        job.function.running -= 1
        job.state = END[job.state]
        self._jobs.pop(handle, None)  # as there: it may be another server's now
        if job.unique:
            self._table.forget_key(job)
        if job.listeners:
            self._table.forget_listeners(job)
        if job.record is not None:
            self._life.durability.job_ended(job)


def _take_plain(queue: JobQueue, jobs: list[Job], most: int, left_bytes: int) -> int:
    """Take jobs from the head of the queue, up to `most` in all, as long as nothing is special about them. Returns how
    many bytes of workload are left."""
    before = len(jobs)
    for job in islice(queue, most - before):
        size_bytes = len(job.workload)
        if job.state is not QUEUED or job.extras is not None or size_bytes > left_bytes:
            break
        left_bytes -= size_bytes
        jobs.append(job)
    for _ in range(len(jobs) - before):
        queue.popleft()
    return left_bytes
