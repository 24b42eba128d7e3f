"""Worker modules in the tests' server beside the manager: the same calls, the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client import Client, GearmanError
from gearman_client.testing import EagerServer, RealServer

PATIENCE_S = 60.0
MODULES = {
    "reverse.py": """
def reverse(job):
    return job.workload[::-1]
""",
    "several.py": """
import asyncio
from dataclasses import dataclass
from datetime import date

from gearman_manager import Reject, Retry, function


@dataclass
class Person:
    name: str
    born: date


@function
def greet(person: Person, *, greeting: str = "Hello") -> dict:
    return {"text": f"{greeting} {person.name}", "born": person.born}


@function(name="people.count", settings={"base": 10}, retries=1, backoff="10ms")
class Count:
    def setup(self, settings):
        self.seen = settings["base"]

    def run(self, job):
        if job.workload == b"flaky" and job.attempt == 1:
            raise OSError("first attempt")
        self.seen += 1
        return {"seen": self.seen, "base": job.settings["base"], "attempt": job.attempt}


@function(backoff="10ms")
def moody(job):
    job.status(job.attempt, 3)
    if job.workload == b"reject":
        raise Reject("never")
    if job.attempt < 3:
        raise Retry("busy", after="10ms")
    return {1, 2}


@function(timeout="200ms")
def endless(job):
    while True:
        pass


@function
async def later(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@function(batch=5)
def each(jobs):
    return [ValueError("none") if not job.workload else job.json() * 2 for job in jobs]


@function
def odd(job):
    return object()


@function
def chain(job):
    return job.client.submit("reverse", job.workload) + b"."
""",
}

Call = Callable[[Client], object]
CALLS: dict[str, Call] = {
    "bytes": lambda client: client.submit("reverse", b"a\0b"),
    "task": lambda client: client.task("greet").submit({"name": "Ada", "born": "1815-12-10"}, greeting="Hi"),
    "mismatch": lambda client: client.task("greet").submit({"name": "Ada", "born": "soon"}),
    "missing": lambda client: client.task("greet").submit(),
    "no call": lambda client: client.submit("greet", b"[1]"),
    "class": lambda client: client.submit("people.count", b""),
    "second": lambda client: client.submit("people.count", json=None),
    "flaky": lambda client: client.submit("people.count", "flaky"),
    "retry": lambda client: client.submit("moody", b""),
    "reject": lambda client: client.submit("moody", b"reject"),
    "timeout": lambda client: client.submit("endless", b""),
    "async": lambda client: client.task("later").submit(0.001),
    "batch": lambda client: client.submit("each", json=21),
    "batch failure": lambda client: client.submit("each", b""),
    "no result": lambda client: client.submit("odd", b""),
    "chain": lambda client: client.submit("chain", b"abc"),
}


def transcript(client: Client) -> dict[str, str]:
    """The outcome of each call."""
    found = {}
    for name, call in CALLS.items():
        try:
            found[name] = str(call(client))
        except GearmanError as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


@pytest.fixture
def workers(tmp_path: Path) -> Path:
    folder = tmp_path / "workers"
    folder.mkdir()
    for name, text in MODULES.items():
        (folder / name).write_text(text)
    return folder


def test_worker_modules_answer_as_in_the_manager(workers: Path) -> None:
    config = {"workers_dir": str(workers), "defaults": {"min": 1, "max": 1}}
    with RealServer(config) as real, real.client(timeout_s=PATIENCE_S) as client:
        expected = transcript(client)
    with EagerServer() as eager, Client("any.host", timeout_s=PATIENCE_S) as client:
        eager.load(workers)
        found = transcript(client)
    assert found == expected
    assert expected["class"] == str(b'{"seen": 11, "base": 10, "attempt": 1}')
    assert expected["retry"] == str(b"[1, 2]")
