"""Scrapes of a running manager, over its control socket."""

from __future__ import annotations

from prometheus_client.metrics_core import Metric

from gearman_process.http.unix_connection import UnixConnection

from ..scraped import parsed
from .conftest import RunningManager


def scrape(manager: RunningManager, accept: str = "") -> dict[str, Metric]:
    """The families by name."""
    connection = UnixConnection(manager.folder / "run" / "control.sock", 20)
    connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200
    is_openmetrics = (answer.getheader("Content-Type") or "").startswith("application/openmetrics-text")
    assert is_openmetrics == bool(accept)
    return parsed(text, is_openmetrics=is_openmetrics)
