"""Signals while a process starts, and signals to all processes of a manager at once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from .conftest import BIN, GATE, RunningManager, alive, eventually

#: Sends these signals to its own process before each import of ours: from the program's first line on.
AT_EACH_IMPORT = """
import os
import sys


class Signals:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("gearman_manager", "gearman_server", "gevent")):
            for number in map(int, os.environ["SIGNALS"].split()):
                os.kill(os.getpid(), number)


sys.meta_path.insert(0, Signals())
"""
FROM_THE_FIRST_LINE = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def at_each_import(folder: Path, *numbers: signal.Signals) -> dict[str, str]:
    """The environment in which every Python program sends itself these signals while it starts."""
    (folder / "sitecustomize.py").write_text(AT_EACH_IMPORT)
    return {"PYTHONPATH": str(folder), "SIGNALS": " ".join(str(int(number)) for number in numbers)}


def test_signals_from_the_first_line_on_kill_no_process_of_a_manager_and_are_remembered(
    napping: RunningManager, tmp_path: Path
) -> None:
    """Manager, job server, zygote and a worker with `concurrency`, which starts by exec."""
    napping.environment = at_each_import(tmp_path, *FROM_THE_FIRST_LINE)
    napping.start("pools: {nap: {concurrency: 2, min: 1, max: 1}}\n")
    with napping.client(timeout_s=20) as client:
        client.submit("nap", b"0")
    remembered = ("reloading", "reopened the log", "state: {")
    eventually(lambda: all(said in napping.log() for said in remembered), "the log has all of them")
    assert "killed by" not in napping.log()
    assert napping.stop() == 0


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_to_end_during_the_start_is_a_clean_end(
    napping: RunningManager, tmp_path: Path, number: signal.Signals
) -> None:
    napping.environment = at_each_import(tmp_path, number)
    napping.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\n")
    napping.launch()
    assert napping.process is not None
    assert napping.process.wait(30) == 0
    assert "Traceback" not in napping.log()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_command_in_a_terminal_ends_by_a_signal_like_any_other_program(
    tmp_path: Path, number: signal.Signals
) -> None:
    environment = os.environ | at_each_import(tmp_path, number)
    command: list[str | Path] = [BIN / "gearman-manager", "init", tmp_path / "new"]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == -number


KINDS = pytest.mark.parametrize("kind", ["", ", concurrency: 2"], ids=["forked", "concurrent"])


def serve_gate(manager: RunningManager, kind: str) -> None:
    """Start a manager with two workers whose jobs run until a file is there."""
    manager.write_module("gate.py", GATE)
    manager.start(f"pools: {{gate: {{min: 2, max: 2{kind}}}}}\n")


@contextmanager
def asking(manager: RunningManager, gate: Path) -> Iterator[Future[bytes]]:
    """A client waits for a job that runs until this file is there."""

    def ask() -> bytes:
        with manager.client(timeout_s=30) as client:
            return client.submit("gate", str(gate))

    with ThreadPoolExecutor() as threads:
        result = threads.submit(ask)
        eventually(lambda: "busy" in [worker["state"] for worker in manager.workers("gate")], "the job runs")
        try:
            yield result
        finally:
            gate.touch()


@pytest.fixture(scope="module", params=["", ", concurrency: 2"], ids=["forked", "concurrent"])
def gated(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[RunningManager]:
    """A manager whose two workers run jobs until a file is there."""
    manager = RunningManager(tmp_path_factory.mktemp("gated"))
    try:
        serve_gate(manager, request.param)
        yield manager
        assert manager.stop() == 0
    finally:
        manager.destroy()


def to_all(manager: RunningManager, number: signal.Signals) -> None:
    """Signal every process, the manager last: the kernel keeps no order."""
    for pid in reversed(manager.family()):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@KINDS
@pytest.mark.parametrize("number", ENDING)
def test_a_signal_to_end_that_reaches_all_processes_at_once_costs_no_result(
    manager: RunningManager, tmp_path: Path, kind: str, number: signal.Signals
) -> None:
    """As systemd sends it with KillMode=control-group, the default of units that people write."""
    serve_gate(manager, kind)
    with asking(manager, tmp_path / "open") as result:
        family = manager.family()
        to_all(manager, number)
        eventually(lambda: ": stopping" in manager.log(), "it stops")
    assert result.result()
    assert manager.process is not None
    assert manager.process.wait(30) == 0
    assert "starting it again" not in manager.log()
    assert "killed by" not in manager.log()
    assert not any(alive(pid) for pid in family)


SAID = {signal.SIGHUP: "reloading", signal.SIGUSR1: "reopened the log", signal.SIGUSR2: "state: {"}


@pytest.mark.parametrize("number", FROM_THE_FIRST_LINE)
def test_another_signal_to_all_processes_at_once_ends_none(
    gated: RunningManager, tmp_path: Path, number: signal.Signals
) -> None:
    server = gated.pid_of("gearman-server")
    with asking(gated, tmp_path / "open") as result:
        to_all(gated, number)
        eventually(lambda: SAID[number] in gated.log(), "the manager says what it does")
    assert result.result()
    assert psutil.pid_exists(server)
    eventually(gated.settled, "both workers serve")
    assert "starting it again" not in gated.log()
    assert "killed by" not in gated.log()


@pytest.mark.parametrize("number", ENDING)
def test_a_bundled_server_that_is_told_to_end_waits_for_its_manager(
    napping: RunningManager, number: signal.Signals
) -> None:
    napping.start("pools: {nap: {min: 1, max: 1}}\n")
    os.kill(napping.pid_of("gearman-server"), number)
    eventually(lambda: "ends it, after its workers" in napping.log(), "the log says so")
    with napping.client(timeout_s=20) as client:
        client.submit("nap", b"0")
    assert napping.stop() == 0
