"""A worker's limits: it is replaced in time, exactly at the limit, and a job that hangs is ended."""

from __future__ import annotations

import threading
import time

import pytest

from gearman_client import GearmanError, JobException, JobFailed

from .conftest import RunningManager, alive, eventually

PID = """
import os
import time


def pid(job):
    time.sleep(float(job.workload or b"0"))
    return str(os.getpid())
"""


def test_max_jobs_is_exact_and_the_replacement_is_registered_before_the_last_job_ends(manager: RunningManager) -> None:
    manager.write_module("pid.py", PID)
    manager.start("pools: {pid: {functions: [pid], min: 1, max: 1, max_jobs: 3}}\n")
    with manager.client() as client:
        pids = [client.submit("pid", "0.05") for _ in range(12)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3, 3]
        client.submit("pid", "0")
        client.submit("pid", "0")
        last = threading.Thread(target=client.submit, args=("pid", "2"))
        last.start()
        eventually(lambda: len(manager.workers("pid")) == 2, "the replacement is there while the last job runs")
        last.join()
    eventually(manager.settled, "one worker is left")
    assert manager.status()["pools"]["pid"]["last_error"] == ""


def test_max_lifetime_replaces_the_workers_one_by_one_without_a_gap(manager: RunningManager) -> None:
    manager.write_module("pid.py", PID)
    manager.start("pools: {pid: {functions: [pid], min: 3, max: 3, max_lifetime: 2s}}\n")
    first = {worker["pid"] for worker in manager.workers("pid")}
    errors: list[GearmanError] = []
    stop = threading.Event()

    def load() -> None:
        with manager.client(timeout_s=10) as client:
            while not stop.is_set():
                try:
                    client.submit("pid", "0.01")
                except GearmanError as error:
                    errors.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    counts = []

    def all_new() -> bool:
        workers = manager.workers("pid")
        counts.append(sum(worker["state"] in ("idle", "busy") for worker in workers))
        return not first & {worker["pid"] for worker in workers}

    eventually(all_new, "all were replaced")
    stop.set()
    thread.join()
    assert errors == []
    assert min(counts) >= 3
    assert max(counts) <= 5


def test_a_worker_above_max_memory_is_replaced_after_its_job(manager: RunningManager) -> None:
    manager.write_module(
        "greedy.py",
        """
        import os
        kept = []

        def greedy(job):
            if job.workload:
                kept.append(b"x" * int(job.workload))
            return str(os.getpid())
        """,
    )
    manager.start("pools: {greedy: {functions: [greedy], min: 1, max: 1, max_memory: 60MB}}\n")
    with manager.client() as client:
        small = client.submit("greedy", "20000000")
        assert client.submit("greedy", "") == small
        assert client.submit("greedy", "50000000") == small
        eventually(lambda: client.submit("greedy", "") != small, "another worker answers")
    assert "reached its max_memory" in manager.log()
    assert manager.status()["pools"]["greedy"]["last_error"] == ""


def test_a_job_that_takes_far_more_than_max_memory_is_killed(manager: RunningManager) -> None:
    manager.write_module(
        "glutton.py",
        """
        import time

        def glutton(job):
            kept = b"x" * 200_000_000
            time.sleep(600)
        """,
    )
    manager.start("pools: {glutton: {functions: [glutton], min: 1, max: 1, max_memory: 60MB}}\n")
    with manager.client() as client:
        client.submit_background("glutton", b"")
    eventually(lambda: "times its max_memory" in manager.status()["pools"]["glutton"]["last_error"], "it is killed")


@pytest.mark.parametrize("hang", ["while True: time.sleep(1)", "while True: pass"])
def test_a_job_that_blocks_every_signal_fails_soon_after_its_limit_and_its_worker_is_gone(
    manager: RunningManager, hang: str
) -> None:
    manager.write_module(
        "hang.py",
        f"""
        import os
        import signal
        import time

        def hang(job):
            signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
            job.data(str(os.getpid()).encode())
            {hang}
        """,
    )
    manager.start("functions: {hang: {timeout: 1s}}\npools: {hang: {functions: [hang], min: 1, max: 1}}\n")
    pids: list[bytes] = []
    started = time.monotonic()
    with manager.client(timeout_s=30) as client, pytest.raises((JobException, JobFailed)):
        client.submit("hang", b"", on_data=pids.append)
    assert time.monotonic() - started < 1 + 2 + 1  # the limit, two seconds, and one for a busy machine
    assert len(pids) == 1
    eventually(lambda: not alive(int(pids[0])), "the worker is gone")
    eventually(manager.settled, "a replacement is there")
    assert "did not react to its timeout" in manager.status()["pools"]["hang"]["last_error"]
