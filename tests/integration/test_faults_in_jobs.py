"""A job that does whatever it can to its process: its own worker may end for it, the manager and all others go on."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import dedent

import pytest

from gearman_client import JobFailed

from . import neighbour
from .conftest import NAP, RunningManager, alive, eventually

#: Runs the workload as code; its variable `result` is the job's result.
RUN = """
import os

def run(job):
    names = {"job": job, "os": os, "result": str(os.getpid())}
    exec(job.workload.decode(), names)
    return names["result"]
"""
CONFIG = """
functions: {run: {crash_retries: 0}}
pools:
  run: {functions: [run], min: 1, max: 1, stop_timeout: 2s}
  nap: {functions: [nap], min: 1, max: 1}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    manager = RunningManager(tmp_path_factory.mktemp("faults"))
    manager.write_module("run.py", RUN)
    manager.write_module("nap.py", NAP)
    manager.write_module("neighbour.py", neighbour.MODULE)
    manager.environment["MARK"] = str(manager.folder / "mark")
    yield manager.start(CONFIG)
    manager.destroy()


@pytest.fixture
def watched(running: RunningManager) -> Iterator[RunningManager]:
    """That manager, while a neighbour is called all the time."""
    eventually(running.settled, "all workers are there")
    with neighbour.undisturbed(running):
        yield running
    assert "looking after the pools failed" not in running.log()
    assert "the manager goes on" not in running.log()


def run(manager: RunningManager, code: str) -> bytes:
    with manager.client(timeout_s=20) as client:
        return client.submit("run", dedent(code))


def pid_of(manager: RunningManager, pool: str) -> int:
    (worker,) = manager.workers(pool)
    return int(worker["pid"])


def test_a_job_that_cuts_and_fills_every_file_it_finds_disturbs_nobody(watched: RunningManager) -> None:
    others = pid_of(watched, "nap"), watched.process and watched.process.pid
    code = """
        result = ""
        for number in range(3, 256):
            try:
                kind = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue
            if "scoreboard" in kind:
                result += kind
            if not kind.startswith("socket"):
                for act in (lambda: os.ftruncate(number, 0), lambda: os.write(number, b"\\xff" * 4096)):
                    try:
                        act()
                    except OSError:
                        pass
    """
    assert run(watched, code) == b""
    eventually(watched.settled, "all workers are there")
    assert (pid_of(watched, "nap"), watched.process and watched.process.pid) == others


def test_a_job_that_fills_its_own_report_with_nonsense_ends_its_worker_alone(watched: RunningManager) -> None:
    victim, other = pid_of(watched, "run"), pid_of(watched, "nap")
    code = """
        import gc
        from gearman_manager.ipc.scoreboard import SlotWriter
        for found in gc.get_objects():
            if isinstance(found, SlotWriter):
                found._memory[:] = b"\\xff" * len(found._memory)
        import time
        time.sleep(60)
    """
    with pytest.raises(JobFailed):
        run(watched, code)
    eventually(lambda: not alive(victim), "the worker is ended")
    eventually(lambda: watched.settled() and pid_of(watched, "run") != victim, "another takes its place")
    assert "a job wrote nonsense into its report" in watched.log()
    assert pid_of(watched, "nap") == other


def test_a_stop_ends_a_manager_whose_worker_reports_nonsense(running: RunningManager) -> None:
    code = """
        import gc, time
        from gearman_manager.ipc.scoreboard import SlotWriter
        for found in gc.get_objects():
            if isinstance(found, SlotWriter):
                found._memory[:] = b"\\xff" * len(found._memory)
        open(os.environ["MARK"], "w").close()
        time.sleep(60)
    """
    mark = running.folder / "mark"
    with running.client(timeout_s=20) as client:
        client.submit_background("run", dedent(code))
    eventually(mark.exists, "the job has begun")
    assert running.stop(within_s=20) == 0
