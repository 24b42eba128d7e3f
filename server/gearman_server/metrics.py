"""Counts what becomes of jobs, by function and priority, from the broker's event stream; Prometheus reads the counts.

Counting is on the path of every job, so a counter is a slot and a histogram a list; what the queues hold now is looked
up only when somebody reads. Nothing here decides anything.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gearman_server.events import (
    OVERRAN,
    TIMEOUT,
    AttemptFailed,
    Event,
    JobAssigned,
    JobCoalesced,
    JobDropped,
    JobEnded,
    JobFailed,
    JobQueued,
    JobRequeued,
    StoreFailed,
)
from gearman_server.job import PRIORITIES, PRIORITY_NAMES, JobState

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.function import Function, JobQueue

#: Upper bounds of the histograms' buckets, in seconds.
BUCKETS_S: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)

_COUNTERS: Final = {
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


class Durations:
    """A histogram of seconds."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_S, duration_s)] += 1
        self.sum_s += duration_s

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated, by upper bound, as Prometheus wants them."""
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        totals = []
        total = 0
        for count in self.counts:
            total += count
            totals.append(float(total))
        return list(zip(bounds, totals, strict=True))


class JobCounts:
    """What became of the jobs of one function and priority."""

    __slots__ = (*_COUNTERS, "ran", "waited")

    def __init__(self) -> None:
        for name in _COUNTERS:
            setattr(self, name, 0)
        self.waited = Durations()
        self.ran = Durations()

    submitted: int
    coalesced: int
    started: int
    completed: int
    failed: int
    timed_out: int
    retried: int
    dropped: int


class Metrics(Collector):
    """Subscribes to the broker's events, and is what a Prometheus registry collects from."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._counts: tuple[dict[bytes, JobCounts], ...] = tuple({} for _ in PRIORITIES)
        self._store_failures = 0
        reactions: dict[type[Event], Any] = {
            JobQueued: self._on_queued,
            JobCoalesced: self._on_coalesced,
            JobAssigned: self._on_assigned,
            JobEnded: self._on_ended,
            JobFailed: self._on_failed,
            AttemptFailed: self._on_attempt_failed,
            JobRequeued: self._on_requeued,
            JobDropped: self._on_dropped,
            StoreFailed: self._on_store_failed,
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

    # --- counting. Events of every job are unpacked: reading their fields by name costs twice as much.

    def _of(self, function: bytes, priority: int) -> JobCounts:
        try:
            return self._counts[priority][function]
        except KeyError:
            counts = self._counts[priority][function] = JobCounts()
            return counts

    def _on_queued(self, event: JobQueued) -> None:
        _, function, priority = event
        self._of(function, priority).submitted += 1

    def _on_coalesced(self, event: JobCoalesced) -> None:
        self._of(event.function, event.priority).coalesced += 1

    def _on_assigned(self, event: JobAssigned) -> None:
        _, function, _, priority, waited_s = event
        counts = self._of(function, priority)
        counts.started += 1
        counts.waited.add(waited_s)

    def _on_ended(self, event: JobEnded) -> None:
        _, function, how, priority, ran_s = event
        counts = self._of(function, priority)
        if how == "WORK_COMPLETE":
            counts.completed += 1
        else:
            counts.failed += 1
        counts.ran.add(ran_s)

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

    # --- reading

    def collect(self) -> Iterator[Metric]:
        """Everything, as it is now. A function that was dropped takes its counts with it."""
        functions = self._broker.table.functions
        for by_function in self._counts:
            for name in by_function.keys() - functions.keys():
                del by_function[name]
        yield from self._counters()
        yield from self._histograms()
        yield from _queue_gauges(functions.values())
        letters = self._broker.table.dead_letters.by_handle
        yield _gauge("gearman_dead_letters", "Background jobs that failed for good and are kept.", len(letters))
        yield _gauge("gearman_connections", "Open connections.", len(self._broker.sessions))
        yield _gauge(
            "gearman_store_up", "Whether background jobs can be stored.", int(self._broker.store_trouble is None)
        )
        family = CounterMetricFamily("gearman_store_failures", "How often the store went out of order.")
        family.add_metric((), self._store_failures)
        yield family

    def _counters(self) -> Iterator[Metric]:
        for name, help_text in _COUNTERS.items():
            family = CounterMetricFamily(f"gearman_jobs_{name}", help_text, labels=_LABELS)
            for labels, counts in self._labelled():
                family.add_metric(labels, getattr(counts, name))
            yield family

    def _histograms(self) -> Iterator[Metric]:
        for name, help_text in (("waited", "From the queue to a worker."), ("ran", "From a worker to the end.")):
            family = HistogramMetricFamily(f"gearman_job_{name}_seconds", help_text, labels=_LABELS)
            for labels, counts in self._labelled():
                durations: Durations = getattr(counts, name)
                family.add_metric(labels, durations.buckets(), durations.sum_s)
            yield family

    def _labelled(self) -> Iterator[tuple[tuple[str, str], JobCounts]]:
        for priority, by_function in zip(PRIORITY_NAMES, self._counts, strict=True):
            for name, counts in by_function.items():
                yield (_text(name), priority), counts


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
    first = next((job for job in queue if job.state is JobState.QUEUED), None)
    return max(0.0, now - first.since) if first is not None else 0.0


def _gauge(name: str, help_text: str, figure: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=figure)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
