"""Jobs that go on where they were: after new code, kills of worker and server, and a stop of the manager."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from gearman_client import connect_admin

from .conftest import RunningManager, eventually

RECIPIENTS = 600
NEWSLETTER = """
import os
import time

def newsletter(job):
    # {version}
    with open({sent!r}, "a", buffering=1) as sent:
        for recipient in job.iterate(range(int(job.workload)), every=0):
            sent.write(f"{{os.getpid()}} {{recipient}}\\n")
            time.sleep(0.01)
    return job.attempt
"""
CONFIG = """
run_dir: run
server: {listen: 127.0.0.1:0, store: sqlite:///jobs.db}
defaults: {min: 1, max: 1}
"""


class Sent:
    """What the newsletter's workers have written down."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.touch()

    def lines(self) -> list[tuple[int, int]]:
        """Worker and recipient of each mail."""
        text = self._file.read_text().rpartition("\n")[0]
        return [(int(pid), int(recipient)) for pid, recipient in (line.split() for line in text.splitlines())]

    def repeated(self) -> int:
        return sum(count - 1 for count in Counter(recipient for _, recipient in self.lines()).values())

    def go_on(self, *, behind: int, by_another: bool = False) -> int:
        """Wait until more were sent, by another worker perhaps; returns the worker."""
        before, last = len(self.lines()), self.lines()[-1][0] if self.lines() else 0

        def has_gone_on() -> bool:
            lines = self.lines()
            more = [pid for pid, _ in lines[before:] if not by_another or pid != last]
            return len(more) >= behind

        eventually(has_gone_on, "the newsletter goes on")
        return self.lines()[-1][0]


def test_a_newsletter_survives_all_and_repeats_next_to_nothing(manager: RunningManager, tmp_path: Path) -> None:
    sent = Sent(tmp_path / "sent")

    def write(version: int) -> None:
        manager.write_module("newsletter.py", NEWSLETTER.format(version=version, sent=str(tmp_path / "sent")))

    write(1)
    manager.config_file.write_text(CONFIG)
    manager.launch()
    eventually(manager.settled, "the worker is registered")
    (manager.address,) = manager.status()["servers"]
    with manager.client() as client:
        handle = client.submit_background("newsletter", str(RECIPIENTS))
    sent.go_on(behind=20)
    write(2)
    worker = sent.go_on(behind=20, by_another=True)
    assert sent.repeated() == 0
    assert "the worker leaves: the job goes on elsewhere, from its last checkpoint" in manager.log()

    os.kill(worker, signal.SIGKILL)
    sent.go_on(behind=20, by_another=True)
    assert sent.repeated() <= 1  # the one in hand

    os.kill(manager.pid_of("gearman-server: "), signal.SIGKILL)
    sent.go_on(behind=60)
    after_the_server = sent.repeated()
    assert after_the_server <= 30  # what it has not written yet, and what was sent until the worker noticed

    assert manager.stop() == 0
    manager.launch()
    sent.go_on(behind=20, by_another=True)
    assert sent.repeated() == after_the_server
    eventually(lambda: len({recipient for _, recipient in sent.lines()}) == RECIPIENTS, "all are sent")
    assert sent.repeated() == after_the_server
    with connect_admin(manager.status()["servers"].popitem()[0]) as admin:
        eventually(lambda: handle.encode() not in admin.command("jobs list"), "it has ended")
        assert admin.command("dead list") == b".\n"


KINDS = """
import asyncio
import time

from gearman_manager import function

def write(name, number):
    with open(f"{folder}/{{name}}", "a") as sent:
        sent.write(f"0 {{number}}\\n")

@function
def in_greenlets(job):
    for number in job.iterate(range(100_000)):
        write("in_greenlets", number)
        time.sleep(0.01)

@function
async def on_loop(job):
    async for number in job.iterate(range(100_000)):
        write("on_loop", number)
        await asyncio.sleep(0.01)

@function
def swallows(job):
    try:
        for number in job.iterate(range(100_000)):
            write("swallows", number)
            time.sleep(0.01)
    except BaseException:
        return "all is well"

@function(batch=5)
def in_list(jobs):
    for number in jobs[0].iterate(range(100_000)):
        write("in_list", number)
        time.sleep(0.01)
"""


def test_every_kind_of_worker_gives_way(manager: RunningManager, tmp_path: Path) -> None:
    names = ("in_greenlets", "on_loop", "swallows", "in_list")
    sent = {name: Sent(tmp_path / name) for name in names}
    manager.write_module("kinds.py", KINDS.format(folder=tmp_path))
    manager.start("defaults: {min: 1, max: 1}\npools: {g: {functions: [in_greenlets], concurrency: 2}}\n")
    with manager.client(timeout_s=30) as client:
        for name in names:
            client.submit_background(name, b"")
        for each in sent.values():
            each.go_on(behind=5)
        manager.command("restart")
    notice = "the worker leaves: the job goes on elsewhere"
    eventually(lambda: manager.log().count(notice) == len(names), "all have given way")
    for name, each in sent.items():
        each.go_on(behind=5)
        numbers = [number for _, number in each.lines()]
        assert numbers == list(range(len(numbers))), name
