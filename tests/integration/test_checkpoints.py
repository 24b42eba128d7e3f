"""Jobs that go on where they were: after new code, kills of worker and server, and a stop of the manager."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from gearman_client import AdminClient, connect_admin

from .conftest import RunningManager, eventually

RECIPIENTS = 3000
NEWSLETTER = """
import os
import time

def newsletter(job):
    # {version}
    with open({sent!r}, "a", buffering=1) as sent:
        for recipient in job.iterate(range(int(job.workload)), every=0):
            sent.write(f"{{os.getpid()}} {{recipient}}\\n")
            if not os.path.exists({sent!r} + "-fast"):
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


def cursor_of(admin: AdminClient, handle: str) -> int:
    """How far the job has come, as the server knows; 0: nothing of that."""
    lines = dict(line.split(b"\t", 1) for line in admin.command(f"jobs show {handle}").splitlines() if b"\t" in line)
    return int(lines.get(b"cursor", b"") or b"0")


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

    after_the_worker = sent.repeated()
    os.kill(manager.pid_of("gearman-server: "), signal.SIGKILL)
    eventually(lambda: "goes on with it, though its server is gone" in manager.log(), "the worker keeps its job")
    with connect_admin(str(manager.address)) as admin:
        before = cursor_of(admin, handle)
        eventually(lambda: cursor_of(admin, handle) > before, "its checkpoints come again")
    assert sent.repeated() == after_the_worker

    assert manager.stop() == 0
    manager.launch()
    sent.go_on(behind=20, by_another=True)
    assert sent.repeated() == after_the_worker
    (tmp_path / "sent-fast").touch()
    eventually(lambda: len({recipient for _, recipient in sent.lines()}) == RECIPIENTS, "all are sent")
    assert sent.repeated() == after_the_worker
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
