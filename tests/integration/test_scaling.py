"""Scaling with real processes: bursts, shrinking to zero and back, several managers, servers that go away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest

from gearman_client import Client, connect_admin

from .conftest import RunningManager, eventually

POOL_OF_TEN = "pools: {nap: {functions: [nap], min: 1, max: 10, scale: {target_wait: 2s, cooldown: 1s}}}\n"


def start(manager: RunningManager, config: str, *, name: str = "run") -> RunningManager:
    """Start a manager whose pools may be empty and whose server may be another one's; wait until the servers answer."""
    manager.workers_dir.mkdir(exist_ok=True)
    manager.config_file.write_text(f"run_dir: {name}\n{config}")
    manager.launch()
    report = eventually(lambda: _report_with_servers(manager), f"the job server answers\n{manager.log()}")
    (manager.address,) = report["servers"]
    return manager


def _report_with_servers(manager: RunningManager) -> dict[str, dict[str, object]] | None:
    report = manager.try_status()
    if report is None or not report["servers"]:
        return None
    return report if all(server["up"] for server in report["servers"].values()) else None


def workers_at(address: str, function: str = "nap") -> int:
    """The number of workers that the job server knows."""
    with connect_admin(address) as admin:
        return sum(row.workers for row in admin.status() if row.function == function)


def jobs_at(address: str, function: str = "nap") -> tuple[int, int]:
    """The numbers of jobs and of running jobs at the job server."""
    with connect_admin(address) as admin:
        return next((row.total, row.running) for row in admin.status() if row.function == function)


def sizes(manager: RunningManager) -> list[int]:
    """All targets of the pool so far, in order."""
    return [int(number) for number in re.findall(r"nap: \d+ → (\d+) workers", manager.log())]


def test_a_burst_into_an_idle_system_starts_the_whole_pool_at_once(napping: RunningManager) -> None:
    manager = napping.start(POOL_OF_TEN)
    with connect_admin(manager.address) as admin, manager.client() as client:
        started = time.monotonic()
        for _ in range(60):
            client.submit_background("nap", "0.3")

        def registered(count: int) -> bool:
            return next(row.workers for row in admin.status() if row.function == "nap") >= count

        eventually(lambda: registered(2), "the first extra worker")
        first_s = time.monotonic() - started
        eventually(lambda: registered(10), "all ten")
        all_s = time.monotonic() - started
    # The goals are 0.25 s and 1 s; a manager that asks the server every second would already miss these.
    assert first_s < 0.6, manager.log()
    assert all_s < 1.5, manager.log()
    assert "tells of its queues" in manager.log()


def test_a_pool_with_min_0_starts_empty_shrinks_to_zero_when_idle_and_comes_back(napping: RunningManager) -> None:
    pool = "{functions: [nap], min: 0, max: 3, scale: {target_wait: 2s, cooldown: 300ms, idle: 600ms}}"
    manager = start(napping, f"server: {{listen: 127.0.0.1:0}}\npools: {{nap: {pool}}}\n")
    assert manager.workers("nap") == []
    with manager.client(timeout_s=20) as client:
        first = client.submit("nap", "0")
        done_at = time.monotonic()
        eventually(lambda: workers_at(manager.address) == 0, "the pool goes to zero")
        assert time.monotonic() - done_at >= 0.5
        assert client.submit("nap", "0") != first
    assert sizes(manager)[:3] == [1, 0, 1]


def test_a_busy_worker_is_never_retired(napping: RunningManager) -> None:
    pool = "{functions: [nap], min: 1, max: 4, scale: {target_wait: 2s, cooldown: 300ms}}"
    manager = napping.start(f"pools: {{nap: {pool}}}\n")
    with manager.client() as client:
        for _ in range(3):
            client.submit_background("nap", "600")
        eventually(lambda: sum(bool(w["jobs"]) for w in manager.workers("nap")) == 3, "three run")
        for _ in range(40):
            client.submit_background("nap", "0.01")
        eventually(lambda: jobs_at(manager.address) == (3, 3), "a fourth served the short ones")
        eventually(lambda: workers_at(manager.address) == 3, "it goes when the cooldown is over")
        assert jobs_at(manager.address) == (3, 3)
    assert sum(bool(worker["jobs"]) for worker in manager.workers("nap")) == 3


def test_two_managers_on_one_server_share_the_work_and_settle_without_oscillating(
    napping: RunningManager, second: RunningManager
) -> None:
    first = start(napping, f"server: {{listen: 127.0.0.1:0}}\n{POOL_OF_TEN}", name="one")
    start(second, f"servers: ['{first.address}']\n{POOL_OF_TEN}", name="two")
    both = (first, second)
    eventually(lambda: all("2 managers serve" in manager.log() for manager in both), "they know of each other")
    with first.client() as client:
        for _ in range(8):
            client.submit_background("nap", "4")
        eventually(lambda: [len(m.workers("nap")) for m in both] == [4, 4], "four each for eight jobs")
        eventually(lambda: workers_at(first.address) == 2, "one each when the work is done")
    for manager in both:
        targets = sizes(manager)
        top = targets.index(max(targets))
        assert max(targets) == 4, manager.log()
        assert targets[: top + 1] == sorted(targets[: top + 1]), manager.log()
        assert targets[top:] == sorted(targets[top:], reverse=True), manager.log()
        assert targets[-1] == 1
        assert "shared by 2 managers" in manager.log()


def test_one_manager_takes_over_the_jobs_of_another_that_was_killed(
    napping: RunningManager, second: RunningManager
) -> None:
    first = start(napping, f"server: {{listen: 127.0.0.1:0}}\n{POOL_OF_TEN}", name="one")
    start(second, f"servers: ['{first.address}']\n{POOL_OF_TEN}", name="two")
    eventually(lambda: all("2 managers serve" in m.log() for m in (first, second)), "they know of each other")
    with first.client() as client:
        for _ in range(6):
            client.submit_background("nap", "600")
        eventually(lambda: [len(m.workers("nap")) for m in (first, second)] == [3, 3], "three each")
        family = second.family()
        os.kill(family[0], signal.SIGKILL)
        for pid in family[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        eventually(lambda: len(first.workers("nap")) == 6, "all six jobs run here")


def test_a_stalled_server_stalls_no_other_and_the_pool_keeps_its_size(napping: RunningManager) -> None:
    manager = napping.start(POOL_OF_TEN)
    with manager.client() as client:
        for _ in range(4):
            client.submit_background("nap", "3")
        eventually(lambda: len(manager.workers("nap")) == 4, "four workers")
    server = manager.pid_of("gearman-server")
    os.kill(server, signal.SIGSTOP)
    try:
        eventually(lambda: not manager.status()["servers"][manager.address]["up"], "it counts as down")
        asked_at = time.monotonic()
        status = manager.status()
        assert time.monotonic() - asked_at < 2
        assert status["servers"][manager.address]["since"] > status["supervisor"]["since"]
        # All four jobs end, and the cooldown is over, before the server is there again.
        eventually(lambda: all(not worker["jobs"] for worker in manager.workers("nap")), "the jobs are done")
        assert len(manager.workers("nap")) == 4
    finally:
        os.kill(server, signal.SIGCONT)
    eventually(lambda: len(manager.workers("nap")) == 1, "it answers again, and three were too many")


def test_gearmand_is_asked_for_its_queues_and_foreign_workers_are_counted(
    napping: RunningManager, gearmand: str
) -> None:
    manager = start(napping, f"servers: ['{gearmand}']\n{POOL_OF_TEN}")
    assert "is asked for its queues" in manager.log()
    eventually(lambda: workers_at(gearmand) == 1, "one worker")
    host, port = gearmand.split(":")
    with subprocess.Popen(["gearman", "-h", host, "-p", port, "-w", "-f", "nap", "sleep", "600"]) as foreign:
        try:
            eventually(lambda: workers_at(gearmand) == 2, "a worker that is not ours")
            with Client([gearmand]) as client:
                for _ in range(5):
                    client.submit_background("nap", "600")
                eventually(lambda: workers_at(gearmand) == 5, "four of ours beside it")
        finally:
            foreign.kill()
    assert max(sizes(manager)) == 4, manager.log()
    assert "1 foreign workers" in manager.log()


@pytest.mark.parametrize("minimum", [0, 1])
def test_delayed_jobs_on_a_gearmand_start_one_worker_and_a_burst_starts_them_all(
    napping: RunningManager, gearmand: str, minimum: int
) -> None:
    """gearmand's `status` counts delayed jobs as waiting."""
    pools = POOL_OF_TEN.replace("min: 1", f"min: {minimum}")
    manager = start(napping, f"servers: ['{gearmand}']\n{pools}")
    with Client([gearmand]) as client:
        for _ in range(100):
            client.submit_background("nap", "0", delay=3600)
        eventually(lambda: manager.status()["functions"]["nap"]["queued"] == 100, "they are known")
        eventually(lambda: manager.status()["pools"]["nap"]["target"] == 1, "one worker is wanted")
        eventually(lambda: workers_at(gearmand) == 1, "and there")
        for _ in range(60):
            client.submit_background("nap", "1")
        eventually(lambda: manager.status()["pools"]["nap"]["target"] == 10, "now all are wanted")
        eventually(lambda: manager.status()["functions"]["nap"]["queued"] == 100, "the burst is over", within_s=60)
        eventually(lambda: manager.status()["pools"]["nap"]["target"] == 1, "one stays")
    grown = sizes(manager)
    assert max(grown[: grown.index(10)], default=1) == 1, f"the delayed jobs alone made it grow: {grown}"
