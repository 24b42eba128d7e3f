"""`gearman-manager restart-server`: job servers are replaced one after the other, and no call of a client fails."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gearman_client import AsyncClient, Client
from gearman_manager.command.control_client import request
from gearman_manager.errors import ManagerError

from .conftest import BIN, GATE, NAP, RunningManager, eventually
from .test_instances import addresses, free_ports, processes

MODULE = """
import time

def note(job):
    time.sleep(0.005)
    with open(job.settings["journal"], "a") as journal:
        journal.write(job.workload.decode() + "\\n")
"""
MEMORY = "server: {{listen: 127.0.0.1:{port}, instances: 2}}\n"
SQLITE = "server: {{listen: 127.0.0.1:{port}, store: sqlite:///jobs.db}}\n"
REST = """
run_dir: run
pools:
  nap: {min: 6, max: 6}
  gate: {min: 2, max: 2}
  note: {min: 1, max: 1}
"""


def started(manager: RunningManager, server: str) -> RunningManager:
    folder = manager.folder
    for name, source in (("nap", NAP), ("gate", GATE), ("note", MODULE)):
        manager.write_module(f"{name}.py", source)
    journal = f"functions: {{note: {{settings: {{journal: {folder / 'journal'}}}}}}}\n"
    manager.config_file.write_text(server.format(port=free_ports(2)) + REST + journal)
    manager.launch()
    return manager


def restarting(manager: RunningManager, *options: str) -> subprocess.Popen[str]:
    """The command, under way."""
    words: list[str | Path] = [
        BIN / "gearman-manager",
        "-c",
        manager.config_file,
        "restart-server",
        "--force",
        *options,
    ]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager with two job servers without a store."""
    manager = started(RunningManager(tmp_path_factory.mktemp("two")), MEMORY)
    try:
        eventually(manager.settled, "all workers registered")
        yield manager
    finally:
        manager.destroy()


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager with one job server and a file."""
    manager = started(RunningManager(tmp_path_factory.mktemp("durable")), SQLITE)
    try:
        eventually(manager.settled, "all workers registered")
        yield manager
    finally:
        manager.destroy()


class Load:
    """Clients of all servers that call again and again, until the end of the `with`; `calls` and `errors` count.

    Some jobs take long, so that a server that is ending still has connections, over which it refuses the next jobs.
    """

    def __init__(self, servers: list[str]) -> None:
        self._servers = servers
        self._over = threading.Event()
        self.calls: list[int] = []
        self.errors: list[BaseException] = []
        kinds = [*(self._blocking for _ in range(4)), self._asynchronous, self._mapping]
        self._threads = [threading.Thread(target=self._watched, args=(kind,)) for kind in kinds]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.calls) > 50, "calls are answered")
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _watched(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - the test asserts that there is none
            self.errors.append(error)

    def _blocking(self) -> None:
        with Client(self._servers, timeout_s=30) as client:
            while not self._over.is_set():
                self.calls.append(len(client.submit("nap", "0.002", unique=str(len(self.calls)))))

    def _asynchronous(self) -> None:
        async def calls(client: AsyncClient[Any, bytes], nap: str) -> None:
            while not self._over.is_set():
                self.calls.append(len(await client.submit("nap", nap)))

        async def crowd() -> None:
            async with AsyncClient(self._servers, timeout_s=30) as client:
                await asyncio.gather(*(calls(client, nap) for nap in ["0.4", *["0.002"] * 7]))

        asyncio.run(crowd())

    def _mapping(self) -> None:
        with Client(self._servers, timeout_s=30) as client:
            while not self._over.is_set():
                self.calls += [len(result) for result in client.map("nap", ["0.3", *["0.002"] * 19])]


def test_no_foreground_call_fails_while_two_servers_are_replaced_one_after_the_other(two: RunningManager) -> None:
    before = processes(two)
    with Load(list(before)) as load:
        done = two.command("restart-server", "--force")
        calls = len(load.calls)
        eventually(lambda: len(load.calls) > calls + 50, "calls are answered afterwards")
    assert load.errors == []
    after = processes(two)
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())
    ends = [line for line in done.stdout.splitlines() if "replaced in" in line]
    expected = [f"job server {n} {address}: replaced in " for n, address in enumerate(before, 1)]
    assert [line.partition("in ")[0] + "in " for line in ends] == expected
    assert ends[1].endswith(f"pid {before[list(before)[1]]} → {after[list(before)[1]]}")


def test_the_second_server_is_touched_only_when_the_first_one_serves_and_has_workers(two: RunningManager) -> None:
    first, second = addresses(two)
    gate = two.folder / "first"
    before = processes(two)
    with Client([first], timeout_s=60) as client:
        running = threading.Thread(target=lambda: client.submit("gate", str(gate)))
        running.start()
        eventually(lambda: two.status()["functions"]["gate"]["running"], "a job runs on the first one")
        command = restarting(two)
        assert command.stdout is not None
        line = command.stdout.readline()
        assert line == f"job server 1 {first}: finishes 1 running job, for 30s at most\n"
        socket = two.folder / "run" / "control.sock"
        with pytest.raises(ManagerError, match="being replaced already"):
            request(socket, "POST", "/restart-server", {"force": True})
        assert processes(two) == before
        eventually(lambda: not two.status()["servers"][first]["up"], "it has closed its port")
        assert f"being replaced: job server: {first}" in two.command("health").stdout  # and exit code 0
        gate.touch()
        running.join(60)
        steps = [line, *command.stdout]
        assert command.wait(60) == 0
    assert not running.is_alive()
    numbers = [step.split()[2] for step in steps]
    assert numbers == sorted(numbers)
    assert set(numbers) == {"1", "2"}
    last = request(socket, "GET", "/restart-server")
    assert [server["state"] for server in last["servers"]] == ["replaced", "replaced"]
    assert last["over"]
    assert processes(two)[second] != before[second]


def test_without_a_store_it_refuses_unless_it_is_forced(two: RunningManager) -> None:
    before = processes(two)
    refused = two.command("restart-server", "--instance", "2", check=False)
    assert refused.returncode == 1
    assert "job server 2 keeps its jobs in memory, and background jobs that wait there (0 now) would be lost" in (
        refused.stderr
    )
    assert "--force" in refused.stderr
    assert processes(two) == before
    two.command("restart-server", "--instance", "2", "--force")
    first, second = before
    after = processes(two)
    assert (after[first] == before[first], after[second] == before[second]) == (True, False)
    unknown = two.command("restart-server", "--instance", "3", check=False)
    assert "there is no job server 3: server.instances is 2" in unknown.stderr


def test_if_a_server_does_not_come_up_the_others_stay_as_they_are(two: RunningManager) -> None:
    first, second = before = processes(two)
    policies = two.folder / "run" / "policies.yaml"
    text = policies.read_text()
    policies.write_text("no: such key")
    failed = two.command("restart-server", "--force", check=False)
    assert failed.returncode == 1
    assert f"job server 1 {first} does not come up: " in failed.stderr
    assert "policies.yaml" in failed.stderr
    assert failed.stderr.endswith("as after a crash; 1 other untouched\n")
    assert processes(two) == {second: before[second]}
    policies.write_text(text)
    # It is tried first, and at once, instead of after its back-off.
    again = two.command("restart-server", "--force")
    assert [line.split(": ")[0].split()[2] for line in again.stdout.splitlines() if "replaced in" in line] == ["1", "2"]
    eventually(two.settled, "all is as before")


def test_one_that_has_died_is_no_trouble(two: RunningManager) -> None:
    os.kill(processes(two)[addresses(two)[1]], signal.SIGKILL)
    two.command("restart-server", "--force")
    eventually(two.settled, "both are there")


def test_a_single_durable_server_is_replaced_without_the_loss_of_a_job_or_of_a_call_under_way(
    durable: RunningManager,
) -> None:
    (address,) = before = processes(durable)
    journal, wanted = durable.folder / "journal", sorted(str(number) for number in range(300))
    gate = durable.folder / "gate"
    # For so long the calls wait for a successor, which takes its time on a busy machine.
    patient = Client([address], timeout_s=60, connect_timeout_s=30)
    with patient as client, ThreadPoolExecutor(6) as threads:
        client.submit_background_many("note", wanted)
        calls = [threads.submit(client.submit, "gate", str(gate)) for _ in range(6)]
        eventually(lambda: durable.status()["functions"]["gate"]["queued"] == 4, "two run, and four wait")
        command = restarting(durable)
        assert command.stdout is not None
        begun = command.stdout.readline()
        assert re.match(f"job server {address}: finishes [23] running jobs, for 30s at most\n", begun)
        gate.touch()
        assert len([call.result(60) for call in calls]) == 6
        assert command.wait(60) == 0
    assert processes(durable)[address] != before[address]
    eventually(lambda: len(journal.read_text().split()) >= len(wanted), "all jobs have run")
    assert sorted(journal.read_text().split()) == wanted


@pytest.mark.parametrize("how", ["replaced", "killed"])
def test_calls_that_begin_while_there_is_no_server_wait_for_its_successor(durable: RunningManager, how: str) -> None:
    (address,) = before = processes(durable)
    over = threading.Event()
    calls: list[int] = []

    def call() -> None:
        while not over.is_set():
            with Client([address], timeout_s=60, connect_timeout_s=30) as client:
                calls.append(len(client.submit("nap", "0.002")))

    with ThreadPoolExecutor(4) as threads:
        callers = [threads.submit(call) for _ in range(4)]
        eventually(lambda: len(calls) > 20, "calls are answered")
        if how == "killed":
            os.kill(before[address], signal.SIGKILL)
            eventually(lambda: processes(durable).get(address, before[address]) != before[address], "it is back")
        else:
            durable.command("restart-server")
        answered = len(calls)
        eventually(lambda: len(calls) > answered + 20, "calls are answered by the next one")
        over.set()
        assert [caller.result(60) for caller in callers] == [None] * 4


def test_a_background_job_that_takes_longer_than_it_may_goes_on(durable: RunningManager) -> None:
    (address,) = addresses(durable)
    gate = durable.folder / "late"
    with Client([address], timeout_s=30) as client:
        handle = client.submit_background("gate", str(gate))
        eventually(lambda: client.status(handle).running, "it runs")
        began = time.monotonic()
        durable.command("restart-server", "--within", "300ms")
        assert time.monotonic() - began < 10
        eventually(lambda: client.status(handle).running, "it runs still")
        assert "goes on with it, though its server is gone" in durable.log()
        gate.touch()
        eventually(lambda: not client.status(handle).known, "it has run to its end")


def test_a_stop_ends_a_restart_and_the_command_says_so(manager: RunningManager) -> None:
    started(manager, MEMORY)
    eventually(manager.settled, "all workers registered")
    gate = manager.folder / "late"
    for address in addresses(manager):
        with Client([address]) as client:
            client.submit_background("gate", str(gate))
    eventually(lambda: manager.status()["functions"]["gate"]["running"] == 2, "both servers have a running job")
    command = restarting(manager, "--within", "1h")
    assert command.stdout is not None
    assert "finishes 1 running job, for 1h at most" in command.stdout.readline()
    stopping = threading.Thread(target=manager.stop)
    stopping.start()
    assert command.wait(30) == 1
    gate.touch()
    stopping.join(30)
    assert manager.process is not None
    assert manager.process.returncode == 0
    assert command.stderr is not None
    assert "the manager ended meanwhile, or is about to" in command.stderr.read()
