"""`job.client`: functions submit further jobs over the manager's servers, and never wait for their own pool."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gearman_client import JobException

from .conftest import RunningManager
from .crowd import at_once

RELAYS = """
import asyncio
import os
from gearman_manager import Job, function
from double import double  # a task of another module

@function
def relay(job):
    return job.client.submit("shout", job.workload) + b" " + job.client.submit("shout", "again")

@function
def itself(job):
    return job.client.submit("relay", b"")

@function
def later(job):
    return job.client.submit_background("itself", b"").encode()

@function(keep_result="60s")
def waits_for_result(job):
    return job.client.result(job.client.submit_background("later", b""))

@function(keep_result="60s")
def looks_for_result(job):
    handle = job.client.submit_background("later", b"")
    try:
        job.client.result(handle, timeout_s=0)
    except Exception as error:
        return type(error).__name__

@function
def typed(number: int) -> int:
    return double.submit(number) + double.submit(number + 1)

@function
def by_name(number: int, job: Job) -> int:
    return job.client.task("double", result=int).submit(number)

@function
def one_client(job):
    return [id(job.client), os.getpid()]
"""
OF_LOOP = """
import asyncio
from gearman_manager import Job, function
from double import double

@function
async def spread(words: list[str], job: Job) -> list[str]:
    async with asyncio.TaskGroup() as group:
        jobs = [group.create_task(job.async_client.submit("shout", word)) for word in words]
    return [job.result().decode() for job in jobs]

@function
async def typed_async(number: int) -> int:
    return sum([each async for each in double.map_async(range(number))])

@function
async def waits_for_result_async(job):
    handle = await job.async_client.submit_background("typed_async", b"")
    return await job.async_client.result(handle)

@function
async def itself_async(job):
    return await job.async_client.submit("spread", b"")
"""


@pytest.fixture(scope="module", params=["", "dev."], ids=["plain", "greenlets"])
def relays(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager whose pools submit jobs to one another: plain, and in greenlets with a prefix for all names."""
    manager = RunningManager(tmp_path_factory.mktemp("relays"))
    manager.write_module("shout.py", "def shout(job):\n    return job.workload.upper()\n")
    double = (
        "from gearman_manager import function\n\n@function\ndef double(number: int) -> int:\n    return number * 2\n"
    )
    manager.write_module("double.py", double)
    manager.write_module("relays.py", RELAYS)
    manager.write_module("of_loop.py", OF_LOOP)
    prefix, concurrency = ("prefix: dev.", 3) if request.param else ("", 1)
    manager.start(
        f"""
        {prefix}
        pools:
          shout: {{min: 1}}
          double: {{min: 1}}
          relays:
            functions: [relay, itself, later, waits_for_result, looks_for_result, typed, by_name, one_client]
            concurrency: {concurrency}
            min: 1
            max: 1
          of_loop:
            functions: [spread, typed_async, waits_for_result_async, itself_async]
            min: 1
            max: 1
            concurrency: 3
        """
    )
    yield manager
    manager.destroy()


def called(manager: RunningManager, function: str, *arguments: object) -> object:
    """Call a task, whose name may have a prefix."""
    prefix = "dev." if "prefix" in manager.config_file.read_text() else ""
    with manager.client(timeout_s=30, namespace=prefix) as client:
        return client.task(function).submit(*arguments)


def run(manager: RunningManager, function: str, workload: bytes) -> bytes:
    prefix = "dev." if "prefix" in manager.config_file.read_text() else ""
    with manager.client(timeout_s=30, namespace=prefix) as client:
        return client.submit(function, workload)


def test_a_function_waits_for_jobs_of_another_pool(relays: RunningManager) -> None:
    assert run(relays, "relay", b"hello") == b"HELLO AGAIN"


def test_a_task_calls_a_task_of_another_module(relays: RunningManager) -> None:
    assert called(relays, "typed", 5) == 22
    assert called(relays, "by_name", 5) == 10


def test_an_async_function_spreads_jobs(relays: RunningManager) -> None:
    assert called(relays, "spread", ["a", "b", "c"]) == ["A", "B", "C"]
    assert called(relays, "typed_async", 4) == 12


@pytest.mark.parametrize(
    ("function", "other"),
    [
        ("itself", "relay"),
        ("itself_async", "spread"),
        ("waits_for_result", "later"),
        ("waits_for_result_async", "typed_async"),
    ],
)
def test_to_wait_for_ones_own_pool_is_refused(relays: RunningManager, function: str, other: str) -> None:
    with pytest.raises(JobException, match=f"WaitsForItself: a function can't wait for {other}, which its own pool"):
        run(relays, function, b"")


def test_background_jobs_for_ones_own_pool_are_allowed(relays: RunningManager) -> None:
    assert run(relays, "later", b"").startswith(b"H:")
    # To look for its result without waiting is allowed, too.
    assert run(relays, "looks_for_result", b"") in (b"Timeout", b"ResultNotKept", b"ResultUnknown")


def test_jobs_of_a_process_share_one_client(relays: RunningManager) -> None:
    prefix = "dev." if "prefix" in relays.config_file.read_text() else ""
    with at_once(relays, *[(f"{prefix}one_client", b"")] * 3) as futures:
        assert len({future.result(30) for future in futures}) == 1


def test_run_lets_a_function_submit_jobs_to_the_servers_of_the_configuration(relays: RunningManager) -> None:
    host, port = str(relays.address).rsplit(":", 1)
    elsewhere = relays.folder / "elsewhere.yaml"
    prefix = "prefix: dev.\n" if "prefix" in relays.config_file.read_text() else ""
    elsewhere.write_text(f"{prefix}servers: ['{host}:{port}']\n")
    command = ["-c", str(elsewhere), "run", f"{'dev.' if prefix else ''}relay", "hello"]
    assert relays.command(*command).stdout == "HELLO AGAIN"


def test_the_parameters_of_tasks_are_shown_with_the_functions(relays: RunningManager) -> None:
    functions = json.loads(relays.command("functions", "--json").stdout)["functions"]
    parameters = {row["name"].removeprefix("dev."): row["parameters"] for row in functions}
    assert parameters["typed"] == parameters["by_name"] == "(number: int) -> int"
    assert parameters["spread"] == "(words: list[str]) -> list[str]"
    assert parameters["relay"] is None
    assert "typed(number: int) -> int" in relays.command("functions").stdout
