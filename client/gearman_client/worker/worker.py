"""The worker: grabs jobs from several job servers. Each answer leaves with the next grab, in one write.

`grab` gets one job, `grab_many` all that the server gives at once, up to the `prefetch` of the settings.

A process that runs jobs creates its worker after its last fork; there are no threads. A ServerLink handles everything
about one server; the worker decides which server to ask, how long to wait, and when to stop.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable
from datetime import timedelta
from math import inf
from time import monotonic
from typing import Final, TypeVar

from gearman_client.address import parse_addresses
from gearman_client.arguments import to_count, to_limit, to_seconds
from gearman_client.errors import ArgumentError
from gearman_client.extensions import (
    MAX_JOBS_AT_ONCE,
    MAX_LINGER_MS,
    MAX_RETURN_KEY_BYTES,
    MIN_RETURN_KEY_BYTES,
)
from gearman_client.text import to_function
from gearman_client.tls import Tls
from gearman_client.worker.base_worker import BaseWorker, Servers
from gearman_client.worker.link_state import LinkState
from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.set_link import SetLink
from gearman_client.worker.worker_job import WorkerJob
from gearman_client.worker.worker_settings import Batch, WorkerSettings

#: With several servers, the worker turns to the next one after this many jobs or this long, so that none starves.
TURN_JOBS: Final = 100
TURN_S: Final = 0.1
#: Answers of jobs that came together leave together; none waits longer than this and the job that runs then.
ANSWERS_S: Final = 0.002
#: The longest `return_key`: the key of a set has its number too.
MAX_KEY_BYTES: Final = MAX_RETURN_KEY_BYTES - 24
#: With a single server that has jobs, the worker polls its other descriptors this often.
LOOK_INTERVAL_S: Final = 0.001

JobCallback = Callable[[WorkerJob], bytes | str | None]

Taken = TypeVar("Taken", WorkerJob, list[WorkerJob])

logger = logging.getLogger(__name__)
_DEFAULT_SETTINGS: Final = WorkerSettings()


class Worker(BaseWorker[SetLink]):
    """Serves every job server in `servers` at once, and connects and reconnects inside `grab`.

    tls: for servers that speak TLS; an `Address` may have its own.

    Raises:
        AddressError: `servers` is not a list of addresses.
        ArgumentError: the client id can't be sent, or a time or number of the settings is none.
    """

    def __init__(
        self,
        servers: Servers,
        settings: WorkerSettings = _DEFAULT_SETTINGS,
        *,
        observer: WorkerObserver | None = None,
        tls: Tls | None = None,
    ) -> None:
        to_count(settings.prefetch, "prefetch", MAX_JOBS_AT_ONCE)
        _check_key(settings.return_key)
        super().__init__(parse_addresses(servers, tls), settings, observer, SetLink)
        self._callbacks: dict[str, JobCallback] = {}
        self._current = 0
        self._turn_jobs = 0
        self._turn_ends_at = 0.0
        self._looked_at = 0.0
        self._readiness.watch_interrupt(self._wake_reader)

    def register(self, function: str, callback: JobCallback | None = None, *, batch: Batch | None = None) -> None:
        """Offer `function` to all servers. `work` calls `callback` with each job; `grab` alone needs none.

        batch: `grab_many` gets several jobs of this function at once, and none of another with them. `work` knows no
            batches, so there is no callback then.

        Raises:
            ArgumentError: the callback can't be called, or the batch has impossible values.
        """
        if batch is not None and callback is not None:
            raise ArgumentError(f"{function}: a batch is got with grab_many, so no callback is called for it")
        if callback is not None and not callable(callback):
            raise ArgumentError(f"the callback of {function} is {type(callback).__name__}: expected a function")
        name = to_function(function)
        if batch is not None and name not in self._context.functions:
            to_count(batch.at_most, "at_most", MAX_JOBS_AT_ONCE)
            if to_limit(batch.linger_s, "linger_s") * 1000 > MAX_LINGER_MS:
                raise ArgumentError(f"linger_s {batch.linger_s!r}: expected {MAX_LINGER_MS // 1000} seconds at most")
            self._context.batches[name] = batch
        self._offer(function)
        if callback is not None:
            self._callbacks[function] = callback

    def unregister(self, function: str) -> None:
        """Stop offering `function`. The server requeues a job of it that is running and unanswered."""
        name = to_function(function)
        self._callbacks.pop(function, None)
        self._context.batches.pop(name, None)
        if self._context.functions.pop(name, None) is not None:
            for link in self._links:
                link.cant_do(name)

    def grab(self, timeout_s: timedelta | float | None = None) -> WorkerJob | None:
        """Send the pending answers, and get the next job.

        Returns None once `timeout_s` has passed, after `stop`, and while an interrupt descriptor can be read (it is
        checked once a millisecond, so not after each of the shortest jobs). The pending answers have been sent in these
        cases too. The worker always waits for the reply to a grab under way, for at most `reply_timeout_s` of the
        settings, so that no assigned job is dropped.

        Raises:
            InUse: another thread is in `grab`, or the worker was made before a fork.
        """
        self._use.begin()
        try:
            return self._get(SetLink.grab, timeout_s)
        finally:
            self._use.end()

    def grab_many(self, timeout_s: timedelta | float | None = None) -> list[WorkerJob]:
        """As `grab`, but get several jobs at once: up to `prefetch` of the settings, or one batch of a function.

        The jobs are to be run in this order. The next `grab_many` tells the server that this worker holds no job any
        more: jobs without an answer go back into their queue. Those that are not begun when the worker stops go back
        with `give_back`. Returns [] where `grab` returns None. A server that is not ours gives one job at a time.
        """
        self._use.begin()
        try:
            return self._get(SetLink.grab_many, timeout_s) or []
        finally:
            self._use.end()

    @property
    def set_number(self) -> int:
        """The number of the set that `grab_many` got last, for `key_of_set`."""
        return self._context.set_number

    def look(self) -> bool:
        """Handle what has arrived, without waiting: between two jobs of a set. It costs something once a millisecond.

        Returns False after `stop`, and while an interrupt descriptor can be read. The loss of a server shows in
        `is_lost` of its jobs.
        """
        now = monotonic()
        if now >= self._looked_at + LOOK_INTERVAL_S:
            self._looked_at = now
            self._serve(0.0)
        return not self._is_stopping and not self._readiness.is_interrupted

    def give_back(self, jobs: Iterable[WorkerJob]) -> None:
        """Give these jobs of the last `grab_many`, which have not been begun, back to the head of their queue, at once.

        They do not count as attempts. Jobs that have been answered, or whose connection is gone, are passed over.
        """
        jobs = list(jobs)
        for link in self._links:
            link.give_back(jobs)
            link.flush()

    def _get(self, take: Callable[[SetLink], Taken | None], timeout_s: timedelta | float | None) -> Taken | None:
        now = monotonic()
        deadline = inf if timeout_s is None else now + to_seconds(timeout_s, "timeout_s")
        wait_s: float | None = 0.0
        while True:
            if wait_s != 0.0 or not self._looked_just_now(now):
                self._serve(wait_s)
                self._looked_at = now
            if self._is_stopping or self._readiness.is_interrupted:
                break
            link = self._choose_link()
            if link is not None:
                self._flush_except(link)
                taken = take(link)
                if taken:
                    return taken
                wait_s, now = 0.0, monotonic()
                continue
            self.flush()
            now = monotonic()
            if now >= deadline:
                break
            wait_s = self._time_to_wait(now, deadline)
        self.flush()
        return None

    def work(self, *, max_jobs: int | None = None) -> int:
        """Run jobs with the registered callbacks until `stop`, an interrupt or `max_jobs`; returns the number of jobs.

        With a `prefetch` above 1 it gets several at once. They run one after the other; their answers leave together.
        The callback's return value is the result. An exception fails the job and is logged, and the loop goes on.
        """
        if max_jobs is not None and not isinstance(max_jobs, int):
            raise ArgumentError(f"max_jobs {max_jobs!r}: expected a whole number")
        jobs = 0
        gets_sets = self._context.settings.prefetch > 1
        try:
            while max_jobs is None or jobs < max_jobs:
                if gets_sets:
                    done = self._run_set(self.grab_many(), inf if max_jobs is None else max_jobs - jobs)
                    if not done:
                        break
                    jobs += done
                    continue
                job = self.grab()
                if job is None:
                    break
                self._run(job)
                jobs += 1
        finally:
            self.flush()
        return jobs

    def _run_set(self, jobs: list[WorkerJob], most: float) -> int:
        """Run the jobs, no more than `most`, and give back those that are not begun. Returns how many were run."""
        begun, unsent_since = 0, inf
        try:
            for job in jobs:
                if begun >= most or (begun and (not self.look() or job.is_lost)):
                    break
                begun += 1
                self._run(job)
                now = monotonic()
                if now > unsent_since + ANSWERS_S:
                    self.flush()
                    unsent_since = inf
                else:
                    unsent_since = min(unsent_since, now)
        finally:
            if begun < len(jobs):
                self.give_back(jobs[begun:])
        return begun

    def _run(self, job: WorkerJob) -> None:
        callback = self._callbacks.get(job.function)
        if callback is None:
            job.fail_because(f"this worker has no callback for {job.function}")
            return
        try:
            result = callback(job)
            if not job.answered:
                job.complete(result)
        except Exception as error:
            logger.exception("job %s of %s failed", job.handle, job.function)
            if not job.answered:
                job.fail_because(f"{type(error).__name__}: {error}", trace=traceback.format_exc())

    def _looked_just_now(self, now: float) -> bool:
        """Whether the last poll is recent enough. A poll is a system call, too expensive for each of the shortest jobs.

        A grab reads the packets of a single server itself. Everything else, above all an interrupt, can wait that long.
        """
        return (
            now < self._looked_at + LOOK_INTERVAL_S
            and len(self._links) == 1
            and not self._readiness.is_interrupted
            and self._links[0].state is LinkState.READY
        )

    def _choose_link(self) -> SetLink | None:
        """A link that may have a job: the current one until its turn is over, then the next in the circle."""
        links = self._links
        if len(links) == 1:
            return links[0] if links[0].state is LinkState.READY else None
        now = monotonic()
        self._turn_jobs -= 1
        if self._turn_jobs > 0 and now < self._turn_ends_at and links[self._current].state is LinkState.READY:
            return links[self._current]
        for step in range(1, len(links) + 1):
            index = (self._current + step) % len(links)
            if links[index].state is LinkState.READY:
                self._current, self._turn_jobs, self._turn_ends_at = index, TURN_JOBS, now + TURN_S
                return links[index]
        return None

    def _flush_except(self, link: SetLink) -> None:
        """Flush the other links: their answers must not wait for their turn. The chosen link's leave with its grab."""
        if len(self._links) > 1:
            for other in self._links:
                if other is not link:
                    other.flush()


def _check_key(key: bytes) -> None:
    if key and not (MIN_RETURN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES and b"\0" not in key):
        raise ArgumentError(f"return_key: expected {MIN_RETURN_KEY_BYTES} to {MAX_KEY_BYTES} bytes, none of them zero")
