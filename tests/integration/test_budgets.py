"""What pools may use together, and over all managers: with real processes, counted from outside."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from .conftest import NAP, RunningManager, eventually


class Census:
    """Counts the worker processes below some managers, again and again."""

    def __init__(self, *managers: RunningManager) -> None:
        self.most = 0
        self._roots = [manager.process.pid for manager in managers if manager.process is not None]

    def count(self) -> None:
        """Count the workers now; one that has ended but is not reaped yet has no command line any more."""
        titles = [_title(pid) for root in self._roots for pid in _descendants(root)]
        self.most = max(self.most, sum(b": worker " in title for title in titles))


def _descendants(pid: int) -> Iterator[int]:
    for child in _read(f"/proc/{pid}/task/{pid}/children").split():
        yield int(child)
        yield from _descendants(int(child))


def _title(pid: int) -> bytes:
    return _read(f"/proc/{pid}/cmdline")


def _read(file: str) -> bytes:
    """The file's contents; nothing if the process has gone."""
    try:
        return Path(file).read_bytes()
    except OSError:
        return b""


@contextmanager
def counted(*managers: RunningManager) -> Iterator[Census]:
    """Counts all the time in this context."""
    census, enough = Census(*managers), threading.Event()

    def go_on() -> None:
        while not enough.wait(0.01):
            census.count()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield census
    finally:
        enough.set()
        thread.join()


def test_pools_share_a_budget_that_no_replacement_exceeds(napping: RunningManager) -> None:
    napping.write_module("doze.py", NAP.replace("def nap", "def doze"))
    pool = "max: 9, uses: {smtp: 1}, scale: {backlog_per_worker: 1, cooldown: 0s}"
    pools = f"nap: {{functions: [nap], weight: 3, {pool}}}, doze: {{functions: [doze], {pool}}}"
    manager = napping.start(f"limits: {{budgets: {{smtp: 8}}}}\npools: {{{pools}}}\n")
    with manager.client() as client, counted(manager) as census:
        for _ in range(120):
            client.submit_background("nap", "0.05")
            client.submit_background("doze", "0.05")

        def shares() -> list[int]:
            return [len(manager.workers(pool)) for pool in ("nap", "doze")]

        eventually(lambda: shares() == [6, 2], "three times as many of the heavier pool")
        before = {worker["pid"] for worker in manager.workers("nap")}
        manager.command("restart")
        eventually(lambda: not before & {w["pid"] for w in manager.workers("nap")}, "all are replaced")
        eventually(lambda: manager.status()["budgets"] == {"smtp": {"units": 8, "used": 2}}, "and the work is done")
    assert census.most == 8
    assert "limits.budgets.smtp holds: no further workers" in manager.log()


@pytest.fixture
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    running = RunningManager(tmp_path_factory.mktemp("second"))
    running.write_module("nap.py", NAP)
    yield running
    running.destroy()


def test_two_managers_divide_a_maximum_and_the_part_of_a_killed_one_is_taken_over(
    napping: RunningManager, second: RunningManager
) -> None:
    pools = (
        "pools: {nap: {functions: [nap], max: 9, max_everywhere: 5, scale: {backlog_per_worker: 1, cooldown: 0s}}}\n"
    )
    napping.config_file.write_text(f"run_dir: one\nserver: {{listen: 127.0.0.1:0}}\n{pools}")
    napping.launch()
    eventually(napping.settled, "the first manager has been seen long enough")
    (napping.address,) = napping.status()["servers"]
    with napping.client() as client:
        for _ in range(500):
            client.submit_background("nap", "0.5")
    second.config_file.write_text(f"run_dir: two\nservers: ['{napping.address}']\n{pools}")
    second.launch()
    both = (napping, second)
    with counted(*both) as census:
        eventually(lambda: len(napping.workers("nap")) == 5, "alone it has all")
        eventually(second.settled, "the second one runs")
        eventually(lambda: sorted(len(manager.workers("nap")) for manager in both) == [2, 3], "each has its part")
        assert "max_everywhere holds" in second.status()["pools"]["nap"]["why"]
        for pid in second.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(napping.workers("nap")) == 5, "the part of the killed one")
    assert census.most == 5
