"""A real Prometheus scrapes a manager: it takes what it asks for, stores the exemplars, and loads the rules."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from .conftest import RunningManager, eventually

RULES = Path(__file__).parents[2] / "docs" / "monitoring" / "alerts.yml"
TOKEN = "0123456789abcdef"


class Prometheus:
    """A server of its own, which scrapes one target every two seconds."""

    def __init__(self, folder: Path, target: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        job = {
            "job_name": "gearman",
            "scrape_interval": "2s",
            "authorization": {"credentials": TOKEN},
            "static_configs": [{"targets": [target]}],
        }
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump({"scrape_configs": [job], "rule_files": [str(RULES)]}))
        self._log = (folder / "prometheus.log").open("wb")
        options = (f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}")
        more = (f"--web.listen-address=127.0.0.1:{self._port}", "--enable-feature=exemplar-storage")
        self._process = subprocess.Popen(["prometheus", *options, *more], stdout=self._log, stderr=self._log)

    def get(self, resource: str, **query: object) -> Any:
        """The data of an answer; None while there is none."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{resource}?{urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except (urllib.error.URLError, ConnectionError):
            return None

    def value(self, query: str) -> float | None:
        """The value of the one series of a query."""
        data = self.get("query", query=query)
        return float(data["result"][0]["value"][1]) if data and data["result"] else None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


@pytest.fixture
def prometheus(napping: RunningManager, tmp_path: Path) -> Iterator[Prometheus]:
    """It scrapes a manager whose job server has metrics."""
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus here: on Debian and Ubuntu it is a package of this name")
    napping.config_file.write_text(
        "run_dir: run\nserver: {listen: 127.0.0.1:0, metrics_listen: 127.0.0.1:0}\n"
        f"control: {{listen: 127.0.0.1:0, token: {TOKEN}}}\n"
        "pools: {nap: {functions: [nap], min: 1, max: 1}}\n"
    )
    napping.launch()
    eventually(napping.settled, "all workers registered")
    (napping.address,) = napping.status()["servers"]
    found = re.search(r"control API on (127.0.0.1:\d+) too", napping.log())
    assert found is not None
    server = Prometheus(tmp_path, found[1])
    yield server
    server.close()


def test_prometheus_scrapes_a_manager_with_its_job_server(prometheus: Prometheus, napping: RunningManager) -> None:
    began = time.time()
    with napping.client() as client:
        handle = client.submit_background("nap", "0")
    done = f'gearman_jobs_completed_total{{function="nap", server="{napping.address}"}}'
    eventually(lambda: prometheus.value(done) == 1, "the job server's figures are there")
    idle = 'gearman_manager_pool_workers{pool="nap", state="idle"}'
    eventually(lambda: prometheus.value("up") == prometheus.value(idle) == 1, "and those of the manager")

    def handles() -> set[str]:
        query = {"query": "gearman_job_ran_seconds_bucket", "start": began - 60, "end": time.time() + 60}
        series = prometheus.get("query_exemplars", **query) or []
        return {exemplar["labels"]["handle"] for each in series for exemplar in each["exemplars"]}

    eventually(lambda: handle in handles(), "the exemplar is stored")
    groups = prometheus.get("rules")["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    assert len(groups) == 3
