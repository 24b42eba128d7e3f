"""The relay: rows become jobs after the commit, in order; what can't is set aside, and nothing else waits for it."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Client, Worker, WorkerJob, outbox

from ...gearmand import running_gearmand
from ..conftest import RunningManager, eventually
from .conftest import OutboxServer, RelayProcess, Shop


def has_job(server: OutboxServer, workload: str) -> bool:
    return workload in server.jobs()


def of_key(jobs: list[str], key: str) -> list[str]:
    return [job for job in jobs if job.startswith(f"{key}-")]


def test_rows_become_jobs_in_order_soon_after_the_commit(
    shop: Shop, server: OutboxServer, start_relay: Callable[..., RelayProcess]
) -> None:
    relay = start_relay(shop, server)
    relay.wait_for_log("answers")
    delays = []
    with shop.database.connect() as connection:
        for number in range(40):
            with connection.begin():
                outbox.background(connection, "f", f"a-{number:04}", key="a")
                assert f"a-{number:04}" not in server.jobs()
            committed = time.monotonic()
            eventually(partial(has_job, server, f"a-{number:04}"), "the job is there")
            delays.append(time.monotonic() - committed)
    delays.sort()
    print(f"{shop.database.kind}: commit to job, ms: median {delays[20] * 1000:.0f}, most {delays[-1] * 1000:.0f}")
    assert delays[-2] < 2.0
    shop.add(*(f"b-{number:04}" for number in range(400)), key="b")
    shop.add(*(f"c-{number:04}" for number in range(700)))
    shop.until_empty()
    jobs = server.jobs()
    assert of_key(jobs, "a") == [f"a-{number:04}" for number in range(40)]
    assert of_key(jobs, "b") == [f"b-{number:04}" for number in range(400)]
    assert of_key(jobs, "c") == [f"c-{number:04}" for number in range(700)]
    assert relay.stop(signal.SIGINT) == 0
    assert relay.log().rstrip().endswith("ended")


def test_a_job_runs_with_the_options_of_its_row(
    small_shop: Shop, server: OutboxServer, start_relay: Callable[..., RelayProcess]
) -> None:
    start_relay(small_shop, server)
    options: dict[str, Any] = {
        "tags": ["a&b", "ß"],
        "key": "k=1",
        "headers": {"x": "a=b&c%"},
        "unique": "ü",
        "priority": 7,
    }
    small_shop.add("work", **options)
    told = []

    def work(job: WorkerJob) -> None:
        told.append((job.workload, job.unique, job.tags, job.key, dict(job.headers), job.priority))
        worker.stop()

    with Worker(server.address) as worker:
        worker.register("f", work)
        worker.work()
    assert told == [(b"work", "ü", ("a&b", "ß"), "k=1", {"x": "a=b&c%"}, 7)]


def test_rows_that_no_server_takes_are_set_aside_with_the_reason_and_can_be_changed_by_hand(
    shop: Shop, start_server: Callable[..., OutboxServer], start_relay: Callable[..., RelayProcess], tmp_path: Path
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {f: {allow_options: [submission, key]}, full: {max_queue: 1}}\n")
    server = start_server("--policies", str(policies), "--max-packet-size", "1000000")
    relay = start_relay(shop, server, options=("--retries", "1"))
    shop.add("k-1", key="k", retries=3)
    shop.add("k-2", key="k")
    shop.add("full-1", "full-2", function="full", key="full")
    by_hand = "submission, function_name, job_options, workload"
    shop.database.execute(f"INSERT INTO gearman_outbox ({by_hand}) VALUES ('s', 'f', 'retries', 'by hand')")
    shop.add("x" * 2_000_000, "behind", function="large")
    aside = shop.until_aside(4)
    assert [function for _, function, _, _ in aside] == ["f", "full", "f", "large"]
    expected = ("INVALID_OPTION: retries", "QUEUE_ERROR", "key=value", server.address)
    for (_, _, _, reason), words in zip(aside, expected, strict=True):
        assert words in reason
    eventually(lambda: sorted(server.jobs()) == ["behind", "full-1", "k-2"], "the others are jobs")
    assert relay.log().count("set aside") == 4
    print(aside[3][2:])
    assert "INVALID_OPTION" in shop.command("list", "--aside").stdout
    listed = json.loads(shop.command("list", "f", "--json").stdout)
    assert [row["workload_start"] for row in listed] == ["k-1", "by hand"]

    policies.write_text("{}\n")
    assert server.process is not None
    server.process.signal(signal.SIGHUP)
    server.process.wait_for_log("policies")
    assert shop.command("retry", aside[0][0], aside[1][0]).stdout == "2 are tried again\n"
    eventually(lambda: {"full-2", "k-1"} <= set(server.jobs()), "they are handed over")
    shop.until_aside(2)
    assert shop.command("drop", aside[2][0], aside[3][0]).stdout == "2 deleted\n"
    assert shop.rows() == []
    gone = shop.command("drop", aside[2][0])
    assert (gone.returncode, gone.stderr.partition(":")[2]) == (
        1,
        " 0 of 1 deleted: there are no others of these that are set aside\n",
    )


def test_a_refused_row_holds_its_own_key_alone(
    small_shop: Shop,
    start_server: Callable[..., OutboxServer],
    start_relay: Callable[..., RelayProcess],
    tmp_path: Path,
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {full: {max_queue: 1}}\n")
    server = start_server("--policies", str(policies))
    start_relay(small_shop, server)
    small_shop.add("full-1", function="full")
    small_shop.until_empty()
    small_shop.add("k-0", function="full", key="k")
    small_shop.add(*(f"k-{number}" for number in range(1, 600)), key="k")
    small_shop.add(*(f"other-{number}" for number in range(600)), key="other")
    eventually(lambda: len(of_key(server.jobs(), "other")) == 600, "other keys go on")
    assert of_key(server.jobs(), "k") == []
    policies.write_text("{}\n")
    assert server.process is not None
    server.process.signal(signal.SIGHUP)
    small_shop.until_empty()
    assert of_key(server.jobs(), "k") == [f"k-{number}" for number in range(600)]


def test_the_job_servers_are_those_of_a_configuration(small_shop: Shop, server: OutboxServer, tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "config.yaml").write_text(f"servers: [{server.address}]\n")
    relay = RelayProcess(small_shop.url, tmp_path / "relay.log", "-c", str(tmp_path / "config.yaml"))
    try:
        relay.wait_for_log(f"to {server.address}\n")
        small_shop.add("1")
        small_shop.until_empty()
        assert len(server.jobs()) == 1
    finally:
        relay.kill()


def test_rows_that_an_ending_server_does_not_take_go_to_another_one(
    small_shop: Shop, start_server: Callable[..., OutboxServer], start_relay: Callable[..., RelayProcess]
) -> None:
    ending, other = start_server(), start_server()
    relay = start_relay(small_shop, ending, other)
    eventually(lambda: relay.log().count("answers") == 2, "both answer")
    with Worker(ending.address) as worker, Client(ending.address) as client:
        worker.register("g")
        client.submit_background("g", b"held")
        assert worker.grab(timeout_s=20) is not None
        assert ending.process is not None
        ending.process.signal(signal.SIGUSR1)  # it finishes that job
        ending.process.wait_for_log("ending gracefully")
        small_shop.add(*(f"any-{number}" for number in range(20)))
        small_shop.until_empty()
        assert sorted(other.jobs()) == sorted(f"any-{number}" for number in range(20))
    assert small_shop.rows() == []


def test_other_job_servers_are_refused_at_the_start(small_shop: Shop, tmp_path: Path) -> None:
    with running_gearmand(tmp_path) as gearmand:
        done = small_shop.command("relay", "--servers", str(gearmand.address))
    assert done.returncode == 1
    assert "is no gearman-server: it knows no ids of submissions" in done.stderr


def test_mistakes_are_sentences(small_shop: Shop, tmp_path: Path) -> None:
    empty = Shop.__new__(Shop)
    empty.database = small_shop.database
    small_shop.database.execute("DROP TABLE gearman_outbox")
    without = empty.command("relay", "--servers", "127.0.0.1:1")
    assert "has no table gearman_outbox" in without.stderr
    assert "has no table" in empty.command("list").stderr
    assert empty.command("create").stdout == "gearman_outbox is there\n"
    assert empty.command("list").stderr == "there is no such row\n"
    for url, text in (
        ("oracle://x", "is no database for an outbox"),
        ("x", "no URL of a database"),
        ("sqlite:///", "needs the file"),
        (f"sqlite:///{tmp_path}/none.db", "there is no file"),
    ):
        other = Shop.__new__(Shop)
        other.database = type("Url", (), {"url": url})()
        done = other.command("list")
        assert (done.returncode, text in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_figures_for_prometheus(
    small_shop: Shop, server: OutboxServer, start_relay: Callable[..., RelayProcess]
) -> None:
    relay = start_relay(small_shop, server, options=("--metrics", "127.0.0.1:0"))
    relay.wait_for_log("/metrics")
    small_shop.add("1", "2", "3")
    small_shop.until_empty()
    url = relay.log().partition("metrics on ")[2].split()[0]

    def text() -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    eventually(
        lambda: f'gearman_outbox_handed_over_total{{server="{server.address}"}} 3.0' in text(), "they are counted"
    )
    assert "gearman_outbox_delay_seconds_count 3.0" in text()
    assert f'gearman_outbox_server_up{{server="{server.address}"}} 1.0' in text()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[RunningManager]:
    running = RunningManager(tmp_path)
    yield running
    running.destroy()


def test_a_pool_of_the_manager_runs_the_relay_and_replaces_it(small_shop: Shop, manager: RunningManager) -> None:
    manager.write_module("f.py", "def f(job):\n    open(job.workload, 'x')\n")
    manager.workers_dir.mkdir(exist_ok=True)
    manager.start(
        f"""
        workers_dir: workers
        pools:
          outbox: {{command: gearman-manager outbox, env: {{GEARMAN_OUTBOX_URL: "{small_shop.url}"}}, max: 1}}
        """
    )
    for name in ("first", "second"):
        small_shop.add(str(manager.folder / name))
        eventually((manager.folder / name).exists, "the job has run")
        for worker in manager.workers("outbox"):
            import os

            os.kill(worker["pid"], signal.SIGKILL)
    assert manager.stop() == 0
