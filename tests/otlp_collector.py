"""A small collector: takes OTLP over HTTP, and keeps what it was sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_KINDS: dict[str, Any] = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


class OtlpCollector:
    """The server, and the requests."""

    def __init__(self, port: int = 0) -> None:
        self._requests: dict[str, list[Any]] = {path: [] for path in _KINDS}
        #: Of the last request, by names in lower case.
        self.headers: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.headers = {name.lower(): value for name, value in self.headers.items()}
                collector._requests[self.path].append(_KINDS[self.path].FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.port: int = self._server.server_port

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

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


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
