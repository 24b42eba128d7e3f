"""Counts and durations of jobs, by function and priority, for Prometheus.

The broker itself counts how the jobs of each function fare (`counting`); what else happens is counted here, from its
event stream; the state of the queues is looked up when the metrics are read. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gearman_server.http.cluster_metrics import cluster_metrics
from gearman_server.http.function_families import FAMILIES, Family
from gearman_server.http.metrics_page import MetricsPage, Only, Others
from gearman_server.jobs.batch_rows import BatchEnded, BatchesForgotten, ChainBroken
from gearman_server.jobs.events import (
    Event,
    ForeignRequest,
    JobStopped,
    StopOutcome,
    StoreFailed,
    StoreFenced,
)

if TYPE_CHECKING:
    from gearman_server.broker import Broker

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
        #: Functions that had series of their own in the last page with a bound.
        self._had_series: list[bytes] = []
        self._stops = dict.fromkeys(StopOutcome, 0)
        broker.counting.begin()
        reactions: dict[type[Event], Any] = {
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

    def pieces(self, page: MetricsPage) -> Iterator[bytes]:
        """All metrics and those of the process, in pieces. Each takes some two milliseconds, and says what is true when
        it is made. A function that was dropped takes its counts with it."""
        shown = self._shown(page.most_functions)
        for family in FAMILIES:
            for at, part in enumerate(self._parts(family, shown)):
                yield page.text(Only(part), has_head=not at)
        yield page.text(self._registry)
        yield page.end

    # --- counting rare events

    def _on_stopped(self, event: JobStopped) -> None:
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
        part = self._broker.part
        if part is None or part.is_oldest:
            yield from self._kept()
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
        if part is not None:
            yield from cluster_metrics(part, self._comebacks)

    def _shown(self, most: int | None) -> Collection[bytes]:
        """The functions with series of their own. One that has some keeps them until it is gone."""
        names = self._broker.functions.names
        if most is None or len(names) <= most:
            return self._functions.keys()
        present = set(names)
        kept = [name for name in self._had_series if name in present][:most]
        if len(kept) < most:
            known = set(kept)
            kept += islice((name for name in names if name not in known), most - len(kept))
        self._had_series = kept
        return set(kept)

    def _kept(self) -> Iterator[Metric]:
        """What all servers of a cluster have together."""
        letters = self._broker.dead_letters.count
        yield _gauge("gearman_dead_letters", "Background jobs that failed for good and are kept.", letters)
        kept = self._broker.results.kept
        yield _gauge("gearman_results", "Results of background jobs that are kept.", kept.count)
        yield _gauge("gearman_results_bytes", "What they take in memory, about.", kept.size_bytes)
        undone = self._broker.job_batches.undone
        yield _gauge("gearman_batches", "Batches of jobs that are not done: open, or closed.", undone)

    def _parts(self, family: Family, shown: Collection[bytes]) -> Iterator[Metric]:
        """One family in parts with a few functions each. The first part is there even if no function is. What is not
        shown comes last, as one function."""
        names = self._broker.functions.names
        others = Others(family.together)
        for at in range(0, len(names) or 1, FUNCTIONS_AT_ONCE):
            part, hidden = family.empty(), family.empty()
            for name in names[at : at + FUNCTIONS_AT_ONCE]:
                function = self._functions.get(name)
                if function is not None:
                    family.add(part if name in shown else hidden, function)
            others.add(hidden)
            yield part
        if len(names) > len(shown):
            yield others.into(family.empty())


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
