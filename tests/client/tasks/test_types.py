"""The type checker knows the parameters and the result of each task, and refuses wrong arguments."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[3]

#: Each line with a comment must be refused by mypy, with this text; all others are fine.
OF_THE_CLIENT = """
    from concurrent.futures import Future
    from typing import assert_type

    from gearman_client import Client, JobHandle, task

    @task
    def send(number: int, to: str = "x") -> list[int]:
        return [number]

    @task(name="other", timeout="3s")
    async def later(text: str) -> bytes:
        return text.encode()

    assert_type(send(1, to="x"), list[int])
    assert_type(send.submit(1, to="x"), list[int])
    assert_type(send.background(1), JobHandle)
    assert_type(send.with_options(priority="high", timeout_s=3).submit(1), list[int])
    assert_type(later.submit("x"), bytes)
    assert_type(send.future(1), Future[list[int]])
    assert_type(list(send.map([1, 2], window=5)), list[list[int]])
    assert_type(list(later.map(["a"])), list[bytes])
    send.future("1")  # incompatible type "str"; expected "int"
    send.map(["1"])  # incompatible type "str"; expected "int"
    send.map([1], [2])  # incompatible type "int"; expected "str"

    async def twins() -> None:
        assert_type(await send.submit_async(1), list[int])
        assert_type([each async for each in later.map_async(["a"])], list[bytes])
        assert_type([each async for each in send.map_async([1], ["x"])], list[list[int]])
        send.map_async(["a"])  # incompatible type "str"; expected "int"
        send.map_async([1], [2])  # incompatible type "int"; expected "str"
        await later.background_async(1)  # incompatible type "int"; expected "str"
    send("1")  # incompatible type "str"; expected "int"
    send.submit("1")  # incompatible type "str"; expected "int"
    send.submit(1, too="x")  # Unexpected keyword argument "too"
    send.submit()  # Missing positional argument "number"
    send.background(1, 2)  # incompatible type "int"; expected "str"
    later.submit(3)  # incompatible type "int"; expected "str"
    send.with_options(prority="high")  # Unexpected keyword argument "prority"
    send.with_options(priority="highest")  # incompatible type
    Client("a:1").task("send").options(delay=[3])  # incompatible type "list[int]"
"""
OF_THE_MANAGER = """
    from typing import assert_type

    from gearman_manager import Job, function

    @function
    def add(numbers: list[int]) -> int:
        return sum(numbers)

    @function(name="talk", timeout="3s")
    def talk(job: Job, text: str, *, times: int = 1) -> str:
        return text * times

    @function
    async def wait(job: Job, text: str) -> str:
        return text

    @function
    class Upper:
        database = 1
        def run(self, job: Job) -> bytes:
            return job.workload

    @function(batch=10)
    def many(jobs: list[Job]) -> list[bytes]:
        return [job.workload for job in jobs]

    assert_type(add.submit([1]), int)
    assert_type(talk.submit("a", times=2), str)
    assert_type(wait.submit("a"), str)
    assert_type(Upper().database, int)
    assert_type(many([]), list[bytes])
    add.submit(["1"])  # has incompatible type "str"; expected "int"
    talk("a")  # incompatible type "str"; expected "Job"
    talk.submit("a", times="2")  # incompatible type "str"; expected "int"
    talk.background()  # Missing positional argument "text"
    wait.submit(5)  # incompatible type "int"; expected "str"
"""


@pytest.mark.parametrize("program", [OF_THE_CLIENT, OF_THE_MANAGER], ids=["client", "manager"])
def test_mypy_refuses_exactly_the_wrong_calls(tmp_path: Path, program: str) -> None:
    text = dedent(program)
    (tmp_path / "calls.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache")]
    checked = subprocess.run(
        [*command, "calls.py"],
        cwd=tmp_path,
        env={"MYPYPATH": ":".join(str(ROOT / part) for part in ("client", "process", "manager")), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    found = dict(re.findall(r"^calls\.py:(\d+): error: (.*)$", checked.stdout, re.MULTILINE))
    expected = {
        str(number): line.partition("  # ")[2] for number, line in enumerate(text.splitlines(), 1) if "  # " in line
    }
    assert found.keys() == expected.keys(), checked.stdout + checked.stderr
    for number, complaint in expected.items():
        assert complaint in found[number]
