"""`async def` functions: a worker runs several at once, on an asyncio loop. The proof: jobs that wait for others."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gearman_client import JobException, JobFailed

from .conftest import RunningManager, alive, eventually
from .crowd import PLACES, at_once, results, running

MODULE = f"""
from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import time

from gearman_manager import Job, JobTimeout, function

IMPORTED_IN = os.getpid()
seen = contextvars.ContextVar("seen", default="nothing")
everybody, pair = asyncio.Barrier({PLACES}), asyncio.Barrier(2)
interrupted = []


@function
async def meet(job):
    await everybody.wait()
    return f"{{IMPORTED_IN}} {{os.getpid()}} {{job.attempt}}"


@function
async def patched(job):
    return ["gevent" in sys.modules, type(asyncio.get_running_loop()).__module__]


@function
async def greet(name: str, *, times: int = 1, job: Job) -> str:
    await asyncio.sleep(0)
    job.status(1, 1)
    return f"{{name}} " * times


@function
async def steps(job):
    for step in range(1, 4):
        job.status(step, 3)
        job.data(job.workload)
        await pair.wait()


@function
async def context(job):
    before = seen.get()
    seen.set(job.workload.decode())
    await everybody.wait()
    return [before, seen.get()]


@function
async def wait_for_file(job):
    while not os.path.exists(job.workload):
        await asyncio.sleep(0.01)
    return f"{{os.getpid()}} {{job.attempt}}"


@function(timeout="500ms")
async def late(job):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        interrupted.append(job.workload.decode())
        raise


@function(timeout="500ms")
async def late_group(job):
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))
        group.create_task(asyncio.sleep(60))


@function(timeout="500ms")
async def compute(job):
    while True:
        pass


@function(timeout="500ms")
async def compute_in_task(job):
    async def endless():
        while True:
            pass
    await asyncio.gather(endless(), asyncio.sleep(60))


@function(timeout="500ms")
async def blocks(job):
    time.sleep(60)


@function(timeout="500ms")
async def swallow(job):
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            pass


@function
async def who_was_interrupted(job):
    return interrupted


@function
async def raises(job):
    raise {{"exit": SystemExit, "cancelled": asyncio.CancelledError, "value": ValueError}}[job.workload.decode()]("no")


@function
async def stray(job):
    async def end():
        raise SystemExit(3)
    asyncio.create_task(end())
    await asyncio.sleep(0.05)
    return b"left"


@function
async def forks(job):
    os.fork()


@function
async def programs(job):
    process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = await process.communicate(job.workload)
    return out


@function
class Kept:
    async def setup(self, settings):
        await asyncio.sleep(0)
        self.loop, self.calls = asyncio.get_running_loop(), []

    async def run(self, job):
        self.calls.append(job.handle)
        await everybody.wait()
        return [os.getpid(), len(self.calls), self.loop is asyncio.get_running_loop()]

    async def teardown(self):
        await asyncio.sleep(0)
        print("torn down on its loop")
"""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager with one worker of three places, for tests that leave the worker unchanged."""
    manager = RunningManager(tmp_path_factory.mktemp("crowd"))
    manager.write_module("crowd.py", MODULE)
    manager.start(f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    yield manager
    manager.destroy()


@pytest.fixture
def same_worker(crowd: RunningManager) -> Iterator[None]:
    """Asserts that the worker is the same before and after the test."""
    before = [worker["pid"] for worker in crowd.workers("crowd")]
    yield
    assert [worker["pid"] for worker in crowd.workers("crowd")] == before


@pytest.mark.usefixtures("same_worker")
class TestOneWorker:
    """The jobs of one worker run side by side."""

    def test_as_many_jobs_as_places_run_at_once_in_a_worker_that_the_zygote_forked(self, crowd: RunningManager) -> None:
        answers = {answer.decode() for answer in results(crowd, *[("meet", "")] * PLACES)}
        (pid,) = [worker["pid"] for worker in crowd.workers("crowd")]
        assert answers == {f"{crowd.pid_of('gearman-manager: zygote')} {pid} 1"}

    def test_nothing_is_patched_and_the_loop_is_that_of_asyncio(self, crowd: RunningManager) -> None:
        assert results(crowd, ("patched", "")) == [b'[false, "asyncio.unix_events"]']

    def test_a_task_gets_its_arguments(self, crowd: RunningManager) -> None:
        reports: list[tuple[int, int]] = []
        with crowd.client(timeout_s=30) as client:
            greet = client.task("greet").with_options(on_status=lambda done, of: reports.append((done, of)))
            assert greet.submit("Ada", times=2) == "Ada Ada "
            with pytest.raises(JobException, match="Reject: times: expected a whole number, not text"):
                greet.submit("Ada", times="2")
        assert reports == [(1, 1)]

    def test_progress_and_data_of_two_jobs_reach_the_right_clients(self, crowd: RunningManager) -> None:
        def follow(name: bytes) -> list[object]:
            seen: list[object] = []
            with crowd.client(timeout_s=30) as client:
                client.submit("steps", name, on_status=lambda *of: seen.append(of), on_data=seen.append)
            return seen

        with ThreadPoolExecutor(2) as pool:
            a, b = pool.map(follow, (b"a", b"b"))
        assert a == [(1, 3), b"a", (2, 3), b"a", (3, 3), b"a"]
        assert b == [(1, 3), b"b", (2, 3), b"b", (3, 3), b"b"]

    def test_each_job_has_a_context_of_its_own(self, crowd: RunningManager) -> None:
        jobs = [("context", f"job {number}") for number in range(PLACES)]
        assert results(crowd, *jobs) == [b'["nothing", "job %d"]' % number for number in range(PLACES)]

    def test_status_lists_every_job(self, crowd: RunningManager, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        with at_once(crowd, *[("wait_for_file", str(gate))] * PLACES) as futures:
            eventually(lambda: len(running(crowd)) == PLACES, "all three are listed")
            gate.touch()
            assert len({future.result(30) for future in futures}) == 1
        eventually(lambda: crowd.workers("crowd")[0]["state"] == "idle", "it has no job")

    @pytest.mark.parametrize("function", ["late", "late_group", "compute", "compute_in_task", "blocks"])
    def test_a_timeout_ends_one_job_and_the_others_go_on(
        self, crowd: RunningManager, tmp_path: Path, function: str
    ) -> None:
        gate = tmp_path / "gate"
        with at_once(crowd, ("wait_for_file", str(gate)), (function, "the late one")) as (other, late):
            with pytest.raises(JobException, match=f"JobTimeout: {function} took longer than its timeout of 0.5 s"):
                late.result(30)
            assert not other.done()
            gate.touch()
            assert other.result(30).endswith(b" 1")  # its first attempt

    def test_the_cancelled_function_can_clean_up(self, crowd: RunningManager) -> None:
        with pytest.raises(JobException):
            results(crowd, ("late", "this very one"))
        assert b"this very one" in results(crowd, ("who_was_interrupted", ""))[0]

    @pytest.mark.parametrize(
        ("function", "workload", "says"),
        [
            ("raises", "exit", "SystemExit: no"),
            ("raises", "cancelled", "CancelledError: no"),
            ("raises", "value", "ValueError: no"),
            ("forks", "", "can't fork"),
        ],
    )
    def test_an_error_of_one_job_does_not_affect_another(
        self, crowd: RunningManager, tmp_path: Path, function: str, workload: str, says: str
    ) -> None:
        gate = tmp_path / "gate"
        with at_once(crowd, ("wait_for_file", str(gate)), (function, workload)) as (other, failing):
            with pytest.raises(JobException, match=says):
                failing.result(30)
            gate.touch()
            assert other.result(30).endswith(b" 1")

    def test_a_task_that_a_job_leaves_behind_does_not_end_the_loop(self, crowd: RunningManager) -> None:
        assert results(crowd, ("stray", "")) == [b"left"]
        assert len(results(crowd, *[("meet", "")] * PLACES)) == PLACES

    def test_programs_are_waited_for_on_the_loop(self, crowd: RunningManager) -> None:
        assert results(crowd, ("programs", "hello")) == [b"hello"]

    def test_all_jobs_of_a_class_share_one_object_that_was_set_up_on_the_loop(self, crowd: RunningManager) -> None:
        (answer,) = set(results(crowd, *[("Kept", "")] * PLACES))
        assert answer.endswith(b", 3, true]")

    def test_a_thousand_short_jobs_come_back(self, crowd: RunningManager) -> None:
        with crowd.client(timeout_s=60) as client:
            for _ in range(1000):
                client.submit_background("patched", b"")
            assert client.submit("patched", b"") == b'[false, "asyncio.unix_events"]'
        eventually(lambda: crowd.status()["functions"]["patched"]["queued"] == 0, "all are done")


def test_a_worker_of_one_place_is_stopped_after_its_job(manager: RunningManager, tmp_path: Path) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start("pools: {crowd: {functions: ['*'], min: 1, max: 1}}\n")
    gate = tmp_path / "gate"
    with at_once(manager, ("wait_for_file", str(gate))) as (waits,):
        eventually(lambda: len(running(manager)) == 1, "it runs")
        assert manager.process is not None
        manager.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stopping" in manager.log(), "it is told to stop")
        assert not waits.done()
        gate.touch()
        assert waits.result(30).endswith(b" 1")
    assert manager.process.wait(30) == 0
    assert "torn down on its loop" in manager.log()


def test_a_worker_is_replaced_after_max_jobs(manager: RunningManager) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start("pools: {crowd: {functions: ['*'], min: 1, max: 1, max_jobs: 3, concurrency: 2}}\n")
    pids = set()
    with manager.client(timeout_s=30) as client:
        for _ in range(9):
            pids.add(client.submit("programs", str(os.getpid())) and client.submit("wait_for_file", b"/").split()[0])
    assert len(pids) >= 3


def test_a_job_that_ignores_its_timeout_is_given_up_and_its_worker_replaced(manager: RunningManager) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start("pools: {crowd: {functions: ['*'], concurrency: 2, min: 1, max: 1}}\n")
    (first,) = [worker["pid"] for worker in manager.workers("crowd")]
    with pytest.raises(JobException, match="goes on in spite of its timeout"):
        results(manager, ("swallow", ""))
    eventually(lambda: not alive(first), "the worker is gone")
    assert results(manager, ("programs", "hello")) == [b"hello"]


HANG = """
import asyncio
import ctypes
import os
import signal
from gearman_manager import function

@function(timeout="1s")
async def hang(job):
    await asyncio.sleep(float(job.workload))
    if job.attempt == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        ctypes.PyDLL(None).sleep(60)  # a library that keeps the interpreter to itself

@function(timeout="1s")
async def innocent(job):
    if job.attempt == 1:
        await asyncio.sleep(60)
    return f"{os.getpid()} {job.attempt}"
"""


def test_a_job_that_blocks_the_loop_fails_alone_and_the_others_run_again(manager: RunningManager) -> None:
    manager.write_module("hang.py", HANG)
    manager.start(f"pools: {{hang: {{functions: [hang, innocent], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    (first,) = [worker["pid"] for worker in manager.workers("hang")]
    with at_once(manager, ("innocent", ""), ("hang", "0.1")) as (innocent, hanging):
        with pytest.raises((JobException, JobFailed)):
            hanging.result(30)
        pid, attempt = innocent.result(30).split()
    assert (int(pid) != first, attempt) == (True, b"2")
    assert "did not react to its timeout" in manager.status()["pools"]["hang"]["last_error"]


def test_kinds_that_do_not_mix_are_named_by_check_and_run_runs_each(manager: RunningManager) -> None:
    manager.workers_dir.mkdir()
    manager.write_module("crowd.py", MODULE)
    manager.write_module("plain.py", "def plain(job):\n    return job.workload\n")
    manager.config_file.write_text(
        "run_dir: run\nserver: {listen: 127.0.0.1:0}\npools: {all: {functions: [plain, meet], concurrency: 5}}\n"
    )
    checked = manager.command("check", check=False)
    assert checked.returncode == 78
    assert (
        "either on an asyncio loop or without one, and here are meet with async def, plain with def" in checked.stderr
    )
    manager.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\npools: {meet: {prefetch: 5}}\n")
    assert "an asyncio loop asks for a job for each of its places" in manager.command("check", check=False).stderr
    manager.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\n")
    assert manager.command("check").returncode == 0
    assert manager.command("run", "greet", '{"args": ["Ada"]}').stdout == '"Ada "'
    assert manager.command("run", "programs", "hello").stdout == "hello"
