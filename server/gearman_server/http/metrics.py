"""Counts and durations of jobs, by function and priority, for Prometheus.

The broker itself counts the events of every job (`job_counts`); rare events are counted here, from its event stream;
the state of the queues is looked up when the metrics are read. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gearman_server.http.cluster_metrics import cluster_metrics
from gearman_server.jobs.batch_rows import BatchEnded, BatchesForgotten, ChainBroken
from gearman_server.jobs.events import (
    AttemptFailed,
    Event,
    ForeignRequest,
    JobDropped,
    JobExpired,
    JobFailed,
    JobRequeued,
    JobStopped,
    JobThrottled,
    StopOutcome,
    StoreFailed,
    StoreFenced,
)
from gearman_server.jobs.job import PRIORITY_NAMES, QUEUED
from gearman_server.jobs.job_counts import BUCKETS_S, Durations, JobCounts
from gearman_server.jobs.timeouts import OVERRAN, TIMEOUT
from gearman_server.keys.key_rules import table_of

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.jobs.function import Function, JobQueue
    from gearman_server.jobs.throttle import Throttle

_HELP_BY_COUNTER: Final = {
    "submitted": "Jobs accepted.",
    "coalesced": "Submissions that found their job already there.",
    "started": "Jobs given to a worker, again after a retry.",
    "completed": "Jobs that ended with a result.",
    "failed": "Jobs that failed for good: in their last attempt, or because they took their workers with them.",
    "timed_out": "Attempts that took longer than they may.",
    "retried": "Attempts that came to nothing and were followed by another: failed, or the worker was lost.",
    "throttled": "Jobs that their workers put back, and had their key or function held.",
    "dropped": "Jobs cancelled, or abandoned by their clients.",
    "expired": "Jobs that were not begun in time.",
    "stopped": "Jobs stopped while a worker had them.",
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
        self._batches = {"success": 0, "failure": 0}
        self._forgotten_batches = 0
        self._broken_chains = 0
        self._comebacks = 0
        self._stops = dict.fromkeys(StopOutcome, 0)
        broker.functions.count_jobs()
        reactions: dict[type[Event], Any] = {
            JobFailed: self._on_failed,
            AttemptFailed: self._on_attempt_failed,
            JobThrottled: self._on_throttled,
            JobRequeued: self._on_requeued,
            JobDropped: self._on_dropped,
            JobExpired: self._on_expired,
            JobStopped: self._on_stopped,
            StoreFailed: self._on_store_failed,
            StoreFenced: self._on_fenced,
            ForeignRequest: self._on_foreign_request,
            BatchEnded: self._on_batch_ended,
            BatchesForgotten: self._on_batches_forgotten,
            ChainBroken: self._on_chain_broken,
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
        self._stops[event.outcome] += 1

    def _on_store_failed(self, _event: StoreFailed) -> None:
        self._store_failures += 1

    def _on_foreign_request(self, _event: ForeignRequest) -> None:
        self._foreign_requests += 1

    def _on_batch_ended(self, event: BatchEnded) -> None:
        self._batches["success" if event.is_success else "failure"] += 1

    def _on_batches_forgotten(self, event: BatchesForgotten) -> None:
        self._forgotten_batches += event.batches

    def _on_fenced(self, _event: StoreFenced) -> None:
        self._comebacks += 1

    def _on_chain_broken(self, _event: ChainBroken) -> None:
        self._broken_chains += 1

    # --- reading

    def collect(self) -> Iterator[Metric]:
        """The metrics that are no function's."""
        letters = self._broker.dead_letters.count
        yield _gauge("gearman_dead_letters", "Background jobs that failed for good and are kept.", letters)
        kept = self._broker.results.kept
        yield _gauge("gearman_results", "Results of background jobs that are kept.", kept.count)
        yield _gauge("gearman_results_bytes", "What they take in memory, about.", kept.size_bytes)
        yield _gauge("gearman_connections", "Open connections.", len(self._broker.sessions))
        yield _gauge(
            "gearman_store_up", "Whether background jobs can be stored.", int(self._broker.durability.trouble is None)
        )
        yield _total("gearman_store_failures", "How often the store went out of order.", self._store_failures)
        yield _total(
            "gearman_foreign_requests",
            "Connections closed because they spoke HTTP or the like.",
            self._foreign_requests,
        )
        yield _total(
            "gearman_stops",
            "Jobs stopped while a worker had them, by what became of them.",
            {str(outcome): count for outcome, count in self._stops.items()},
        )
        yield _gauge(
            "gearman_batches", "Batches of jobs that are not done: open, or closed.", self._broker.job_batches.undone
        )
        yield _total(
            "gearman_batches_ended",
            "Batches whose jobs have all ended: with success if each is complete and nobody cancelled the batch.",
            self._batches,
        )
        yield _total(
            "gearman_batches_forgotten",
            "Batches that are done, and were forgotten early because there were too many.",
            self._forgotten_batches,
        )
        yield _total(
            "gearman_chains_broken",
            "Jobs that are complete, but whose next job was not submitted: the result is too large, for instance.",
            self._broken_chains,
        )
        if self._broker.part is not None:
            yield from cluster_metrics(self._broker.part, self._comebacks)

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
    first = queue.peek() if queue.is_keyed else None  # the one whose turn it is, unless all are held
    first = first or next((job for job in queue if job.state is QUEUED), None)
    return max(0.0, monotonic() - first.since) if first is not None else 0.0


def _gauge(name: str, help_text: str, figure: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=figure)


def _total(name: str, help_text: str, counts: int | Mapping[str, int]) -> Metric:
    """A counter; several counts are those of its outcomes."""
    if isinstance(counts, int):
        return CounterMetricFamily(name, help_text, value=counts)
    family = CounterMetricFamily(name, help_text, labels=("outcome",))
    for outcome, count in counts.items():
        family.add_metric((outcome,), count)
    return family


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _holds(name: str, make: Any, help_text: str, figure: Callable[[Throttle], float | None]) -> Family:
    """A family with a sample for those functions that are paused, or have a brake."""

    def add(family: Any, function: Function) -> None:
        value = figure(function.throttle) if function.throttle is not None else None
        if value is not None:
            family.add_metric((_text(function.name),), value)

    return Family(partial(make, name, help_text, labels=_LABELS[:1]), add)


def _held_for_s(throttle: Throttle) -> float | None:
    if throttle.brake is None:
        return None
    return 0.0 if throttle.brake.since is None else monotonic() - throttle.brake.since


def _add_keys(family: GaugeMetricFamily, function: Function) -> None:
    """A sample for those functions in which keys take turns, or have limits or holds."""
    table = table_of(function)
    if table is not None:
        family.add_metric((_text(function.name),), len(table.keys))


_FAMILIES: Final = (
    *(_counter(name, help_text) for name, help_text in _HELP_BY_COUNTER.items()),
    _histogram("waited", "From the queue to a worker."),
    _histogram("ran", "From a worker to the end."),
    _queue_gauge("gearman_jobs_queued", "Jobs that wait for a worker.", lambda queue: queue.waiting),
    _queue_gauge("gearman_oldest_queued_job_age_seconds", "How long the first in the queue has waited.", _oldest_age_s),
    _function_gauge(
        "gearman_jobs_startable",
        "Jobs that could start now, if workers asked for them.",
        lambda function: function.startable(monotonic()),
    ),
    Family(
        partial(GaugeMetricFamily, "gearman_keys", "Keys of its jobs that mean something now.", labels=_LABELS[:1]),
        _add_keys,
    ),
    _function_gauge("gearman_jobs_running", "Jobs that a worker has.", lambda function: function.running),
    _function_gauge(
        "gearman_workers", "Connections registered for the function.", lambda function: len(function.workers)
    ),
    _holds(
        "gearman_function_paused_since_seconds",
        GaugeMetricFamily,
        "Unix time since when an operator has paused the function; there while it is paused.",
        lambda throttle: throttle.paused_since,
    ),
    _holds(
        "gearman_function_held_seconds",
        GaugeMetricFamily,
        "For how long the function's brake has started no jobs but probes; 0 while it is off.",
        _held_for_s,
    ),
    _holds(
        "gearman_function_holds",
        CounterMetricFamily,
        "How often the function's brake was put on by failures.",
        lambda throttle: throttle.brake.holds if throttle.brake is not None else None,
    ),
)
