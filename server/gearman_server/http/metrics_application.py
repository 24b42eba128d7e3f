"""`/metrics` for Prometheus, `/healthz`, `/jobs/HANDLE`: the application of the metrics port. No job comes in here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest, text_answer
from gearman_server.http.results import PREFIX, JobPage

if TYPE_CHECKING:
    from gearman_server.http.port import HttpPeer
    from gearman_server.http.web_pages import WebPages


class MetricsApplication:
    """Answers GET and HEAD."""

    def __init__(
        self,
        registry: CollectorRegistry,
        trouble: Callable[[], str | None],
        job_page: Callable[[str, str, str], JobPage],
        pages: WebPages,
    ) -> None:
        """`trouble` says why the server can't accept background jobs, None if it can; `job_page` answers by path, query
        and Accept header; `pages` decides which web pages may read."""
        self._registry = registry
        self._trouble = trouble
        self._job_page = job_page
        self._pages = pages

    def __call__(self, request: HttpRequest, peer: HttpPeer) -> HttpAnswer:
        """Serve one request."""
        self._pages.check(request, peer.identity)
        path = request.path.decode("latin-1")
        if path not in ("/metrics", "/healthz") and not path.startswith(PREFIX):
            raise HttpRefusal(404, "there are /metrics, /healthz and /jobs/HANDLE")
        if request.method not in ("GET", "HEAD"):
            raise HttpRefusal(405, f"{request.method} is not for this port", ("Allow", "GET, HEAD"))
        if path.startswith(PREFIX):
            accept = ", ".join(value for name, value in request.headers if name == "accept")
            page = self._job_page(path, request.query, accept)
            headers = ("Content-Type", page.content_type), ("Cache-Control", "no-store")
            return text_answer(page.status, page.body, *headers)
        if path == "/healthz":
            trouble = self._trouble()
            return text_answer(200, b"ok\n") if trouble is None else text_answer(503, f"{trouble}\n".encode())
        return text_answer(200, generate_latest(self._registry), ("Content-Type", CONTENT_TYPE_LATEST))
