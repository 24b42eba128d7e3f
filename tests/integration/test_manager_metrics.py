"""`/metrics` of the control API, scraped from a real manager, in both formats."""

from __future__ import annotations

import http.client
import os
import re
import signal

import psutil
import pytest
from prometheus_client.metrics_core import Metric

from gearman_client import Client

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


def test_a_scrape_shows_pools_functions_and_servers_in_both_formats(scraped: RunningManager) -> None:
    with scraped.client() as client:
        assert client.submit("nap", "0")
    eventually(
        lambda: value(scrape(scraped), "gearman_manager_pool_jobs_total", pool="nap", outcome="done") == 1,
        "the job counts",
    )
    eventually(
        lambda: value(scrape(scraped), "gearman_manager_function_workers", function="nap") == 2,
        "the job server has told of both workers",
    )
    check_one_job(scraped, scrape(scraped))
    check_one_job(scraped, scrape(scraped, OPENMETRICS))
    eventually(
        lambda: value(scrape(scraped), "gearman_manager_pool_limit", pool="broken", limit="back-off") == 1,
        "the pool waits for its next attempt",
    )


def check_one_job(scraped: RunningManager, seen: dict[str, Metric]) -> None:
    """Check the figures after one job of `nap`."""
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
    assert value(seen, "gearman_manager_finished_jobs_missed_total") == 0
    assert value(seen, "process_cpu_seconds_total") is not None


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


@pytest.fixture
def twins(napping: RunningManager) -> RunningManager:
    """A running manager with two job servers, which have metrics."""
    napping.config_file.write_text(
        "run_dir: run\nserver: {listen: 127.0.0.1:0, metrics_listen: 127.0.0.1:0, instances: 2}\n"
        "pools: {nap: {functions: [nap], min: 1, max: 1}}\n"
    )
    napping.launch()
    eventually(napping.settled, "all workers registered")
    return napping


def test_the_bundled_servers_metrics_are_on_the_page_too_each_with_its_address(twins: RunningManager) -> None:
    first, second = twins.status()["servers"]
    with Client([first]) as client:
        client.submit("nap", "0")
    check_twins(scrape(twins), first, second)
    seen = scrape(twins, OPENMETRICS)
    check_twins(seen, first, second)
    [exemplar] = [s.exemplar for s in seen["gearman_job_ran_seconds"].samples if s.exemplar is not None]
    assert exemplar.labels["handle"].startswith("H:")


def check_twins(seen: dict[str, Metric], first: str, second: str) -> None:
    """Check the figures of two servers, of which the first one has had a job."""
    for server, jobs in ((first, 1), (second, None)):
        assert value(seen, "gearman_manager_job_server_scraped", server=server) == 1
        assert value(seen, "gearman_jobs_completed_total", server=server, function="nap") == jobs
        assert value(seen, "gearman_workers", server=server, function="nap") == 1
        assert value(seen, "gearman_store_up", server=server) == 1
        assert value(seen, "gearman_job_ran_seconds_count", server=server) == jobs
        assert value(seen, "process_resident_memory_bytes", server=server)
    assert len(seen["process_resident_memory_bytes"].samples) == 3


def test_a_server_that_does_not_answer_costs_its_series_alone(twins: RunningManager) -> None:
    first, second = twins.status()["servers"]
    families = [psutil.Process(pid) for pid in twins.family()]
    server = next(
        each
        for each in families
        if " ".join(each.cmdline()).startswith("gearman-server") and first in str(each.cmdline())
    )
    server.suspend()
    try:
        seen = scrape(twins)
        assert value(seen, "gearman_manager_job_server_scraped", server=first) == 0
        assert value(seen, "gearman_manager_job_server_scraped", server=second) == 1
        assert value(seen, "gearman_store_up", server=first) is None
        assert value(seen, "gearman_manager_pool_workers_target", pool="nap") == 1
    finally:
        server.resume()
    eventually(lambda: value(scrape(twins), "gearman_store_up", server=first) == 1, "it is back on the page")
    assert len(re.findall("no metrics of job server 1: no answer within", twins.log())) == 1


def test_on_the_tcp_address_whoever_may_look_may_scrape_and_nobody_else(napping: RunningManager) -> None:
    for name in ("token", "read"):
        file = napping.folder / name
        file.write_text(f"{name}-0123456789abcdef\n")
        file.chmod(0o600)
    napping.start(
        "pools: {nap: {functions: [nap], min: 1, max: 1}}\n"
        "control: {listen: 127.0.0.1:0, token_file: token, read_token_file: read}\n"
    )
    found = re.search(r"control API on 127.0.0.1:(\d+) too", napping.log())
    assert found is not None
    statuses = {}
    for token in ("", "wrong", "read-0123456789abcdef", "token-0123456789abcdef"):
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        statuses[token.partition("-")[0]] = answer.status, b"gearman_manager_pool_workers" in answer.read()
        connection.close()
    assert statuses == {"": (401, False), "wrong": (401, False), "read": (200, True), "token": (200, True)}
