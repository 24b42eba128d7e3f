"""The log can't be written: its disk is full, or its reader has gone. Jobs go on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ..scraped import value_of
from ..small_disk import fill, mounted_disk
from . import neighbour
from .conftest import RunningManager, eventually
from .scraping import scrape

POOLS = "pools: {nap: {functions: [nap], min: 1, max: 1}}\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with mounted_disk(tmp_path / "disk", "1m") as folder:
        yield folder


def replace_a_worker(manager: RunningManager) -> None:
    """Check that the manager still reacts: it replaces a killed worker, and the new one works."""
    (before,) = [worker["pid"] for worker in manager.workers("nap")]
    os.kill(before, signal.SIGKILL)
    with manager.client(timeout_s=20) as client:
        eventually(lambda: int(client.submit("nap", "0")) != before, "another worker answers")


def test_a_full_disk_under_the_log_costs_lines_and_their_number_is_logged_once_there_is_room(
    napping: RunningManager, small_disk: Path
) -> None:
    manager, log, filler = napping, small_disk / "manager.log", small_disk / "filler"
    manager.write_module("neighbour.py", neighbour.MODULE)
    manager.write_module("talk.py", "def talk(job): print('t' * int(job.workload))\n")
    manager.start(f"log: {{file: {log}}}\n{POOLS}")
    with neighbour.undisturbed(manager):
        fill(filler)
        with manager.client(timeout_s=20) as client:
            client.submit("talk", "8000")  # more than the rest of the log's last page
        (error,) = eventually(lambda: manager.status()["errors"], "status says that lines are lost")
        replace_a_worker(manager)
        assert error["file"] == str(log)
        assert "No space left on device" in error["message"]
        filler.unlink()
        replace_a_worker(manager)
        eventually(lambda: "log lines were lost: [Errno 28] No space left" in log.read_text(), "it says so")
        assert manager.status()["errors"] == []
        lost = value_of(scrape(manager), "gearman_manager_log_lines_lost_total", reason="unwritten")
        assert lost is not None
        assert lost > 0
    assert manager.stop() == 0
    assert "stopped" in log.read_text()
    assert manager.log() == ""


@pytest.mark.parametrize("stream", ["standard error", "both"])
def test_when_the_reader_of_the_log_goes_away_the_manager_works_on_and_ends_cleanly(
    napping: RunningManager, stream: str
) -> None:
    """`gearman-manager -c config.yaml 2>&1 | head -1`."""
    manager = napping
    manager.write_module("neighbour.py", neighbour.MODULE)
    manager.config_file.write_text(f"run_dir: run\nserver: {{listen: 127.0.0.1:0}}\n{POOLS}")
    read_end, write_end = os.pipe()
    manager.process = subprocess.Popen(
        [*manager.program, "-c", manager.config_file],
        stdin=subprocess.DEVNULL,
        stdout=write_end if stream == "both" else subprocess.DEVNULL,
        stderr=write_end,
    )
    os.close(write_end)
    with open(read_end, "rb", buffering=0) as reader:
        assert reader.readline()
    eventually(manager.settled, "all workers registered")
    (manager.address,) = manager.status()["servers"]
    with neighbour.undisturbed(manager):
        replace_a_worker(manager)
        assert "killed by SIGKILL" in manager.command("logs").stdout
    assert manager.stop() == 0


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_a_reader_that_stops_reading_costs_lines_and_their_number_is_logged_when_it_goes_on(
    napping: RunningManager, kind: str
) -> None:
    """As a terminal after Ctrl-S, a pager, or a container runtime that hangs."""
    manager = napping
    manager.write_module("talk.py", "def talk(job):\n    for _ in range(400): print('t' * 5000)\n")
    manager.config_file.write_text(f"run_dir: run\nserver: {{listen: 127.0.0.1:0}}\n{POOLS}")
    ours, theirs = ENDS[kind]()
    manager.process = subprocess.Popen([*manager.program, "-c", manager.config_file], stderr=theirs)
    os.close(theirs)
    eventually(manager.settled, "it serves")
    (manager.address,) = manager.status()["servers"]
    with manager.client(timeout_s=20) as client:
        client.submit("talk", b"")  # two megabytes
        eventually(lambda: manager.status()["errors"], "status says that lines are lost")
        assert "nobody read them in time" in manager.status()["errors"][0]["message"]
        replace_a_worker(manager)
    said = bytearray()
    reading = threading.Thread(target=read_all, args=(ours, said))
    reading.start()
    os.kill(manager.process.pid, signal.SIGUSR1)
    eventually(lambda: b"log lines were lost: nobody read them in time" in said, "it says how many are missing")
    assert manager.stop() == 0
    reading.join(20)
    os.close(ours)
    assert said.rstrip().endswith(b"manager: stopped")


def read_all(descriptor: int, said: bytearray) -> None:
    """Read to the end, which is an error on a terminal."""
    with suppress(OSError):
        while data := os.read(descriptor, 65536):
            said += data


def socket_ends() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


ENDS = {"pipe": os.pipe, "socket": socket_ends, "terminal": os.openpty}
