"""Texts of `/metrics`, read by the library of Prometheus."""

from __future__ import annotations

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

#: The header with which Prometheus asks for OpenMetrics.
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"


def parsed(text: str, *, is_openmetrics: bool) -> dict[str, Metric]:
    """The families by name. Both formats forbid a family that comes twice, and samples outside of their family."""
    families = list(parse_openmetrics(text)) if is_openmetrics else list(parse_text(text))  # type: ignore[no-untyped-call]
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def value_of(families: dict[str, Metric], name: str, **labels: str) -> float | None:
    """The value of the one sample with this name and these labels; None if there is none."""
    samples = (sample for family in families.values() for sample in family.samples)
    found = [sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()]
    assert len(found) < 2, found
    return found[0] if found else None
