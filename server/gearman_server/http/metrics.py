"""Counts and durations of jobs, by function and priority, for Prometheus.

The broker itself counts the events of every job (`job_counts`); rare events are counted here, from its event stream;
the state of the queues is looked up when the metrics are read. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gearman_server.jobs.events import (
    OVERRAN,
    TIMEOUT,
    AttemptFailed,
    Event,
    ForeignRequest,
    JobDropped,
    JobFailed,
    JobRequeued,
    StoreFailed,
)
from gearman_server.jobs.job import PRIORITY_NAMES, QUEUED
from gearman_server.jobs.job_counts import BUCKETS_S, Durations, JobCounts

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.jobs.function import Function, JobQueue

_HELP_BY_COUNTER: Final = {
    "submitted": "Jobs accepted.",
    "coalesced": "Submissions that found their job already there.",
    "started": "Jobs given to a worker, again after a retry.",
    "completed": "Jobs that ended with a result.",
    "failed": "Jobs whose worker, or its supervisor, said that they failed.",
    "timed_out": "Attempts that took longer than they may.",
    "retried": "Attempts that came to nothing and were followed by another: failed, or the worker was lost.",
    "dropped": "Jobs cancelled, abandoned by their clients, or out of attempts.",
}
_LABELS: Final = ("function", "priority")


class Metrics(Collector):
    """The collector for a Prometheus registry."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._functions = broker.functions.by_name
        self._store_failures = 0
        self._foreign_requests = 0
        broker.functions.count_jobs()
        reactions: dict[type[Event], Any] = {
            JobFailed: self._on_failed,
            AttemptFailed: self._on_attempt_failed,
            JobRequeued: self._on_requeued,
            JobDropped: self._on_dropped,
            StoreFailed: self._on_store_failed,
            ForeignRequest: self._on_foreign_request,
        }
        for event_type, react in reactions.items():
            broker.events.subscribe(react, event_type)

    def registry(self) -> CollectorRegistry:
        """These metrics, and those of the process."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        return registry

    # --- counting rare events

    def _of(self, name: bytes, priority: int) -> JobCounts:
        function = self._functions.get(name)
        return function.counts[priority] if function is not None and function.counts is not None else JobCounts()

    def _on_failed(self, event: JobFailed) -> None:
        counts = self._of(event.function, event.priority)
        counts.failed += 1
        if event.reason == TIMEOUT:
            counts.timed_out += 1

    def _on_attempt_failed(self, event: AttemptFailed) -> None:
        counts = self._of(event.function, event.priority)
        counts.retried += 1
        if event.reason == TIMEOUT:
            counts.timed_out += 1

    def _on_requeued(self, event: JobRequeued) -> None:
        counts = self._of(event.function, event.priority)
        counts.retried += 1
        if event.reason == OVERRAN:
            counts.timed_out += 1

    def _on_dropped(self, event: JobDropped) -> None:
        self._of(event.function, event.priority).dropped += 1

    def _on_store_failed(self, _event: StoreFailed) -> None:
        self._store_failures += 1

    def _on_foreign_request(self, _event: ForeignRequest) -> None:
        self._foreign_requests += 1

    # --- reading

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now. A function that was dropped takes its counts with it."""
        yield from self._counters()
        yield from self._histograms()
        yield from _queue_gauges(self._functions.values())
        letters = self._broker.dead_letters.by_handle
        yield _gauge("gearman_dead_letters", "Background jobs that failed for good and are kept.", len(letters))
        kept = self._broker.results.kept
        yield _gauge("gearman_results", "Results of background jobs that are kept.", len(kept.by_handle))
        yield _gauge("gearman_results_bytes", "What they take in memory, about.", kept.size_bytes)
        yield _gauge("gearman_connections", "Open connections.", len(self._broker.sessions))
        yield _gauge(
            "gearman_store_up", "Whether background jobs can be stored.", int(self._broker.store_trouble is None)
        )
        family = CounterMetricFamily("gearman_store_failures", "How often the store went out of order.")
        family.add_metric((), self._store_failures)
        yield family
        family = CounterMetricFamily(
            "gearman_foreign_requests", "Connections closed because they spoke HTTP or the like."
        )
        family.add_metric((), self._foreign_requests)
        yield family

    def _counters(self) -> Iterator[Metric]:
        for name, help_text in _HELP_BY_COUNTER.items():
            family = CounterMetricFamily(f"gearman_jobs_{name}", help_text, labels=_LABELS)
            for labels, counts in self._labelled():
                family.add_metric(labels, getattr(counts, name))
            yield family

    def _histograms(self) -> Iterator[Metric]:
        for name, help_text in (("waited", "From the queue to a worker."), ("ran", "From a worker to the end.")):
            family = HistogramMetricFamily(f"gearman_job_{name}_seconds", help_text, labels=_LABELS)
            for labels, counts in self._labelled():
                durations: Durations = getattr(counts, name)
                family.add_metric(labels, _buckets(durations), durations.sum_s)
            yield family

    def _labelled(self) -> Iterator[tuple[tuple[str, str], JobCounts]]:
        for function in self._functions.values():
            for priority, counts in zip(PRIORITY_NAMES, function.counts or (), strict=False):
                if counts.is_used:
                    yield (_text(function.name), priority), counts


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    """The cumulative counts by upper bound, as Prometheus wants them."""
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    return list(zip(bounds, map(float, accumulate(durations.counts)), strict=True))


def _queue_gauges(functions: Iterable[Function]) -> Iterator[Metric]:
    queued = GaugeMetricFamily("gearman_jobs_queued", "Jobs that wait for a worker.", labels=_LABELS)
    oldest = GaugeMetricFamily(
        "gearman_oldest_queued_job_age_seconds", "How long the first in the queue has waited.", labels=_LABELS
    )
    running = GaugeMetricFamily("gearman_jobs_running", "Jobs that a worker has.", labels=_LABELS[:1])
    workers = GaugeMetricFamily("gearman_workers", "Connections registered for the function.", labels=_LABELS[:1])
    now = monotonic()
    for function in functions:
        name = _text(function.name)
        for priority, queue in zip(PRIORITY_NAMES, function.queues, strict=True):
            queued.add_metric((name, priority), queue.waiting)
            oldest.add_metric((name, priority), _oldest_age_s(queue, now))
        running.add_metric((name,), function.running)
        workers.add_metric((name,), len(function.workers))
    return iter((queued, oldest, running, workers))


def _oldest_age_s(queue: JobQueue, now: float) -> float:
    first = next((job for job in queue if job.state is QUEUED), None)
    return max(0.0, now - first.since) if first is not None else 0.0


def _gauge(name: str, help_text: str, figure: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=figure)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
