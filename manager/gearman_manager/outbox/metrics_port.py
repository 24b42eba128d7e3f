"""The port on which Prometheus reads a relay's figures: one connection after the other, on a thread of its own."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST

from gearman_client.address import Address
from gearman_manager.errors import ManagerError
from gearman_process.http.bounds import BodyMemory, HttpBounds
from gearman_process.http.connection import HttpConnection
from gearman_process.http.messages import HttpAnswer, HttpRefusal, HttpRequest, text_answer
from gearman_process.http.serving import serve

_log = logging.getLogger("outbox")
#: A peer that keeps its connection keeps others waiting, so it may not for long.
_BOUNDS: Final = HttpBounds(idle_s=2.0, head_s=2.0, request_s=5.0, send_s=5.0)
_PAUSE_S: Final = 0.1


class MetricsPort:
    """Answers `GET /metrics`.

    Raises:
        ManagerError: the address can't be used.
    """

    def __init__(self, address: Address, text: Callable[[], bytes]) -> None:
        self._text = text
        try:
            self._listener = socket.create_server((address.host, address.port), backlog=16)
        except OSError as error:
            raise ManagerError(f"can't listen on {address}: {error.strerror}: choose another --metrics") from error
        self.port: int = self._listener.getsockname()[1]
        _log.info("metrics on http://%s:%d/metrics", address.host, self.port)
        threading.Thread(target=self._serve, name="outbox metrics", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
                connection = HttpConnection(stream, _BOUNDS, BodyMemory(0), lambda: None)
                serve(connection, self._answer, lambda refusal: refusal.answer)
            except OSError:
                time.sleep(_PAUSE_S)  # the peer is gone, or there are no descriptors
            except Exception:  # noqa: BLE001 - the loop's boundary
                _log.exception("metrics: internal error")

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        if request.path != b"/metrics":
            raise HttpRefusal(404, "there is /metrics")
        if request.method not in ("GET", "HEAD"):
            raise HttpRefusal(405, f"{request.method} is not for this port", ("Allow", "GET, HEAD"))
        closes = ("Connection", "close")
        return text_answer(200, self._text(), ("Content-Type", CONTENT_TYPE_LATEST), closes)
