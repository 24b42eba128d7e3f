"""The worker that holds several jobs at once: one connection to each job server, and a grab for every free place.

One connection rather than one for each place: the job servers see one worker with one name for each process, a queue
wakes that process once and not once for each of its places, and a place is nobody's: whichever server has a job gets
it. A server that stalls keeps only those places waiting that it was asked for.

It knows no greenlets: it waits by `select.poll`, which is a greenlet's own where the process is patched (gevent). One
greenlet drives it by `take`; the others answer their jobs, and `wake` it.
"""

from __future__ import annotations

import contextlib
import os
from math import inf
from time import monotonic
from typing import Final

from gearman_client.worker.base_worker import BaseWorker, Servers
from gearman_client.worker.concurrent_link import ConcurrentLink
from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.worker_job import WorkerJob
from gearman_client.worker.worker_settings import WorkerSettings

_DEFAULT_SETTINGS: Final = WorkerSettings()


class ConcurrentWorker(BaseWorker[ConcurrentLink]):
    """Serves every job server in `servers` at once; connects and reconnects by itself inside `take`.

    Raises:
        AddressError: `servers` is no list of addresses.
        ArgumentError: the client id can't be sent.
    """

    def __init__(
        self,
        servers: Servers,
        settings: WorkerSettings = _DEFAULT_SETTINGS,
        *,
        observer: WorkerObserver | None = None,
    ) -> None:
        super().__init__(
            servers, settings, observer, lambda address, context: ConcurrentLink(address, context, self.wake)
        )
        self._was_woken = False
        self._next = 0  # whose turn it is to be asked
        self._readiness.watch_readable(self, self._wake_reader)

    def register(self, function: str) -> None:
        """Offer `function` to all servers."""
        self._offer(function)

    def take(self, places: int) -> list[WorkerJob]:
        """Send what is pending, ask for as many jobs as there are free `places`, and wait until something happens.

        Returns the jobs that came, often none: call it again and again, with the number of places that are free then.
        Jobs that were asked for may still come after `stop`; see `asked`.
        """
        now = monotonic()
        if not self._is_stopping:
            self._ask(places, now)
        for link in self._links:
            link.push(now)
        self._serve(self._time_to_wait(monotonic(), inf))
        if self._readiness.is_interrupted:
            self._readiness.forget_interrupts()
            self._is_stopping = True
        return [job for link in self._links for job in link.take()]

    @property
    def asked(self) -> int:
        """How many grabs are under way."""
        return sum(link.asked for link in self._links)

    def wake(self) -> None:
        """End the wait in `take`: an answer is to be sent, or a place has become free."""
        if not self._was_woken:
            self._was_woken = True
            self._ring()

    def on_ready(self) -> None:
        """The pipe was written to: by `wake`, or by `stop`."""
        self._was_woken = False
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)

    def _ask(self, places: int, now: float) -> None:
        """Ask the servers in turn, one grab each, while places are free and one of them may have a job."""
        free = places - self.asked
        links = self._links
        refused = 0
        while free > 0 and refused < len(links):
            link = links[self._next]
            self._next = (self._next + 1) % len(links)
            if link.wants_to_be_asked:
                link.ask(now)
                free -= 1
                refused = 0
            else:
                refused += 1
