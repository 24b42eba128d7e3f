"""The metrics of functions: how their jobs fared, and the state of their queues now.

Each family knows how to add a function's samples, and how the values of several functions become one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from operator import itemgetter
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily

from gearman_server.jobs.job import PRIORITY_NAMES
from gearman_server.jobs.job_counts import BUCKETS_S, Durations, JobCounts
from gearman_server.keys.key_rules import table_of
from gearman_server.text_commands.count_commands import oldest_age_s

if TYPE_CHECKING:
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
#: Of the bounds by which jobs are counted those that Prometheus is shown: each is a series for each function.
_SHOWN_S: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
_BOUNDS: Final = (*map(str, _SHOWN_S), "+Inf")
#: Behind the counts that make each of the shown ones.
_ENDS: Final = (*(BUCKETS_S.index(bound) + 1 for bound in _SHOWN_S), len(BUCKETS_S) + 1)


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics with one name, of all functions."""

    #: Makes one without any sample.
    empty: Callable[[], Any]
    #: Adds a function's samples.
    add: Callable[[Any, Function], None]
    #: Makes one value of those of two functions.
    together: Callable[[float, float], float] = operator.add


def _buckets(durations: Durations) -> list[Any]:
    """The cumulative counts by upper bound, as Prometheus wants them, each with the bucket's last job."""
    offset = time() - monotonic()
    sums = [*accumulate(durations.counts)]
    buckets: list[Any] = []
    for bound, begin, end in zip(_BOUNDS, (0, *_ENDS), _ENDS, strict=False):
        count = float(sums[end - 1])
        jobs = [job for job in durations.last[begin:end] if job is not None]
        if jobs:
            handle, duration_s, at = max(jobs, key=itemgetter(2))
            buckets.append((bound, count, Exemplar({"handle": handle.decode()}, duration_s, at + offset)))
        else:
            buckets.append((bound, count))
    return buckets


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


def _queue_gauge(
    name: str,
    help_text: str,
    figure: Callable[[JobQueue], float],
    together: Callable[[float, float], float] = operator.add,
) -> Family:
    def add(family: GaugeMetricFamily, function: Function) -> None:
        for priority, queue in zip(PRIORITY_NAMES, function.queues, strict=True):
            family.add_metric((_text(function.name), priority), figure(queue))

    return Family(partial(GaugeMetricFamily, name, help_text, labels=_LABELS), add, together)


def _oldest_age_s(queue: JobQueue) -> float:
    return oldest_age_s(queue, monotonic())


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _holds(
    name: str,
    help_text: str,
    figure: Callable[[Throttle], float | None],
    together: Callable[[float, float], float],
    make: Any = GaugeMetricFamily,
) -> Family:
    """A family with a sample for those functions that are paused, or have a brake."""

    def add(family: Any, function: Function) -> None:
        value = figure(function.throttle) if function.throttle is not None else None
        if value is not None:
            family.add_metric((_text(function.name),), value)

    return Family(partial(make, name, help_text, labels=_LABELS[:1]), add, together)


def _held_for_s(throttle: Throttle) -> float | None:
    if throttle.brake is None:
        return None
    return 0.0 if throttle.brake.since is None else monotonic() - throttle.brake.since


def _add_keys(family: GaugeMetricFamily, function: Function) -> None:
    """A sample for those functions in which keys take turns, or have limits or holds."""
    table = table_of(function)
    if table is not None:
        family.add_metric((_text(function.name),), len(table.keys))


FAMILIES: Final = (
    *(_counter(name, help_text) for name, help_text in _HELP_BY_COUNTER.items()),
    _histogram("waited", "From the queue to a worker."),
    _histogram("ran", "From a worker to the end."),
    _queue_gauge("gearman_jobs_queued", "Jobs that wait for a worker.", lambda queue: queue.waiting),
    _queue_gauge(
        "gearman_oldest_queued_job_age_seconds", "How long the first in the queue has waited.", _oldest_age_s, max
    ),
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
        "Unix time since when an operator has paused the function; there while it is paused.",
        lambda throttle: throttle.paused_since,
        min,
    ),
    _holds(
        "gearman_function_held_seconds",
        "For how long the function's brake has started no jobs but probes; 0 while it is off.",
        _held_for_s,
        max,
    ),
    _holds(
        "gearman_function_holds",
        "How often the function's brake was put on by failures.",
        lambda throttle: throttle.brake.holds if throttle.brake is not None else None,
        operator.add,
        CounterMetricFamily,
    ),
)
