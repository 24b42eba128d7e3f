"""The page of `/metrics` as metrics of OpenTelemetry: the same names and labels, cumulative. Counters have no `_total`,
which collectors that write for Prometheus put behind the name again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

SCOPE: Final = "gearman_manager"
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
Labels = tuple[tuple[str, str], ...]
Series = tuple[str, Labels]


class Conversion:
    """Remembers since when each counter counts: one that falls has begun anew, with the process that keeps it."""

    def __init__(self, resource: Resource, version: str, now_ns: int) -> None:
        self._resource = resource
        self._scope = InstrumentationScope(SCOPE, version)
        self._last_ns = now_ns
        #: By series, its beginning (Unix nanoseconds) and its last value.
        self._begun: dict[Series, tuple[int, float]] = {}

    def metrics(self, page: str, now_ns: int) -> MetricsData:
        """The metrics of a page that was made now."""
        seen: dict[Series, tuple[int, float]] = {}
        families = text_string_to_metric_families(page)
        found = [metric for family in families if (metric := self._metric(family, now_ns, seen)) is not None]
        self._begun, self._last_ns = seen, now_ns
        scope = ScopeMetrics(scope=self._scope, metrics=found, schema_url="")
        return MetricsData([ResourceMetrics(resource=self._resource, scope_metrics=[scope], schema_url="")])

    def _metric(self, family: Family, now_ns: int, seen: dict[Series, tuple[int, float]]) -> Metric | None:
        data: Sum | Histogram | Gauge
        if family.type == "counter":
            samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            points = [self._point(sample, self._since(sample, now_ns, seen), now_ns) for sample in samples]
            data = Sum(points, aggregation_temporality=_CUMULATIVE, is_monotonic=True)
        elif family.type == "histogram":
            data = Histogram(list(self._histograms(family, now_ns, seen)), aggregation_temporality=_CUMULATIVE)
        else:
            data = Gauge([self._point(sample, 0, now_ns) for sample in family.samples])
        if not data.data_points:
            return None
        return Metric(family.name, description=family.documentation, unit=family.unit, data=data)

    def _since(self, sample: Sample, now_ns: int, seen: dict[Series, tuple[int, float]]) -> int:
        series = (sample.name, _labels(sample))
        begun_ns, value = self._begun.get(series, (self._last_ns, 0.0))
        if sample.value < value:
            begun_ns = self._last_ns
        seen[series] = (begun_ns, sample.value)
        return begun_ns

    def _point(self, sample: Sample, since_ns: int, now_ns: int) -> NumberDataPoint:
        value = float(sample.value)
        number = int(value) if math.isfinite(value) and value.is_integer() and abs(value) < 2**53 else value
        return NumberDataPoint(dict(sample.labels), since_ns, now_ns, number)

    def _histograms(
        self, family: Family, now_ns: int, seen: dict[Series, tuple[int, float]]
    ) -> Iterator[HistogramDataPoint]:
        by_labels: dict[Labels, list[Sample]] = {}
        for sample in family.samples:
            by_labels.setdefault(_labels(sample, without="le"), []).append(sample)
        for labels, samples in by_labels.items():
            of_buckets = [sample for sample in samples if sample.name.endswith("_bucket")]
            buckets = sorted((float(sample.labels["le"]), sample.value) for sample in of_buckets)
            counts = [sample for sample in samples if sample.name.endswith("_count")]
            sums = [sample.value for sample in samples if sample.name.endswith("_sum")]
            if not buckets or not counts:
                continue
            yield HistogramDataPoint(
                attributes=dict(labels),
                start_time_unix_nano=self._since(counts[0], now_ns, seen),
                time_unix_nano=now_ns,
                count=int(counts[0].value),
                sum=sums[0] if sums else 0.0,
                bucket_counts=_differences(value for _, value in buckets),
                explicit_bounds=[bound for bound, _ in buckets if math.isfinite(bound)],
                min=math.inf,
                max=-math.inf,
            )


def _labels(sample: Sample, without: str = "") -> Labels:
    return tuple(sorted((name, value) for name, value in sample.labels.items() if name != without))


def _differences(values: Iterable[float]) -> list[int]:
    """The numbers of the buckets alone, from those of each with all below it."""
    before, found = 0.0, []
    for value in values:
        found.append(int(value - before))
        before = value
    return found
