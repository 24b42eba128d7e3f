"""`concurrency: N`: the end of a worker that runs several jobs at once, its replacement, and the number of workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gearman_client import GearmanError, JobException, JobFailed

from .conftest import RunningManager, alive, eventually
from .crowd import MODULE, PLACES, at_once, results, running


def draining(manager: RunningManager) -> list[int]:
    """The number of jobs of each worker that is to end after them."""
    return [len(worker["jobs"]) for worker in manager.workers("crowd") if worker["state"] == "draining"]


HANG = """
import ctypes
import os
import signal
import time
from gearman_manager import function

@function(timeout="1s")
def hang(job):
    time.sleep(float(job.workload))
    if job.attempt == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        ctypes.PyDLL(None).sleep(60)  # a library that keeps the interpreter to itself

@function(timeout="1s")
def innocent(job):
    if job.attempt == 1:
        time.sleep(60)
    return f"{os.getpid()} {job.attempt}"
"""


def test_a_job_that_blocks_the_event_loop_fails_alone_and_the_others_run_again(manager: RunningManager) -> None:
    """The innocent job is overdue too by then, even longer: the blocked loop had no chance to interrupt it."""
    manager.write_module("hang.py", HANG)
    manager.start(f"pools: {{hang: {{functions: [hang, innocent], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    (first,) = [worker["pid"] for worker in manager.workers("hang")]
    with at_once(manager, ("innocent", ""), ("hang", "0.1")) as (innocent, hanging):
        with pytest.raises((JobException, JobFailed)):
            hanging.result(20)
        pid, attempt = innocent.result(20).split()
    assert (int(pid) != first, attempt) == (True, b"2")
    eventually(lambda: not alive(first), "the worker is gone")
    assert "did not react to its timeout" in manager.status()["pools"]["hang"]["last_error"]


def test_a_job_that_ignores_its_timeout_is_given_up_and_its_worker_replaced_after_the_other_jobs(
    manager: RunningManager, tmp_path: Path
) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start(f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    (worker,) = manager.workers("crowd")
    gate = tmp_path / "gate"
    with at_once(manager, ("wait_for_file", str(gate)), ("swallow", "")) as (other, swallowing):
        with pytest.raises((JobException, JobFailed), match="goes on in spite of its timeout"):
            swallowing.result(20)
        eventually(lambda: "has a job that does not end" in manager.log(), "a replacement is on its way")
        eventually(lambda: len(manager.workers("crowd")) == 2, "it is there")
        gate.touch()
        assert other.result(20).decode() == f"{worker['pid']} 1"
    eventually(lambda: not alive(worker["pid"]), "the worker is gone")
    assert manager.status()["pools"]["crowd"]["last_error"] == ""


def test_the_jobs_of_a_killed_worker_run_again(manager: RunningManager, tmp_path: Path) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start(f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    (worker,) = manager.workers("crowd")
    gate = tmp_path / "gate"
    with at_once(manager, *[("wait_for_file", str(gate))] * PLACES) as futures:
        eventually(lambda: len(running(manager)) == PLACES, "all run")
        os.kill(worker["pid"], signal.SIGKILL)
        eventually(lambda: len(running(manager)) == PLACES and alive(manager.workers("crowd")[0]["pid"]), "all again")
        gate.touch()
        answers = {future.result(20).decode() for future in futures}
    (replacement,) = manager.workers("crowd")
    assert answers == {f"{replacement['pid']} 2"}
    assert f"died (killed by SIGKILL) with {PLACES} jobs" in manager.log()


def test_without_a_supervisor_a_worker_finishes_all_its_jobs_before_it_ends(
    manager: RunningManager, tmp_path: Path
) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start(f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    gate = tmp_path / "gate"
    assert manager.process is not None
    with at_once(manager, *[("wait_for_file", str(gate))] * PLACES) as futures:
        eventually(lambda: len(running(manager)) == PLACES, "all run")
        (worker,) = manager.workers("crowd")
        manager.process.kill()
        manager.process.wait()
        assert not any(future.done() for future in futures)
        gate.touch()
        assert {future.result(20).decode() for future in futures} == {f"{worker['pid']} 1"}
    eventually(lambda: not alive(worker["pid"]), "the worker is gone")


def test_max_jobs_is_exact(manager: RunningManager) -> None:
    manager.write_module(
        "count.py", "import os, time\ndef count(job):\n    time.sleep(0.01)\n    return f'{os.getpid()}'"
    )
    manager.start("pools: {count: {functions: [count], concurrency: 4, min: 1, max: 1, max_jobs: 5}}\n")
    pids = results(manager, *[("count", "")] * 20)
    assert sorted(pids.count(pid) for pid in set(pids)) == [5, 5, 5, 5]
    assert manager.status()["pools"]["count"]["last_error"] == ""


def test_a_reload_starts_the_new_worker_before_the_old_one_finishes_its_jobs(
    manager: RunningManager, tmp_path: Path
) -> None:
    source = (
        "import os, time\ndef gate(job):\n"
        "    while not os.path.exists(job.workload): time.sleep(0.01)\n"
        "    return 'VERSION'\n"
    )
    manager.write_module("gate.py", source.replace("VERSION", "old"))
    manager.start("pools: {gate: {functions: [gate], concurrency: 3, min: 1, max: 1}}\n")
    gate, failed = tmp_path / "gate", []
    with at_once(manager, *[("gate", str(gate))] * 2) as futures:
        eventually(lambda: len(running(manager, "gate")) == 2, "both run")
        manager.write_module("gate.py", source.replace("VERSION", "new"))

        def new_answers() -> bool:
            try:
                return results(manager, ("gate", __file__)) == [b"new"]
            except GearmanError as error:
                failed.append(error)
                return False

        eventually(new_answers, "the new code answers")
        assert not any(future.done() for future in futures)
        gate.touch()
        assert [future.result(20) for future in futures] == [b"old", b"old"]
    assert failed == []
    eventually(manager.settled, "one worker is left")


def test_the_number_of_workers_follows_the_places_needed_and_the_least_busy_worker_goes_first(
    manager: RunningManager, tmp_path: Path
) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start(
        f"defaults: {{scale: {{utilisation: 0.9}}}}\n"
        f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 4}}}}\n"
    )
    gate = tmp_path / "gate"
    with at_once(manager, *[("wait_for_file", str(gate))] * 5) as futures:
        eventually(lambda: len(running(manager)) == 5, "all five run")
        assert len(manager.workers("crowd")) == 2
        manager.command("scale", "crowd", "1")
        eventually(lambda: len(draining(manager)) == 1, "the less busy one takes no more")
        assert draining(manager) == [2]
        gate.touch()
        assert len({future.result(20) for future in futures}) == 2
