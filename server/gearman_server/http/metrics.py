"""Counts and durations of jobs, by function and priority, for Prometheus.

The broker itself counts the events of every job (`job_counts`); rare events are counted here, from its event stream;
the state of the queues is looked up when the metrics are read. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
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
    "failed": "Jobs that failed for good: in their last attempt, or because they took their workers with them.",
    "timed_out": "Attempts that took longer than they may.",
    "retried": "Attempts that came to nothing and were followed by another: failed, or the worker was lost.",
    "dropped": "Jobs cancelled, or abandoned by their clients.",
}
_LABELS: Final = ("function", "priority")
#: Functions whose samples of one family are made in one piece.
FUNCTIONS_AT_ONCE: Final = 20


class Metrics(Collector):
    """Makes the text for Prometheus, in pieces: there can be very many functions. Collects what is no function's."""

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

        self._registry = registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def pieces(self) -> Iterator[bytes]:
        """All metrics and those of the process, in Prometheus' text format. Each piece takes some two milliseconds, and
        says what is true when it is made. A function that was dropped takes its counts with it."""
        for family in _FAMILIES:
            for at, part in enumerate(self._parts(family)):
                yield _exposed(part, has_head=not at)
        yield generate_latest(self._registry)

    # --- counting rare events

    def _of(self, name: bytes, priority: int) -> JobCounts:
        function = self._functions.get(name)
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
        """The metrics that are no function's."""
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

    def _parts(self, family: Family) -> Iterator[Metric]:
        """One family in parts with a few functions each. The first part is there even if no function is."""
        names = self._broker.functions.names
        for at in range(0, len(names) or 1, FUNCTIONS_AT_ONCE):
            part = family.empty()
            for name in names[at : at + FUNCTIONS_AT_ONCE]:
                function = self._functions.get(name)
                if function is not None:
                    family.add(part, function)
            yield part


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics with one name, of all functions."""

    #: Makes one without any sample.
    empty: Callable[[], Any]
    #: Adds a function's samples.
    add: Callable[[Any, Function], None]


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    """The cumulative counts by upper bound, as Prometheus wants them."""
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    return list(zip(bounds, map(float, accumulate(durations.counts)), strict=True))


def _used_counts(function: Function) -> Iterator[tuple[tuple[str, str], JobCounts]]:
    for priority, counts in zip(PRIORITY_NAMES, function.counts or (), strict=False):
        if counts.is_used:
            yield (_text(function.name), priority), counts


def _counter(name: str, help_text: str) -> Family:
    def add(family: CounterMetricFamily, function: Function) -> None:
        for labels, counts in _used_counts(function):
            family.add_metric(labels, getattr(counts, name))

    return Family(partial(CounterMetricFamily, f"gearman_jobs_{name}", help_text, labels=_LABELS), add)


def _histogram(name: str, help_text: str) -> Family:
    def add(family: HistogramMetricFamily, function: Function) -> None:
        for labels, counts in _used_counts(function):
            durations: Durations = getattr(counts, name)
            family.add_metric(labels, _buckets(durations), durations.sum_s)

    return Family(partial(HistogramMetricFamily, f"gearman_job_{name}_seconds", help_text, labels=_LABELS), add)


def _function_gauge(name: str, help_text: str, figure: Callable[[Function], float]) -> Family:
    def add(family: GaugeMetricFamily, function: Function) -> None:
        family.add_metric((_text(function.name),), figure(function))

    return Family(partial(GaugeMetricFamily, name, help_text, labels=_LABELS[:1]), add)


def _queue_gauge(name: str, help_text: str, figure: Callable[[JobQueue], float]) -> Family:
    def add(family: GaugeMetricFamily, function: Function) -> None:
        for priority, queue in zip(PRIORITY_NAMES, function.queues, strict=True):
            family.add_metric((_text(function.name), priority), figure(queue))

    return Family(partial(GaugeMetricFamily, name, help_text, labels=_LABELS), add)


def _exposed(part: Metric, *, has_head: bool) -> bytes:
    """Prometheus' text of a part of a family; help and type come with the first part only."""
    registry = CollectorRegistry()
    registry.register(_Only(part))
    text = generate_latest(registry)
    while not has_head and text.startswith(b"# "):
        text = text.partition(b"\n")[2]
    return text


class _Only(Collector):
    """Collects one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _oldest_age_s(queue: JobQueue) -> float:
    first = next((job for job in queue if job.state is QUEUED), None)
    return max(0.0, monotonic() - first.since) if first is not None else 0.0


def _gauge(name: str, help_text: str, figure: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=figure)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


_FAMILIES: Final = (
    *(_counter(name, help_text) for name, help_text in _HELP_BY_COUNTER.items()),
    _histogram("waited", "From the queue to a worker."),
    _histogram("ran", "From a worker to the end."),
    _queue_gauge("gearman_jobs_queued", "Jobs that wait for a worker.", lambda queue: queue.waiting),
    _queue_gauge("gearman_oldest_queued_job_age_seconds", "How long the first in the queue has waited.", _oldest_age_s),
    _function_gauge("gearman_jobs_running", "Jobs that a worker has.", lambda function: function.running),
    _function_gauge(
        "gearman_workers", "Connections registered for the function.", lambda function: len(function.workers)
    ),
)
