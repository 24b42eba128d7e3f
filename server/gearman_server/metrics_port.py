"""`/metrics` for Prometheus and `/healthz`: the application of the metrics port. Jobs never come in here."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from gearman_server.http_port import Environ, StartResponse, answer


class MetricsApplication:
    """Answers GET and HEAD."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        is_head = method == "HEAD"
        if path not in ("/metrics", "/healthz"):
            return answer(start_response, "404 Not Found", b"there are /metrics and /healthz\n", is_head=is_head)
        if method not in ("GET", "HEAD"):
            environ["gearman.connection"].refuse_body()
            return answer(start_response, "405 Method Not Allowed", b"", ("Allow", "GET, HEAD"))
        if path == "/healthz":
            return answer(start_response, "200 OK", b"ok\n", is_head=is_head)
        content_type = ("Content-Type", CONTENT_TYPE_LATEST)
        return answer(start_response, "200 OK", generate_latest(self._registry), content_type, is_head=is_head)
