"""`_hooks.py`: code for all functions of a folder, called around the worker's life and around each job."""

from __future__ import annotations

import pytest

from gearman_client import JobException

from .conftest import RunningManager, eventually

HOOKS = """
import os

connection = None


def worker_start():
    global connection
    connection = f"connection of {os.getpid()}"
    print("hook: worker_start")


def job_start(job):
    if job.workload == b"refused":
        raise PermissionError("not this one")
    print("hook: job_start", job.function)


def job_end(job, error):
    print("hook: job_end", type(error).__name__)
    if job.workload == b"bad end":
        raise RuntimeError("the hook itself is broken")


def worker_stop():
    print("hook: worker_stop")
"""


@pytest.fixture
def hooked(manager: RunningManager) -> RunningManager:
    """A function in a folder with hooks."""
    manager.write_module("_hooks.py", HOOKS)
    manager.write_module(
        "echo.py",
        "def echo(job):\n    if job.workload == b'fail': raise ValueError('as wished')\n    return job.workload\n",
    )
    return manager


def test_hooks_are_called_around_the_life_of_a_worker_and_each_job(hooked: RunningManager) -> None:
    manager = hooked.start("defaults: {max: 1}\n")
    with manager.client() as client:
        assert client.submit("echo", b"x") == b"x"
        with pytest.raises(JobException):
            client.submit("echo", b"fail")
        with pytest.raises(JobException, match="PermissionError: not this one"):
            client.submit("echo", b"refused")
        assert client.submit("echo", b"bad end") == b"bad end"
        assert client.submit("echo", b"y") == b"y"
    assert manager.stop() == 0
    said = [line.partition("hook: ")[2] for line in manager.log().splitlines() if "hook: " in line]
    assert said == [
        "worker_start",
        "job_start echo",
        "job_end NoneType",
        "job_start echo",
        "job_end ValueError",
        "job_end PermissionError",
        "job_start echo",
        "job_end NoneType",
        "job_start echo",
        "job_end NoneType",
        "worker_stop",
    ]
    assert "the hook job_end failed" in manager.log()


def test_functions_can_import_objects_that_the_hooks_opened(hooked: RunningManager) -> None:
    hooked.write_module("who.py", "import _hooks\ndef who(job): return _hooks.connection\n")
    manager = hooked.start("defaults: {max: 1}\n")
    with manager.client() as client:
        assert client.submit("who", b"") == f"connection of {manager.workers('who')[0]['pid']}".encode()


def test_a_hook_that_raises_at_the_start_fails_the_pool_with_its_reason(hooked: RunningManager) -> None:
    hooked.write_module("_hooks.py", "def worker_start(): raise ConnectionError('no database')\n")
    manager = hooked
    manager.config_file.write_text(
        "run_dir: run\nserver: {listen: '127.0.0.1:0'}\nexit_when_failing: true\ndefaults: {max: 1}\n"
    )
    manager.launch()
    assert manager.process is not None
    assert manager.process.wait(30) == 1
    assert "can't keep a worker alive: echo/" in manager.log()
    assert "ConnectionError: no database" in manager.log()


def test_broken_hooks_are_an_error_with_file_and_line(hooked: RunningManager) -> None:
    hooked.write_module("_hooks.py", "\njob_start = 7\n")
    manager = hooked.start("")
    error = eventually(lambda: manager.status()["errors"], "the error is told")[0]
    assert error["file"].endswith("_hooks.py")
    assert error["message"] == "job_start must be a function"
