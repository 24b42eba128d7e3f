"""Tells job servers of jobs that our workers go on with although their server is gone.

A worker in the middle of a job does not notice that a connection has ended. The supervisor does, and knows by the
scoreboard what each worker runs: it tells the servers with the same store, one of which adopts the job. A server that
comes up later, the former one too, is told then: a job that its worker had not begun when the connection ended, but had
got, is seen then at the latest. When a worker is through with such a job, or is gone, its answer
should have arrived; a moment later the word is taken back, so that no job waits for ever for an answer that is lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import gevent

from gearman_client import Address
from gearman_client.extensions import ORPHAN_GONE, ORPHAN_RUNS
from gearman_client.packet import encode_request
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.queues import Queues, ServerWatch

_log = logging.getLogger("workers")
#: Between two looks at the jobs of servers that are gone.
LOOK_S: Final = 0.5
#: The answer of a job that has ended should have arrived within this time.
ANSWER_S: Final = 3.0


@dataclass(slots=True)
class OrphanedJob:
    """A job whose server is gone."""

    live: LiveWorker
    server: Address
    store_id: bytes
    handle: str
    start_ns: int
    #: When it was seen that the worker has it no longer (monotonic seconds); None: it has it.
    ended_at: float | None = None

    @property
    def runs(self) -> bool:
        """Whether its worker, which lives, has it still."""
        return any(job.start_ns == self.start_ns and job.handle == self.handle for job in self.live.slots.jobs())

    @property
    def word(self) -> bytes:
        """That it runs."""
        elapsed_ms = b"%d" % max(0, (time.monotonic_ns() - self.start_ns) // 1_000_000)
        return encode_request(ORPHAN_RUNS, self.handle.encode(), self.live.client_id.encode(), b"0", elapsed_ms)

    @property
    def word_back(self) -> bytes:
        """That it runs no longer."""
        return encode_request(ORPHAN_GONE, self.handle.encode(), self.live.client_id.encode())


class OrphanedJobs:
    """Those of all workers."""

    def __init__(self, workforce: Workforce, queues: Queues) -> None:
        self._workforce = workforce
        self._queues = queues
        self._jobs: dict[tuple[bytes, str], OrphanedJob] = {}
        #: Servers whose connections have ended, and the stores that they had.
        self._lost: dict[Address, bytes] = {}
        self._looking: gevent.Greenlet | None = None

    def find(self, handle: str) -> OrphanedJob | None:
        """The running job with this handle, if its server is gone."""
        return next((job for job in self._jobs.values() if job.handle == handle and job.runs), None)

    def lost(self, server: Address, store_id: bytes) -> None:
        """The connection to this server is gone: tell the others of the jobs that our workers have from it."""
        self._lost[server] = store_id
        jobs = self._note(server, store_id)
        if not jobs:
            return
        _log.info("job server %s is gone; %d of its jobs go on", server, len(jobs))
        for watch in self._queues.servers:
            self._tell(watch, jobs)

    def found(self, watch: ServerWatch) -> None:
        """This server has come up: tell it of the jobs that it may have now."""
        if self._lost.pop(watch.address, b"") == watch.store_id != b"":
            self._note(watch.address, watch.store_id)  # what it has given out itself since is no news to it
        self._tell(watch, self._jobs.values())

    def _note(self, server: Address, store_id: bytes) -> list[OrphanedJob]:
        """Follow the jobs that our workers have from that server now."""
        jobs = [job for live in list(self._workforce.live.values()) for job in _jobs_of(live, server, store_id)]
        for job in jobs:
            self._jobs[store_id, job.handle] = job
        if jobs and not self._looking:
            self._looking = gevent.spawn(self._look)
        return jobs

    def _tell(self, watch: ServerWatch, jobs: Iterable[OrphanedJob]) -> None:
        words = b"".join(job.word for job in jobs if job.store_id == watch.store_id)
        if words:
            watch.tell(words)

    def _look(self) -> None:
        while self._jobs:
            gevent.sleep(LOOK_S)
            for key, job in list(self._jobs.items()):
                is_there = self._workforce.live.get(job.live.name) is job.live
                if is_there and job.runs:
                    continue
                now = time.monotonic()
                job.ended_at = job.ended_at or now
                if now - job.ended_at >= ANSWER_S:
                    del self._jobs[key]
                    self._take_back(job)

    def _take_back(self, job: OrphanedJob) -> None:
        for watch in self._queues.servers:
            if watch.store_id == job.store_id:
                watch.tell(job.word_back)


def _jobs_of(live: LiveWorker, server: Address, store_id: bytes) -> list[OrphanedJob]:
    """Those that this worker has from that server."""
    if not live.pid or live.is_program:
        return []
    number = live.order.number_of(server)
    jobs = [job for job in live.slots.jobs() if job.server == number and job.handle]
    return [OrphanedJob(live, server, store_id, job.handle, job.start_ns) for job in jobs]
