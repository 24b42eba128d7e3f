"""Several job servers of one manager: `server.instances`."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from gearman_client import Client, Worker, WorkerJob, connect_admin

from .conftest import GATE, NAP, RunningManager, eventually

CONFIG = """
run_dir: run
server:
  listen: 127.0.0.1:{port}
  metrics_listen: 127.0.0.1:0
  instances: 2
defaults: {{min: 1, max: 1}}
pools: {{gate: {{max: 4, scale: {{target_wait: 100ms}}}}}}
schedules: {{tick: {{every: 1h, function: nap}}}}
"""


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports that are free."""
    while True:
        sockets: list[socket.socket] = []
        try:
            sockets.append(socket.create_server(("127.0.0.1", 0)))
            first: int = sockets[0].getsockname()[1]
            for port in range(first + 1, first + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        else:
            return first
        finally:
            for each in sockets:
                each.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A running manager with two job servers, which know nothing of each other."""
    manager = RunningManager(tmp_path_factory.mktemp("two"))
    manager.write_module("nap.py", NAP)
    manager.write_module("gate.py", GATE)
    manager.config_file.write_text(CONFIG.format(port=free_ports(2)))
    manager.launch()
    try:
        eventually(manager.settled, "all workers registered")
        yield manager
    finally:
        manager.destroy()


def addresses(manager: RunningManager) -> list[str]:
    return list(manager.status()["servers"])


def processes(manager: RunningManager) -> dict[str, int]:
    """The pids of the job servers, by the address in their titles."""
    assert manager.process is not None
    found, known = {}, addresses(manager)
    for process in psutil.Process(manager.process.pid).children():
        with suppress(psutil.Error):  # it has just ended
            title = " ".join(process.cmdline())
            if title.startswith("gearman-server: "):
                found.update(dict.fromkeys((address for address in known if address in title), process.pid))
    return {address: found[address] for address in known if address in found}


def test_each_has_the_next_port_its_own_process_and_the_workers_of_all_pools(two: RunningManager) -> None:
    first, second = addresses(two)
    assert int(second.rpartition(":")[2]) == int(first.rpartition(":")[2]) + 1
    assert len(set(processes(two).values())) == 2
    for number, address in enumerate((first, second), 1):
        assert f"job server {number} on {address}, metrics on 127.0.0.1:" in two.log()
        with Client([address], timeout_s=30) as client:
            assert client.submit("nap", "0") == str(two.workers("nap")[0]["pid"]).encode()
        with connect_admin(address) as admin:
            rows = {row.function: row for row in admin.status()}
            assert rows["gate"].workers == 1
    assert "server-2 pid " in two.log()


def test_the_servers_give_different_handles_and_a_handle_is_found_by_its_text_alone(two: RunningManager) -> None:
    gate, handles = str(two.folder / "open"), []
    for address in addresses(two):
        with Client([address]) as client:
            handles.append(str(client.submit_background("gate", gate)))
    assert len(set(handles)) == 2
    for address, handle in zip(addresses(two), handles, strict=True):
        shown = json.loads(two.command("jobs", "show", handle, "--json").stdout)
        assert shown["server"] == address
    Path(gate).touch()


def test_a_pool_grows_with_the_sum_of_both_queues(two: RunningManager) -> None:
    gate = two.folder / "gate"
    for address in addresses(two):
        with Client([address]) as client:
            client.submit_background_many("gate", [str(gate)] * 2)
    eventually(lambda: two.status()["functions"]["gate"]["running"] == 4, "a worker for each job of both servers")
    assert len(two.workers("gate")) >= 4
    gate.touch()


def test_schedules_of_independent_servers_run_in_the_first_one_alone(two: RunningManager) -> None:
    rows: list[dict[str, Any]] = json.loads(two.command("schedules", "--json").stdout)
    assert [(row["schedule"], row["server"]) for row in rows] == [("tick", addresses(two)[0])]


def test_one_that_dies_comes_back_on_its_port_while_the_other_goes_on(two: RunningManager) -> None:
    first, second = addresses(two)
    before = processes(two)
    os.kill(before[second], signal.SIGKILL)
    with Client([first], timeout_s=30) as client:
        client.submit("nap", "0")
    eventually(lambda: len(now := processes(two)) == 2 and now[second] != before[second], "the second one is back")
    assert processes(two)[first] == before[first]
    assert "job server 2 ended (killed by SIGKILL)" in two.log()
    assert "job server 1 ended" not in two.log()
    with Client([second], timeout_s=30) as client:
        assert client.submit("nap", "0")


def test_a_reload_reaches_both(two: RunningManager) -> None:
    text = two.config_file.read_text()
    two.config_file.write_text(text + "functions: {nap: {max_queue: 7}}\n")
    two.command("reload")

    def limits() -> list[bytes]:
        found = []
        for address in addresses(two):
            with connect_admin(address) as admin:
                rows = (line.split(b"\t") for line in admin.command("policies").splitlines())
                found += [row[6] for row in rows if row[0] == b"nap"]
        return found

    eventually(lambda: limits() == [b"7", b"7"], "both have the new limit")


def test_at_the_end_both_are_gone_and_so_are_their_files(napping: RunningManager) -> None:
    napping.write_module("gate.py", GATE)
    napping.config_file.write_text(CONFIG.format(port=free_ports(2)))
    napping.launch()
    eventually(napping.settled, "all workers registered")
    servers = processes(napping)
    assert {file.name for file in (napping.folder / "run").glob("policies*")} == {"policies.yaml", "policies-2.yaml"}
    assert napping.stop() == 0
    assert [pid for pid in servers.values() if psutil.pid_exists(pid)] == []
    assert {file.name for file in (napping.folder / "run").iterdir()} == {"lock", "history.db"}


def test_a_drain_speaks_of_both_and_ends_them_when_the_workers_of_others_are_done(napping: RunningManager) -> None:
    napping.write_module("gate.py", GATE)
    napping.config_file.write_text(CONFIG.format(port=free_ports(2)))
    napping.launch()
    eventually(napping.settled, "all workers registered")
    begun, release = threading.Event(), threading.Event()

    def foreign(_job: WorkerJob) -> bytes:
        begun.set()
        release.wait(60)
        return b"done"

    first, second = addresses(napping)
    with Client([first]) as client:
        client.submit_background("unserved", "w")
    with Client([second], timeout_s=60) as client, Worker([second]) as worker, ThreadPoolExecutor(2) as threads:
        worker.register("foreign", foreign)
        working = threads.submit(worker.work, max_jobs=1)
        call = threads.submit(client.submit, "foreign", "w")
        assert begun.wait(60)

        def told() -> bool:  # the manager hears of that job a moment after its worker; then the first answer lacks it
            left = napping.command("drain", "--no-wait").stderr
            assert "1 job waiting in the bundled job servers, which end with this manager and keep them in mem" in left
            return "1 job of other workers run on the bundled job servers, which end with this manager" in left

        eventually(told, "both are spoken of")
        eventually(lambda: "the job servers finish the jobs of others, and end" in napping.log(), "workers are gone")
        release.set()
        assert call.result(60) == b"done"
        working.result(60)
    assert napping.process is not None
    assert napping.process.wait(60) == 0


def test_a_taken_port_of_the_second_names_it_and_the_key_and_ends_the_start(napping: RunningManager) -> None:
    port = free_ports(2)
    napping.write_module("gate.py", GATE)
    napping.config_file.write_text(CONFIG.format(port=port) + "functions: {nap: {max_running: 7}}\n")
    with socket.create_server(("127.0.0.1", port + 1)):
        refused = napping.command(check=False)
        checked = napping.command("check", check=False)
    assert "functions.nap: max_running: each of the 2 job servers keeps its own" in checked.stderr
    assert refused.returncode == 1
    assert f"job server 2 can't start: port {port + 1} on 127.0.0.1 is taken by" in refused.stderr
    assert "config.yaml:4: server.listen" in refused.stderr
    assert f"a program listens on 127.0.0.1:{port + 1} already" in checked.stderr
