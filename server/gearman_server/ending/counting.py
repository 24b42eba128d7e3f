"""Counts how the jobs of each function fare, once somebody wants to know: it costs something for each job. Pure.

The broker counts what happens to every job in place (`jobs.job_counts`); rare events are counted here, from its stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gearman_server.jobs.events import (
    AttemptFailed,
    Event,
    EventStream,
    JobDropped,
    JobExpired,
    JobFailed,
    JobRequeued,
    JobStopped,
    JobThrottled,
)
from gearman_server.jobs.job_counts import JobCounts
from gearman_server.jobs.timeouts import OVERRAN, TIMEOUT

if TYPE_CHECKING:
    from gearman_server.jobs.functions import Functions


class Counting:
    """Begins with the first call of `begin`, and goes on as long as the server runs."""

    def __init__(self, functions: Functions, events: EventStream, unix_time: Callable[[], float]) -> None:
        self._functions = functions
        self._events = events
        self._unix_time = unix_time
        #: When it began, in seconds since 1970; None: nothing is counted.
        self.since: float | None = None

    def begin(self) -> float:
        """Count from now on; returns since when that is done."""
        if self.since is not None:
            return self.since
        self.since = self._unix_time()
        self._functions.count_jobs()
        reactions: dict[type[Event], Any] = {
            JobFailed: self._on_failed,
            AttemptFailed: self._on_attempt_failed,
            JobThrottled: self._on_throttled,
            JobRequeued: self._on_requeued,
            JobDropped: self._on_dropped,
            JobExpired: self._on_expired,
            JobStopped: self._on_stopped,
        }
        for event_type, react in reactions.items():
            self._events.subscribe(react, event_type)
        return self.since

    def _of(self, name: bytes, priority: int) -> JobCounts:
        function = self._functions.by_name.get(name)
        return function.counts[priority] if function is not None and function.counts is not None else JobCounts()

    def _on_failed(self, event: JobFailed) -> None:
        counts = self._of(event.function, event.priority)
        counts.failed += not event.is_counted
        if event.reason == TIMEOUT:
            counts.timed_out += 1

    def _on_attempt_failed(self, event: AttemptFailed) -> None:
        counts = self._of(event.function, event.priority)
        counts.retried += 1
        if event.reason == TIMEOUT:
            counts.timed_out += 1

    def _on_throttled(self, event: JobThrottled) -> None:
        self._of(event.function, event.priority).throttled += 1

    def _on_requeued(self, event: JobRequeued) -> None:
        counts = self._of(event.function, event.priority)
        counts.retried += 1
        if event.reason == OVERRAN:
            counts.timed_out += 1

    def _on_dropped(self, event: JobDropped) -> None:
        self._of(event.function, event.priority).dropped += 1

    def _on_expired(self, event: JobExpired) -> None:
        self._of(event.function, event.priority).expired += 1

    def _on_stopped(self, event: JobStopped) -> None:
        self._of(event.function, event.priority).stopped += 1
