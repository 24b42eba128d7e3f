"""The main purpose: jobs are answered, the pools follow the queue, and the end is clean."""

from __future__ import annotations

import collections
import json
import signal
import subprocess
import threading
import time
from typing import Any

import pytest

from gearman_client import Client, JobException, parse_address

from ..silent_proxy import silent_proxy
from .conftest import RunningManager, alive, eventually

BURST_POOL = "pools: {nap: {functions: [nap], min: 1, max: 8, scale: {target_wait: 2s, cooldown: 2s}}}\n"


def test_a_client_that_comes_before_any_worker_waits_and_is_answered(napping: RunningManager) -> None:
    napping.write_module("first.py", "def first(job): return b'1'\n")
    manager = napping.start("exclude_functions: [nap]\n")
    answers: list[bytes] = []
    with manager.client(timeout_s=30) as client:
        thread = threading.Thread(target=lambda: answers.append(client.submit("late", b"x")))
        thread.start()
        eventually(lambda: _queued(manager, "late") == 1, "the job waits at the server")
        manager.write_module("late.py", "def late(job): return job.workload + b'!'\n")
        thread.join(30)
    assert answers == [b"x!"]


def _queued(manager: RunningManager, function: str) -> int | None:
    host, _, port = manager.address.rpartition(":")
    lines = subprocess.run(
        ["gearadmin", "-h", host, "-p", port, "--status"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    counts = {line.split("\t")[0]: int(line.split("\t")[1]) for line in lines if "\t" in line}
    return counts.get(function)


def test_a_burst_starts_all_workers_within_two_seconds_and_the_cooldown_retires_them(
    manager: RunningManager,
) -> None:
    manager.write_module(
        "nap.py",
        """
        import os
        import time

        def nap(job):
            with open(job.settings["journal"], "a") as journal:
                journal.write(job.workload.decode() + "\\n")
            time.sleep(0.1)
        """,
    )
    journal = manager.folder / "journal"
    manager.start(f"{BURST_POOL}functions: {{nap: {{settings: {{journal: {journal}}}}}}}\n")
    started = time.monotonic()
    with manager.client() as client:
        for number in range(300):
            client.submit_background("nap", str(number))
    eventually(lambda: _registered(manager) == 8, "eight workers", within_s=2 - (time.monotonic() - started))
    eventually(lambda: journal.exists() and len(journal.read_text().splitlines()) >= 300, "all jobs ran")
    runs = collections.Counter(journal.read_text().split())
    assert runs == {str(number): 1 for number in range(300)}
    eventually(lambda: _registered(manager) == 1, "one worker after the cooldown")


def _registered(manager: RunningManager) -> int:
    return sum(worker["state"] in ("idle", "busy") for worker in manager.workers("nap"))


def test_a_failed_job_reports_its_text_and_the_worker_goes_on(manager: RunningManager) -> None:
    manager.write_module(
        "picky.py",
        """
        import sys

        def picky(job):
            if job.workload == b"exit":
                sys.exit(3)
            if job.workload == b"object":
                return object()
            raise ValueError("no such thing: " + job.workload.decode())
        """,
    )
    manager.start("defaults: {max: 1}\n")
    (before,) = manager.workers("picky")
    with manager.client() as client:
        for workload, text in (
            ("tea", "ValueError: no such thing: tea"),
            ("exit", "SystemExit: 3"),
            ("object", "TypeError: the function returned object"),
        ):
            with pytest.raises(JobException, match=text):
                client.submit("picky", workload)
    (after,) = manager.workers("picky")
    assert after["pid"] == before["pid"]
    assert after["failed"] == 3
    assert "picky H:" in manager.log()
    assert 'raise ValueError("no such thing: "' in manager.log()


def test_dates_decimals_and_objects_of_a_function_reach_the_client_as_json(manager: RunningManager) -> None:
    manager.write_module(
        "account.py",
        """
        from dataclasses import dataclass
        from datetime import date
        from decimal import Decimal
        from enum import Enum

        class Kind(Enum):
            OPEN = "open"

        @dataclass
        class Account:
            balance: Decimal
            since: date
            kind: Kind
            tags: set

        def account(job):
            return {"account": Account(Decimal("10.10"), date(2026, 1, 2), Kind.OPEN, {"b", "a"})}
        """,
    )
    manager.start("")
    with manager.client(timeout_s=10) as client:
        account = json.loads(client.submit("account", b""))["account"]
    assert account == {"balance": "10.10", "since": "2026-01-02", "kind": "open", "tags": ["a", "b"]}


def test_a_job_that_takes_too_long_fails_and_can_clean_up(manager: RunningManager) -> None:
    manager.write_module(
        "slow.py",
        """
        import time
        from gearman_manager import JobTimeout, function

        @function(timeout="300ms")
        def slow(job):
            try:
                time.sleep(60)
            except Exception:
                return "swallowed"
            except JobTimeout:
                job.warning(b"cleaned up")
                raise
        """,
    )
    manager.start("")
    warnings: list[bytes] = []
    with manager.client() as client, pytest.raises(JobException, match=r"longer than its timeout of 0\.3 s"):
        client.submit("slow", b"", on_warning=warnings.append)
    assert warnings == [b"cleaned up"]


def test_output_and_log_lines_of_a_worker_are_in_the_log_with_pool_pid_and_handle(manager: RunningManager) -> None:
    manager.write_module(
        "talker.py",
        """
        def talker(job):
            print("printed by hand")
            job.log.warning("logged with %s", "care")
            return job.handle
        """,
    )
    manager.start("log: {format: json}\n")
    with manager.client() as client:
        handle = client.submit("talker", b"").decode()
    (pid,) = [worker["pid"] for worker in manager.workers("talker")]
    eventually(lambda: "logged with care" in manager.log(), "both lines")
    import json

    lines = [json.loads(line) for line in manager.log().splitlines()]
    printed, logged = (
        next(line for line in lines if line["message"] == text) for text in ("printed by hand", "logged with care")
    )
    common = {"pool": "talker", "worker": "talker/1", "pid": pid}
    assert printed.items() >= (common | {"level": "INFO"}).items()
    assert logged.items() >= (common | {"level": "WARNING", "function": "talker", "handle": handle}).items()


def test_stop_finishes_running_jobs_takes_no_new_ones_and_leaves_nothing_behind(napping: RunningManager) -> None:
    manager = napping.start("pools: {nap: {functions: [nap], min: 1, max: 1}}\n")
    answers: list[Any] = []
    with manager.client() as client:
        thread = threading.Thread(target=lambda: answers.append(client.submit("nap", "1.0")))
        thread.start()
        worker = eventually(lambda: [w for w in manager.workers("nap") if w["jobs"]], "the job runs")[0]
        with manager.client() as other:
            waiting = other.submit_background("nap", "0")
        family = manager.family()
        assert manager.stop() == 0
        thread.join(10)
    assert answers == [str(worker["pid"]).encode()]
    assert waiting not in manager.log()
    assert not any(alive(pid) for pid in family)
    assert sorted(file.name for file in (manager.folder / "run").iterdir()) == ["history.db", "lock"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_running_jobs_at_once(napping: RunningManager, number: signal.Signals) -> None:
    manager = napping.start("pools: {nap: {functions: [nap], min: 2, max: 2, stop_timeout: 10m}}\n")
    with manager.client() as client:
        client.submit_background("nap", "600")
    eventually(lambda: [w for w in manager.workers("nap") if w["jobs"]], "the job runs")
    family = manager.family()
    assert manager.process is not None
    manager.process.send_signal(number)
    eventually(lambda: len(manager.workers("nap")) == 1, "the idle worker left, the busy one finishes")
    assert manager.stop(number) == 0
    assert not any(alive(pid) for pid in family)


def test_a_job_that_outlasts_stop_timeout_is_cut_off(napping: RunningManager) -> None:
    manager = napping.start("pools: {nap: {functions: [nap], min: 1, max: 1, stop_timeout: 300ms}}\n")
    with manager.client() as client:
        client.submit_background("nap", "600")
    eventually(lambda: [w for w in manager.workers("nap") if w["jobs"]], "the job runs")
    assert manager.stop(within_s=10) == 0
    assert "did not stop in time" in manager.log()


def test_the_stop_command_ends_the_manager(napping: RunningManager) -> None:
    manager = napping.start("")
    assert manager.command("stop").stdout == "stopped\n"
    assert manager.process is not None
    assert manager.process.wait(5) == 0
    assert "no manager runs" in manager.command("stop", check=False).stderr


def test_workers_serve_several_job_servers(napping: RunningManager, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = RunningManager(tmp_path_factory.mktemp("other"))
    other.write_module("other.py", "def other(job): return b'o'\n")
    try:
        other.start("")
        host_port = other.address
        manager = napping
        manager.start(f"servers: ['{host_port}']\nexclude_functions: []\n")
        assert manager.address == host_port
        with manager.client() as client:
            assert client.submit("nap", "0")
    finally:
        other.destroy()


@pytest.mark.parametrize("concurrency", ["", ", concurrency: 3"])
def test_idle_workers_behind_a_balancer_that_forgot_them_serve_again_within_seconds(
    napping: RunningManager, gearmand: str, concurrency: str
) -> None:
    with silent_proxy(parse_address(gearmand)) as proxy, Client(gearmand, timeout_s=12) as client:
        pool = f"pools: {{nap: {{functions: [nap], max: 2{concurrency}}}}}\n"
        napping.config_file.write_text(f"run_dir: run\nservers: ['{proxy.address}']\n{pool}")
        napping.launch()
        eventually(napping.settled, "all workers registered")
        client.submit("nap", b"0")
        proxy.wait_for_sleeper()
        proxy.forget()
        client.submit("nap", b"0")


def test_a_worker_that_reached_max_jobs_is_replaced_without_a_crash(napping: RunningManager) -> None:
    manager = napping.start("pools: {nap: {functions: [nap], min: 1, max: 1, max_jobs: 2}}\n")
    with manager.client() as client:
        pids = [client.submit("nap", "0") for _ in range(6)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]
    assert manager.status()["pools"]["nap"]["last_error"] == ""
