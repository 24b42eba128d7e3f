"""What pools may use together, and over all managers: with real processes, counted from outside."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from gearman_client import connect_admin

from .conftest import NAP, RunningManager, eventually


class Census:
    """Counts the worker processes below some managers, again and again."""

    def __init__(self, *managers: RunningManager) -> None:
        self._seen: set[frozenset[tuple[str, int]]] = set()  # the numbers by pool, each that there was
        self._roots = [manager.process.pid for manager in managers if manager.process is not None]

    def count(self) -> None:
        """Count the workers now; one that has ended but is not reaped yet has no command line any more."""
        titles = [_title(pid) for root in self._roots for pid in _descendants(root)]
        pools = [found[1].decode() for title in titles if (found := re.search(rb": worker (\w+)/", title))]
        self._seen.add(frozenset(Counter(pools).items()))

    def most(self, *pools: str) -> int:
        """The largest number of workers that these pools had at a time; none named: all pools."""
        return max(sum(number for pool, number in seen if pool in pools or not pools) for seen in self._seen)


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


@contextmanager
def supplied(manager: RunningManager, least: Mapping[str, int], workload: str) -> Iterator[Counter[str]]:
    """In this context a function has so many jobs, or more; gives the numbers of all that were submitted.

    In the workload `{}` stands for the job's number among those of its function.
    """
    submitted, enough = Counter[str](), threading.Event()

    def go_on() -> None:
        while not enough.wait(0.05):
            jobs = Counter({entry.function: entry.total for entry in admin.status()})
            for name, count in least.items():
                if jobs[name] < count:
                    first = submitted[name]
                    submitted[name] += count
                    client.submit_background_many(name, map(workload.format, range(first, first + count)))

    with manager.client() as client, connect_admin(manager.address) as admin, ThreadPoolExecutor() as threads:
        supply = threads.submit(go_on)
        try:
            yield submitted
        finally:
            enough.set()
            supply.result()


def test_pools_share_a_budget_that_no_replacement_exceeds(napping: RunningManager) -> None:
    napping.write_module("doze.py", NAP.replace("def nap", "def doze"))
    pool = "max: 9, uses: {smtp: 1}, scale: {backlog_per_worker: 1, cooldown: 0s}"
    pools = f"nap: {{functions: [nap], weight: 3, {pool}}}, doze: {{functions: [doze], {pool}}}"
    manager = napping.start(f"limits: {{budgets: {{smtp: 8}}}}\npools: {{{pools}}}\n")

    def shares() -> list[int]:
        return [len(manager.workers(pool)) for pool in ("nap", "doze")]

    with counted(manager) as census:
        with supplied(manager, {"nap": 60, "doze": 20}, "0.05"):
            eventually(lambda: shares() == [6, 2], "three times as many of the heavier pool")
            before = {worker["pid"] for worker in manager.workers("nap")}
            manager.command("restart")
            eventually(lambda: not before & {w["pid"] for w in manager.workers("nap")}, "all are replaced")
        eventually(lambda: manager.status()["budgets"] == {"smtp": {"units": 8, "used": 2}}, "and the work is done")
    assert census.most() == 8
    assert "limits.budgets.smtp holds: no further workers" in manager.log()


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
    assert census.most() == 5


#: Each job writes down its name at its beginning and at its end, by the clock that all processes share. Once nothing
#: more is to be seen, they are short.
WORK = """
import os, time
VERSION = 1
def work(job):
    name = b"%s-%s" % (job.function.encode(), job.workload)
    with open(FILE, "ab", buffering=0) as file:
        file.write(b"%s begin %d\\n" % (name, time.monotonic_ns()))
        if not os.path.exists(FILE + ".end"):
            time.sleep(0.05)
        file.write(b"%s end %d\\n" % (name, time.monotonic_ns()))
from gearman_manager import function
for name in ("few", "mails", "letters", "slow", "calls"):
    globals()[name] = function(name=name)(lambda job: work(job))
"""
ALL_LIMITS = """
limits: {max_workers: 8, budgets: {smtp: 6}}
defaults: {min: 1, max: 9, scale: {backlog_per_worker: 1, cooldown: 0s}}
functions: {few: {max_running: 2}, slow: {rate: 10/1s}}
pools:
  mail: {functions: [few, mails], weight: 2, max_everywhere: 4, uses: {smtp: 1}, max: 1, windows: [WINDOW]}
  news: {functions: [letters], uses: {smtp: 1}}
  rest: {functions: [slow, calls]}
"""


def test_all_limits_hold_together_through_a_pause_and_a_reload_and_no_job_is_lost(manager: RunningManager) -> None:
    written = manager.folder / "written"
    module = WORK.replace("FILE", repr(str(written)))
    manager.write_module("work.py", module)
    manager.start(ALL_LIMITS.replace("WINDOW", "{cron: '* * * * *', for: 1h, min: 2, max: 9}"))
    jobs = {"few": 20, "mails": 100, "letters": 60, "slow": 10, "calls": 60}

    def shares() -> list[int]:
        return [len(manager.workers(pool)) for pool in ("mail", "news", "rest")]

    submitted_ns = time.monotonic_ns()
    with supplied(manager, jobs, "{}") as submitted:
        with counted(manager) as census:
            eventually(
                lambda: shares() == [4, 2, 2], "twice as many of the heavier pool, within the budget and the cap"
            )
            manager.command("pause", "news")
            eventually(lambda: shares() == [4, 0, 3], "the others have its share but for its min, and max_everywhere")
            manager.command("resume", "news")
            eventually(lambda: shares() == [4, 2, 2], "it has its share back")
        with counted(manager) as of_the_reload:
            before = {worker["pid"] for pool in ("mail", "news", "rest") for worker in manager.workers(pool)}
            manager.write_module("work.py", module.replace("VERSION = 1", "VERSION = 2"))
            manager.command("reload")
            eventually(lambda: shares() == [4, 2, 2] and not before & set(manager.family()), "all are replaced")
        assert "mail: 3 → 2 workers" not in manager.log()  # one at a time was missing
    written.with_name("written.end").touch()
    eventually(lambda: _ended(written) == submitted.total(), "all jobs are done")
    assert (census.most("mail"), census.most("mail", "news"), census.most()) == (4, 6, 8)
    assert (of_the_reload.most("mail"), of_the_reload.most("mail", "news")) == (4, 6)
    # Of the pool without a budget replacements start before others have gone: all of its two at most.
    assert 2 < of_the_reload.most("rest") <= 4
    notes = [line.split() for line in written.read_text().splitlines()]
    once = Counter(f"{name}-{number}" for name, count in submitted.items() for number in range(count))
    assert Counter(name for name, word, _ in notes if word == "begin") == once
    running = most = 0
    for _, word, _ in sorted((note for note in notes if note[0].startswith("few-")), key=lambda note: int(note[2])):
        running += 1 if word == "begin" else -1
        most = max(most, running)
    assert most == 2
    begun_ns = sorted(int(moment) for name, word, moment in notes if name.startswith("slow-") and word == "begin")
    # After the first ten, each job comes a second after the tenth before it. What is noted is noted late.
    assert all(moment - submitted_ns >= number // 10 * 1e9 for number, moment in enumerate(begun_ns))
    for limit in ("max_everywhere", "limits.budgets.smtp", "limits.max_workers"):
        assert f"{limit} holds" in manager.log()
    assert "have yet to see" not in manager.log()


def _ended(file: Path) -> int:
    return file.read_bytes().count(b" end ") if file.exists() else 0
