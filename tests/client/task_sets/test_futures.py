"""Futures of jobs, and the executor, against Debian's gearmand and against our job server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, as_completed, wait
from typing import Any

import pytest

from gearman_client import (
    Address,
    ArgumentError,
    Client,
    CouldNotConnect,
    GearmanExecutor,
    JobException,
    JobFailed,
    JsonCodec,
    Timeout,
    WorkerJob,
)

from ..conftest import RunningWorker

PATIENCE_S = 60
StartWorker = Callable[..., RunningWorker]


def upper(job: WorkerJob) -> bytes:
    return job.workload.upper()


@pytest.fixture
def executor(job_server: Address, start_worker: StartWorker) -> Iterator[GearmanExecutor]:
    """Three jobs at once, and a worker for `upper` and `fail`."""
    start_worker(job_server, {"upper": upper, "fail": lambda job: job.fail()})
    with GearmanExecutor(job_server, window=3, timeout_s=PATIENCE_S) as executor:
        yield executor


def test_a_client_gives_futures(job_server: Address, start_worker: StartWorker) -> None:
    with Client(job_server, timeout_s=PATIENCE_S) as client:
        early = client.submit_future("upper", b"abc")
        assert isinstance(early, Future)
        start_worker(job_server, {"upper": upper, "raise": lambda job: job.exception(b"why")})
        failing = client.submit_future("raise", b"")
        many = [client.submit_future("upper", f"job {number}") for number in range(1000)]
        assert early.result(PATIENCE_S) == b"ABC"
        with pytest.raises(JobException, match="why"):
            failing.result(PATIENCE_S)
        assert [future.result(PATIENCE_S) for future in many] == [b"JOB %d" % number for number in range(1000)]
        with pytest.raises(Timeout, match=r"0\.01 s"):
            client.submit_future("nobody", b"", timeout_s=0.01).result(PATIENCE_S)


def test_values_go_through_json_and_codecs(job_server: Address, start_worker: StartWorker) -> None:
    start_worker(job_server, {"echo": lambda job: job.workload})
    with Client(job_server, timeout_s=PATIENCE_S) as client:
        assert client.submit_future("echo", json={"a": [1]}).result(PATIENCE_S) == {"a": [1]}
    with GearmanExecutor(job_server, codec=JsonCodec(), timeout_s=PATIENCE_S) as executor:
        assert executor.submit("echo", None).result(PATIENCE_S) is None


def test_it_is_an_executor_of_the_standard_library(executor: GearmanExecutor) -> None:
    assert isinstance(executor, Executor)
    futures = {executor.submit("upper", f"job {number}"): number for number in range(20)}
    for future in as_completed(futures, PATIENCE_S):
        assert future.result() == b"JOB %d" % futures[future]
    assert list(executor.map("upper", [b"a", b"b", b"c"], timeout=PATIENCE_S)) == [b"A", b"B", b"C"]
    failed = executor.submit("fail", b"")
    assert wait([failed], PATIENCE_S).not_done == set()
    assert isinstance(failed.exception(), JobFailed)


def test_an_event_loop_can_use_it(executor: GearmanExecutor) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        run: Any = loop.run_in_executor
        return await asyncio.gather(*(run(executor, "upper", b"job %d" % number) for number in range(10)))

    assert asyncio.run(main()) == [b"JOB %d" % number for number in range(10)]


def test_a_future_whose_job_has_not_been_sent_can_be_cancelled(job_server: Address, start_worker: StartWorker) -> None:
    seen: list[bytes] = []
    with GearmanExecutor(job_server, window=2, timeout_s=PATIENCE_S) as executor:
        futures = [executor.submit("note", b"%d" % number) for number in range(5)]
        while not all(future.running() for future in futures[:2]):
            threading.Event().wait(0.005)
        assert not futures[0].cancel()
        assert futures[3].cancel()
        with pytest.raises(CancelledError):
            futures[3].result(PATIENCE_S)
        start_worker(job_server, {"note": lambda job: seen.append(job.workload)})
        for future in futures[:3] + futures[4:]:
            assert future.result(PATIENCE_S) == b""
        done, not_done = wait(futures, PATIENCE_S)
        assert (done, not_done) == (set(futures), set())
    assert sorted(seen) == [b"0", b"1", b"2", b"4"]


def test_shutdown_waits_for_what_is_under_way_and_cancels_the_rest(
    job_server: Address, start_worker: StartWorker, in_thread: Callable[..., Future[Any]]
) -> None:
    executor = GearmanExecutor(job_server, window=1, timeout_s=PATIENCE_S)
    futures = [executor.submit("upper", b"%d" % number) for number in range(3)]
    while not futures[0].running():
        threading.Event().wait(0.005)
    done = in_thread(executor.shutdown, cancel_futures=True)
    with pytest.raises(CancelledError):
        futures[1].result(PATIENCE_S)
    assert futures[2].cancelled()
    assert not done.done()
    start_worker(job_server, {"upper": upper})
    done.result(PATIENCE_S)
    assert futures[0].result() == b"0"
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit("upper", b"")
    executor.shutdown()


def test_a_callback_of_a_future_may_submit_another_job(executor: GearmanExecutor) -> None:
    results: list[bytes] = []
    is_over = threading.Event()

    def more(future: Future[bytes]) -> None:
        results.append(future.result())
        if len(results) < 5:
            executor.submit("upper", future.result() + b"x").add_done_callback(more)
        else:
            is_over.set()

    executor.submit("upper", b"x").add_done_callback(more)
    assert is_over.wait(PATIENCE_S)
    assert results == [b"X" * number for number in range(1, 6)]


def test_what_a_callback_of_a_job_raises_is_logged(executor: GearmanExecutor, caplog: pytest.LogCaptureFixture) -> None:
    def stop(task: Any) -> None:
        raise ZeroDivisionError("of a callback")

    assert executor.submit("upper", b"a", on_complete=stop).result(PATIENCE_S) == b"A"
    executor.shutdown()
    assert "of a callback" in caplog.text


def test_many_threads_share_a_client(
    job_server: Address, start_worker: StartWorker, in_thread: Callable[..., Future[Any]]
) -> None:
    start_worker(job_server, {"upper": upper})

    def submit(name: str) -> list[bytes]:
        futures = [client.submit_future("upper", f"{name} {number}") for number in range(50)]
        return [future.result(PATIENCE_S) for future in futures]

    with Client(job_server, timeout_s=PATIENCE_S) as client:
        calls = [in_thread(submit, f"thread {number}") for number in range(20)]
        for number, call in enumerate(calls):
            assert call.result(PATIENCE_S) == [b"THREAD %d %d" % (number, job) for job in range(50)]


def test_the_child_of_a_fork_has_futures_of_its_own(executor: GearmanExecutor) -> None:
    assert executor.submit("upper", b"parent").result(PATIENCE_S) == b"PARENT"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if executor.submit("upper", b"child").result(PATIENCE_S) == b"CHILD" else 2
        finally:
            os._exit(code)
    assert executor.submit("upper", b"again").result(PATIENCE_S) == b"AGAIN"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_without_a_server_the_future_has_the_error() -> None:
    with Client("127.0.0.1:1") as client:
        future = client.submit_future("f", b"")
        assert isinstance(future.exception(PATIENCE_S), CouldNotConnect)
        with pytest.raises(TypeError, match="submit_future"):
            client.submit_future("f", b"", prio=1)  # type: ignore[call-overload]
        with pytest.raises(ArgumentError):
            client.submit_future("", b"")


def test_a_program_ends_when_its_futures_are_done(job_server: Address, start_worker: StartWorker) -> None:
    start_worker(job_server, {"upper": upper})
    program = f"""
import os
from gearman_client import Client, GearmanExecutor
client = Client("{job_server}", timeout_s=60)
executor = GearmanExecutor("{job_server}", timeout_s=60)
for submit in (client.submit_future, executor.submit):
    submit("upper", b"abc").add_done_callback(lambda future: os.write(1, future.result()))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=PATIENCE_S, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == (b"ABCABC", b"", 0)


def test_the_modules_of_futures_are_imported_when_they_are_used() -> None:
    program = """
import sys
from gearman_client import Client
client = Client("127.0.0.1:1")
list(client.map("f", []))
client.task_set().wait()
print([name for name in ("concurrent.futures", "threading", "logging", "asyncio") if name in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=PATIENCE_S, check=True)
    assert b"concurrent.futures" not in ended.stdout
    assert b"asyncio" not in ended.stdout
