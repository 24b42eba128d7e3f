"""The worker that holds several jobs at once: one connection to each job server, and a grab for every free place.

There is one connection to a server rather than one for each place. So the job servers see one worker with one name for
each process, and a queue wakes the process once instead of once for each place. A place belongs to no server: the
server that has a job gets it. A server that stalls holds only the places for which it was sent a grab.

The worker knows nothing of greenlets: it waits with `select.poll`, which suspends only the greenlet where gevent has
patched the process. One greenlet drives the worker with `take`; the others answer their jobs and `wake` it.
"""

from __future__ import annotations

import contextlib
import os
from math import inf
from time import monotonic
from typing import Final

from gearman_client.address import Address, parse_addresses
from gearman_client.worker.base_worker import BaseWorker, Servers
from gearman_client.worker.concurrent_link import ConcurrentLink
from gearman_client.worker.link_context import LinkContext
from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.readiness import Readiness
from gearman_client.worker.worker_job import WorkerJob
from gearman_client.worker.worker_settings import WorkerSettings

_DEFAULT_SETTINGS: Final = WorkerSettings()


class ConcurrentWorker(BaseWorker[ConcurrentLink]):
    """Serves every job server in `servers` at once, and connects and reconnects inside `take`.

    Raises:
        AddressError: `servers` is not a list of addresses.
        ArgumentError: the client id can't be sent.
    """

    def __init__(
        self,
        servers: Servers,
        settings: WorkerSettings = _DEFAULT_SETTINGS,
        *,
        observer: WorkerObserver | None = None,
        readiness: Readiness | None = None,
    ) -> None:
        def new_link(address: Address, context: LinkContext) -> ConcurrentLink:
            return ConcurrentLink(address, context, self.wake)

        super().__init__(parse_addresses(servers), settings, observer, new_link, readiness)
        self._was_woken = False
        #: The index of the link to ask next.
        self._next = 0
        self._readiness.watch_readable(self, self._wake_reader)

    def register(self, function: str) -> None:
        """Offer `function` to all servers."""
        self._offer(function)

    def take(self, places: int) -> list[WorkerJob]:
        """Send what is pending, ask for as many jobs as there are free `places`, and wait until something happens.

        Returns the jobs that arrived, often none. Call it in a loop, each time with the current number of free places.
        Jobs already asked for may still arrive after `stop`; see `asked`.

        Raises:
            InUse: another greenlet is in `take`, or the worker was made before a fork.
        """
        with self._use:
            return self._take(places)

    def _take(self, places: int) -> list[WorkerJob]:
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

    def _let_go(self, link: ConcurrentLink, now: float) -> bool:
        link.is_leaving = True
        return not link.is_busy and super()._let_go(link, now)

    @property
    def asked(self) -> int:
        """The number of grabs under way."""
        return sum(link.asked for link in self._links)

    def wake(self) -> None:
        """End the wait in `take`, because there is an answer to send or a free place."""
        if not self._was_woken:
            self._was_woken = True
            self._ring()

    def on_ready(self) -> None:
        """`wake` or `stop` wrote to the pipe."""
        self._was_woken = False
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)

    def _ask(self, places: int, now: float) -> None:
        """Send the servers one grab each, in turn, while places are free and a server may have a job."""
        free = places - self.asked
        links = self._links
        refused = 0
        while free > 0 and refused < len(links):
            link = links[self._next % len(links)]
            self._next = (self._next + 1) % len(links)
            if link.wants_to_be_asked:
                link.ask(now)
                free -= 1
                refused = 0
            else:
                refused += 1
