"""The worker of several jobs for a program with an event loop of its own: it never waits.

The loop watches the worker's descriptor, and calls `take` when that is readable and when something is due. So the
jobs, the answers and the connections all live on one thread, without a lock.
"""

from __future__ import annotations

import select
from math import inf
from typing import Final

from gearman_client.worker.base_worker import Servers
from gearman_client.worker.concurrent_worker import ConcurrentWorker
from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.readiness import Listener, Readiness
from gearman_client.worker.worker_settings import WorkerSettings

_DEFAULT_SETTINGS: Final = WorkerSettings()


class PolledReadiness(Readiness):
    """An epoll object, which is a descriptor itself, and is asked without waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._poll = self._epoll  # the masks of epoll are those of poll
        #: Whether the last look found an event.
        self.had_events = False

    def fileno(self) -> int:
        """The descriptor that is readable while there is an event."""
        return self._epoll.fileno()

    def wait(self, timeout_s: float | None) -> list[Listener]:
        """As of a Readiness, but without waiting."""
        listeners = super().wait(0.0)
        self.had_events = bool(listeners)
        return listeners


class PolledWorker(ConcurrentWorker):
    """A ConcurrentWorker whose `take` never waits.

    Call it again at once while `had_events`, else when `fileno()` is readable, at `due_at`, and after `wake` and
    `stop`, which make the descriptor readable.
    """

    def __init__(
        self,
        servers: Servers,
        settings: WorkerSettings = _DEFAULT_SETTINGS,
        *,
        observer: WorkerObserver | None = None,
    ) -> None:
        self._polled = PolledReadiness()
        super().__init__(servers, settings, observer=observer, readiness=self._polled)

    def fileno(self) -> int:
        """The descriptor to watch; it stays the same."""
        return self._polled.fileno()

    @property
    def had_events(self) -> bool:
        """Whether the last `take` met an event, after which there may be something to send or to ask."""
        return self._polled.had_events

    @property
    def due_at(self) -> float:
        """When `take` is to be called even if nothing happens: monotonic, perhaps infinite."""
        return min((link.due_at for link in self._links), default=inf)
