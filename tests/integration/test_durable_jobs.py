"""Background jobs of a manager whose bundled server stores them in a file: they run, whichever process is killed."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from gearman_client import Client, ServerError

from .conftest import RunningManager, eventually

MODULE = """
import os
import time

def note(job):
    time.sleep(0.05)
    with open(job.settings["journal"], "a") as journal:
        journal.write(job.workload.decode() + "\\n")
"""


@pytest.fixture
def durable(manager: RunningManager) -> RunningManager:
    """A manager with a store in its folder, and a function that records what it has done."""
    manager.write_module("note.py", MODULE)
    manager.config_file.write_text(
        "run_dir: run\n"
        "server: {listen: '127.0.0.1:0', store: 'sqlite:///jobs.db'}\n"
        f"functions: {{note: {{settings: {{journal: {manager.folder / 'journal'}}}}}}}\n"
    )
    manager.launch()
    eventually(manager.settled, "all workers registered")
    (manager.address,) = manager.status()["servers"]
    return manager


def journal(manager: RunningManager) -> set[str]:
    file: Path = manager.folder / "journal"
    return set(file.read_text().split()) if file.exists() else set()


def submit(client: Client, numbers: range) -> None:
    for number in numbers:
        client.submit_background("note", str(number))


def test_jobs_survive_the_death_of_their_server_and_of_all_processes(durable: RunningManager) -> None:
    with durable.client() as client:
        submit(client, range(20))
    os.kill(durable.pid_of("gearman-server"), signal.SIGKILL)
    eventually(lambda: journal(durable) >= {str(number) for number in range(20)}, "all jobs are done", within_s=30)
    with durable.client() as client:
        submit(client, range(20, 40))
    durable.destroy()
    durable.launch()
    eventually(lambda: journal(durable) >= {str(number) for number in range(40)}, "all jobs are done", within_s=30)
    assert durable.stop() == 0
    assert (durable.folder / "jobs.db").exists()


def test_a_job_server_that_can_not_store_fails_the_health_check_until_it_can(durable: RunningManager) -> None:
    assert durable.command("health").stdout.startswith("1 worker in 1 pool")
    server = durable.pid_of("gearman-server")
    # No file of the server may grow beyond this: writes fail, as on a full disk.
    resource.prlimit(server, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    def is_refused() -> bool:
        with durable.client() as client:
            try:
                client.submit_background("note", "0" * 50_000)
            except ServerError:
                return True
        return False

    eventually(is_refused, "background jobs are refused")
    told = eventually(lambda: durable.status()["servers"][durable.address]["trouble"], "status names the reason")
    assert "jobs.db fails: " in told
    assert durable.status()["servers"][durable.address]["up"]
    shown = durable.command("status").stdout
    assert f"{durable.address}  in trouble" in shown
    assert told in shown
    check = durable.command("health", check=False)
    assert check.returncode == 1
    assert f"job server {durable.address} is in trouble: {told}" in check.stderr
    assert f"ERROR   queues: job server {durable.address} is in trouble: {told}" in durable.log()
    resource.prlimit(server, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    eventually(lambda: durable.command("health", check=False).returncode == 0, "all is well again")
    assert durable.status()["servers"][durable.address]["trouble"] == ""
