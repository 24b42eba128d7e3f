"""A small collector: takes OTLP over HTTP, and keeps what it was sent."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .http_receiver import HttpReceiver

_KINDS: dict[str, Any] = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


class OtlpCollector(HttpReceiver):
    """The server, and the requests."""

    def __init__(self, port: int = 0) -> None:
        self._requests: dict[str, list[Any]] = {path: [] for path in _KINDS}
        #: Of the last request, by names in lower case.
        self.headers: dict[str, str] = {}
        super().__init__(port)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.headers = headers
        self._requests[path].append(_KINDS[path].FromString(body))
        return 200, {}

    @property
    def spans(self) -> list[Any]:
        """All spans so far."""
        return [
            span
            for request in list(self._requests["/v1/traces"])
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of the last request, by name."""
        return {
            metric.name: metric
            for request in self._requests["/v1/metrics"][-1:]
            for of_resource in request.resource_metrics
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
        }

    @property
    def resource(self) -> dict[str, str]:
        """The resource of the last metrics."""
        request = self._requests["/v1/metrics"][-1]
        return values(request.resource_metrics[0].resource.attributes)


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def otlp_collector(port: int = 0) -> Iterator[OtlpCollector]:
    """A collector that is gone afterwards."""
    collector = OtlpCollector(port)
    try:
        yield collector
    finally:
        collector.close()
