"""What pools may use together, and over all managers: with real processes, counted from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from .conftest import NAP, RunningManager, eventually


class Census:
    """Counts the worker processes below some managers, again and again."""

    def __init__(self, *managers: RunningManager) -> None:
        self.most = 0
        self.counts = 0
        self._roots = [psutil.Process(manager.process.pid) for manager in managers if manager.process is not None]

    def count(self) -> int:
        """The worker processes now; one that has ended but is not reaped yet uses nothing any more."""
        found = 0
        for root in self._roots:
            for child in root.children(recursive=True):
                try:
                    found += child.status() != psutil.STATUS_ZOMBIE and ": worker " in " ".join(child.cmdline())
                except psutil.NoSuchProcess:
                    continue
        self.most = max(self.most, found)
        self.counts += 1
        return found


@contextmanager
def counted(*managers: RunningManager) -> Iterator[Census]:
    """Counts all the time in this context."""
    census, enough = Census(*managers), threading.Event()

    def go_on() -> None:
        while not enough.wait(0.005):
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
