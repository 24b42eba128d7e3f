"""Scrapes of a running manager, over its control socket."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from prometheus_client.metrics_core import Metric

from ..scraped import parsed
from .conftest import RunningManager


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def scrape(manager: RunningManager, accept: str = "") -> dict[str, Metric]:
    """The families by name."""
    connection = UnixConnection(manager.folder / "run" / "control.sock")
    connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200
    is_openmetrics = (answer.getheader("Content-Type") or "").startswith("application/openmetrics-text")
    assert is_openmetrics == bool(accept)
    return parsed(text, is_openmetrics=is_openmetrics)
