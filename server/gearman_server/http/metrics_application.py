"""`/metrics` for Prometheus, `/healthz`, `/jobs/HANDLE`: the application of the metrics port. No job comes in here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from gearman_server.http.port import Environ, StartResponse, answer
from gearman_server.http.results import PREFIX, HttpAnswer


class MetricsApplication:
    """Answers GET and HEAD."""

    def __init__(
        self,
        registry: CollectorRegistry,
        trouble: Callable[[], str | None],
        job_page: Callable[[str, str, str], HttpAnswer],
    ) -> None:
        """`trouble` says why the server can't accept background jobs, None if it can; `job_page` answers by path, query
        and Accept header."""
        self._registry = registry
        self._trouble = trouble
        self._job_page = job_page

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        is_head = method == "HEAD"
        if path not in ("/metrics", "/healthz") and not path.startswith(PREFIX):
            there_is = b"there are /metrics, /healthz and /jobs/HANDLE\n"
            return answer(start_response, "404 Not Found", there_is, is_head=is_head)
        if method not in ("GET", "HEAD"):
            environ["gearman.connection"].refuse_body()
            return answer(start_response, "405 Method Not Allowed", b"", ("Allow", "GET, HEAD"))
        if path.startswith(PREFIX):
            page = self._job_page(path, environ.get("QUERY_STRING", ""), environ.get("HTTP_ACCEPT", ""))
            headers = ("Content-Type", page.content_type), ("Cache-Control", "no-store")
            return answer(start_response, page.status, page.body, *headers, is_head=is_head)
        if path == "/healthz":
            trouble = self._trouble()
            if trouble is not None:
                return answer(start_response, "503 Service Unavailable", f"{trouble}\n".encode(), is_head=is_head)
            return answer(start_response, "200 OK", b"ok\n", is_head=is_head)
        content_type = ("Content-Type", CONTENT_TYPE_LATEST)
        return answer(start_response, "200 OK", generate_latest(self._registry), content_type, is_head=is_head)
