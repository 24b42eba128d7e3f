"""Signals while a process starts, and signals to all processes of a manager at once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from .conftest import BIN, RunningManager, alive, eventually

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


@pytest.fixture(params=["", ", concurrency: 2"], ids=["forked", "concurrent"])
def busy(
    napping: RunningManager, request: pytest.FixtureRequest
) -> Iterator[tuple[RunningManager, threading.Thread, list[bytes]]]:
    """A manager, and a client that waits for a job that runs."""
    napping.start(f"pools: {{nap: {{min: 2, max: 2{request.param}}}}}\n")
    results: list[bytes] = []

    def ask() -> None:
        with napping.client(timeout_s=30) as client:
            results.append(client.submit("nap", b"1.5"))

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: "busy" in [worker["state"] for worker in napping.workers("nap")], "the job runs")
    yield napping, asking, results
    asking.join(30)


def to_all(manager: RunningManager, number: signal.Signals) -> None:
    """Signal every process, the manager last: the kernel keeps no order."""
    for pid in reversed(manager.family()):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_to_end_that_reaches_all_processes_at_once_costs_no_result(
    busy: tuple[RunningManager, threading.Thread, list[bytes]], number: signal.Signals
) -> None:
    """As systemd sends it with KillMode=control-group, the default of units that people write."""
    manager, asking, results = busy
    family = manager.family()
    to_all(manager, number)
    asking.join(30)
    assert manager.process is not None
    assert manager.process.wait(30) == 0
    assert len(results) == 1
    assert "starting it again" not in manager.log()
    assert "killed by" not in manager.log()
    assert not any(alive(pid) for pid in family)


@pytest.mark.parametrize("number", FROM_THE_FIRST_LINE)
def test_another_signal_to_all_processes_at_once_ends_none(
    busy: tuple[RunningManager, threading.Thread, list[bytes]], number: signal.Signals
) -> None:
    manager, asking, results = busy
    server = manager.pid_of("gearman-server")
    to_all(manager, number)
    asking.join(30)
    assert len(results) == 1
    assert psutil.pid_exists(server)
    assert "starting it again" not in manager.log()
    assert "killed by" not in manager.log()
    assert manager.stop() == 0


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
