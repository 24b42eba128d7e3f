"""`/metrics` of the control API, scraped from a real manager, in both formats."""

from __future__ import annotations

import os
import signal

import pytest

from ..scraped import OPENMETRICS
from ..scraped import value_of as value
from .conftest import RunningManager, eventually
from .scraping import scrape

CONFIG = """\
pools:
  nap: {functions: [nap], min: 2, max: 2}
  broken: {command: ["sh", "-c", "exit 3"], functions: [nothing], min: 1, max: 1}
"""


@pytest.fixture
def scraped(napping: RunningManager) -> RunningManager:
    """A running manager with a pool that works and one that can't."""
    napping.config_file.write_text(f"run_dir: run\nserver: {{listen: 127.0.0.1:0}}\n{CONFIG}")
    napping.launch()
    eventually(lambda: napping.try_status() is not None, "it has started")

    def is_ready() -> bool:
        report = napping.status()
        pools = report["pools"]
        return pools["broken"]["failing"] and [w["state"] for w in pools["nap"]["workers"]] == ["idle", "idle"]

    eventually(is_ready, "the pools are as they should be")
    (napping.address,) = napping.status()["servers"]
    return napping


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_a_scrape_shows_pools_functions_and_servers(scraped: RunningManager, accept: str) -> None:
    with scraped.client() as client:
        assert client.submit("nap", "0")
    eventually(
        lambda: value(scrape(scraped, accept), "gearman_manager_pool_jobs_total", pool="nap", outcome="done") == 1,
        "the job counts",
    )
    seen = scrape(scraped, accept)
    pool = "gearman_manager_pool_"
    assert value(seen, pool + "workers", pool="nap", state="idle") == 2
    assert value(seen, pool + "workers_target", pool="nap") == 2
    assert value(seen, pool + "worker_starts_total", pool="nap") == 2
    assert value(seen, pool + "worker_start_seconds_count", pool="nap") == 2
    assert 0 < (value(seen, pool + "worker_start_seconds_sum", pool="nap") or 0) < 60
    assert (value(seen, pool + "memory_bytes", pool="nap") or 0) > 100_000
    assert value(seen, pool + "cpu_seconds_total", pool="nap") is not None
    assert value(seen, pool + "failing", pool="nap") == 0
    assert value(seen, pool + "failing", pool="broken") == 1
    assert value(seen, pool + "jobs_total", pool="broken", outcome="done") is None
    assert value(seen, "gearman_manager_function_workers", function="nap") == 2
    assert value(seen, "gearman_manager_job_server_up", server=scraped.address) == 1
    assert value(seen, "gearman_manager_job_server_restarts_total", server=scraped.address) == 0
    assert value(seen, "gearman_manager_log_lines_lost_total", reason="unwritten") == 0
    assert value(seen, "process_cpu_seconds_total") is not None
    eventually(
        lambda: value(scrape(scraped, accept), pool + "limit", pool="broken", limit="back-off") == 1,
        "the pool waits for its next attempt",
    )


def test_a_killed_worker_counts_and_the_series_of_a_pool_vanish_with_it(scraped: RunningManager) -> None:
    before = scrape(scraped)
    assert value(before, "gearman_manager_pool_worker_ends_total", pool="nap", reason="crashed") == 0
    killed = scraped.workers("nap")[0]["pid"]
    os.kill(killed, signal.SIGKILL)
    eventually(
        lambda: value(scrape(scraped), "gearman_manager_pool_worker_ends_total", pool="nap", reason="crashed") == 1,
        "the crash counts",
    )
    assert (
        value(scrape(scraped), "gearman_manager_pool_worker_ends_total", pool="broken", reason="not started") or 0
    ) > 0

    scraped.config_file.write_text(scraped.config_file.read_text().rpartition("  broken:")[0])
    scraped.command("reload")
    eventually(lambda: "broken" not in scraped.status()["pools"], "the pool is gone")
    samples = [sample for family in scrape(scraped).values() for sample in family.samples]
    assert {sample.labels["pool"] for sample in samples if "pool" in sample.labels} == {"nap"}
