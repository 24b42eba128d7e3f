"""`/metrics` for Prometheus, `/healthz`, `/jobs/HANDLE`: the application of the metrics port. No job comes in here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Final

import gevent
from gevent.lock import BoundedSemaphore

from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest, text_answer
from gearman_server.http.metrics_page import MetricsPage
from gearman_server.http.results import PREFIX, JobPage

if TYPE_CHECKING:
    from gearman_server.http.port import HttpPeer
    from gearman_server.http.web_pages import WebPages


#: How long an answer is made before others have their turn.
TURN_S: Final = 0.002
#: After a pause of no time gevent may run the greenlet again before it has looked for other events.
PAUSE_S: Final = 0.0005


class MetricsApplication:
    """Answers GET and HEAD."""

    def __init__(
        self,
        metrics: Callable[[MetricsPage], Iterator[bytes]],
        trouble: Callable[[], str | None],
        job_page: Callable[[str, str, str], JobPage],
        pages: WebPages,
    ) -> None:
        """`metrics` makes the text for Prometheus, in pieces; `trouble` says why the server can't accept background
        jobs, None if it can; `job_page` answers by path, query and Accept header; `pages` decides which web pages may
        read.
        """
        self._metrics = metrics
        self._turn = BoundedSemaphore()
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
        metrics = MetricsPage.of(request)
        return HttpAnswer(200, (("Content-Type", metrics.content_type),), self._metrics_in_turns(metrics))

    def _metrics_in_turns(self, page: MetricsPage) -> Iterator[bytes]:
        """A few pieces of one answer, then everybody else has a turn."""
        pieces = self._metrics(page)
        while True:
            with self._turn:
                until = monotonic() + TURN_S
                made = []
                for piece in pieces:
                    made.append(piece)
                    if monotonic() >= until:
                        break
                gevent.sleep(PAUSE_S)
            if not made:
                return
            if text := b"".join(made):
                yield text
