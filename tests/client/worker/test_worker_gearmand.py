"""The worker against Debian's gearmand, with Debian's tools as its clients."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from gearman_client import Client, JobFailed, Worker, WorkerJob, WorkerSettings

from ...gearmand import Gearmand
from ..conftest import RecordingObserver, RunningWorker


def run_gearman(gearmand: Gearmand, *arguments: str, workload: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    executable = shutil.which("gearman", path="/usr/bin:/usr/local/bin")
    assert executable is not None, "gearman is not installed (Debian: apt-get install gearman-tools)"
    command = [executable, "-h", "127.0.0.1", "-p", str(gearmand.port), *arguments]
    return subprocess.run(command, input=workload, capture_output=True, timeout=20, check=False)


def test_debians_gearman_tool_gets_its_result(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> None:
    start_worker(gearmand.address, {"reverse": lambda job: job.workload[::-1]})
    assert run_gearman(gearmand, "-f", "reverse", "Rasmus").stdout == b"sumsaR"
    big = bytes(range(256)) * 2_000
    assert run_gearman(gearmand, "-f", "reverse", workload=big).stdout == big[::-1]


def test_debians_gearman_tool_sees_progress_data_warnings_and_failure(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    def talk(job: WorkerJob) -> str:
        job.status(1, 3)
        job.data(b"data;")
        job.warning(b"warning;")
        return "result"

    def refuse(job: WorkerJob) -> None:
        raise ValueError("no such thing")

    start_worker(gearmand.address, {"talk": talk, "refuse": refuse})
    talked = run_gearman(gearmand, "-f", "talk", "x")
    assert sorted([b"33% Complete\n", b"data;result"]) == sorted(
        [b"33% Complete\n", talked.stdout.replace(b"33% Complete\n", b"")]
    )
    assert talked.stderr == b"warning;"
    refused = run_gearman(gearmand, "-f", "refuse", "x")
    assert refused.stderr == b"ValueError: no such thingJob failed\n"
    assert refused.returncode == 1


def test_a_client_that_comes_before_any_worker_is_answered_later(
    gearmand: Gearmand,
    start_worker: Callable[..., RunningWorker],
    in_thread: Callable[..., Future[Any]],
    wait_for: Callable[[Callable[[], Any], str], Any],
) -> None:
    with Client(gearmand.address) as client:
        answer = in_thread(client.submit, "late", b"x")
        wait_for(lambda: "late\t1\t0\t0" in gearmand.ask("status"), "the job is queued")
        start_worker(gearmand.address, {"late": lambda job: b"at last"})
        assert answer.result(10) == b"at last"


def test_a_thousand_background_jobs_run_once_each(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker], wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    seen: list[bytes] = []
    with Client(gearmand.address) as client:
        for number in range(1000):
            client.submit_background("count", b"%d" % number)
    start_worker(gearmand.address, {"count": lambda job: seen.append(job.workload)})
    wait_for(lambda: "count\t0\t0\t1" in gearmand.ask("status"), "the queue is empty")
    assert sorted(seen, key=int) == [b"%d" % number for number in range(1000)]


def test_one_worker_serves_two_servers(
    start_gearmand: Callable[[], Gearmand], start_worker: Callable[..., RunningWorker]
) -> None:
    first, second = start_gearmand(), start_gearmand()
    start_worker([first.address, second.address], {"where": lambda job: str(job.server)})
    with Client(first.address) as one, Client(second.address) as two:
        for _ in range(20):
            assert one.submit("where", b"", timeout_s=10) == str(first.address).encode()
            assert two.submit("where", b"", timeout_s=10) == str(second.address).encode()


def test_a_lost_server_leaves_the_other_one_served_and_is_served_again_when_it_returns(
    start_gearmand: Callable[[], Gearmand],
    start_worker: Callable[..., RunningWorker],
    wait_for: Callable[[Callable[[], Any], str], Any],
    observer: RecordingObserver,
) -> None:
    first, second = start_gearmand(), start_gearmand()
    settings = WorkerSettings(client_id="me", max_backoff_s=0.2)
    running = start_worker(
        [first.address, second.address], {"f": lambda job: b"ok"}, settings=settings, observer=observer
    )
    wait_for(lambda: first.registered("f") and second.registered("f"), "registered with both")
    first.kill()
    with Client(second.address) as client:
        assert [client.submit("f", b"", timeout_s=5) for _ in range(10)] == [b"ok"] * 10
    wait_for(lambda: observer.named("disconnected"), "the loss is reported")
    first.start()
    wait_for(lambda: first.registered("f"), "registered again")
    assert " me : f" in first.ask("workers")
    with Client(first.address) as client:
        assert client.submit("f", b"", timeout_s=5) == b"ok"
    assert not running.done.done()


def test_a_paused_server_does_not_keep_the_worker_from_the_other_one(
    start_gearmand: Callable[[], Gearmand],
    start_worker: Callable[..., RunningWorker],
    wait_for: Callable[[Callable[[], Any], str], Any],
) -> None:
    paused, lively = start_gearmand(), start_gearmand()
    start_worker(
        [paused.address, lively.address], {"f": lambda job: b"ok"}, settings=WorkerSettings(reply_timeout_s=0.5)
    )
    wait_for(lambda: paused.registered("f") and lively.registered("f"), "registered with both")
    paused.pause()
    with Client(lively.address) as client:
        assert [client.submit("f", b"", timeout_s=5) for _ in range(20)] == [b"ok"] * 20
    paused.go_on()
    with Client(paused.address) as client:
        assert client.submit("f", b"", timeout_s=10) == b"ok"


def test_the_last_result_reaches_the_client_when_the_worker_closes_right_afterwards(
    gearmand: Gearmand, in_thread: Callable[..., Future[Any]]
) -> None:
    def result_of(size: int, _job: object) -> bytes:
        return b"r" * size

    for size in (0, 10, 1_000_000):
        with Client(gearmand.address) as client, Worker(gearmand.address) as worker:
            worker.register("once", partial(result_of, size))
            answer = in_thread(client.submit, "once", b"", timeout_s=10)
            assert worker.work(max_jobs=1) == 1
            worker.close()
            assert answer.result(10) == b"r" * size


def test_stop_lets_the_running_job_finish_and_leaves_the_next_job_in_the_queue(
    gearmand: Gearmand,
    start_worker: Callable[..., RunningWorker],
    in_thread: Callable[..., Future[Any]],
    wait_for: Callable[[Callable[[], Any], str], Any],
) -> None:
    may_end = threading.Event()
    began = threading.Event()

    def slow(job: WorkerJob) -> bytes:
        began.set()
        assert may_end.wait(10)
        return b"done"

    with Client(gearmand.address) as client, Client(gearmand.address) as other:
        answer = in_thread(client.submit, "slow", b"", timeout_s=10)
        running = start_worker(gearmand.address, {"slow": slow})
        assert began.wait(10)
        next_handle = other.submit_background("slow", b"next")
        running.worker.stop()
        may_end.set()
        assert answer.result(10) == b"done"
        assert running.done.result(10) == 1
        running.worker.close()
        status = other.status(next_handle)
        assert (status.known, status.running) == (True, False)


def test_the_job_of_a_killed_worker_is_run_by_another_worker(
    gearmand: Gearmand,
    start_worker: Callable[..., RunningWorker],
    in_thread: Callable[..., Future[Any]],
    wait_for: Callable[[Callable[[], Any], str], Any],
) -> None:
    program = (
        "import sys, signal; from gearman_client import Worker; worker = Worker(sys.argv[1]);"
        "worker.register('f', lambda job: signal.pause()); worker.work()"
    )
    command = [sys.executable, "-c", program, str(gearmand.address)]
    with subprocess.Popen(command) as process, Client(gearmand.address) as client:
        answer = in_thread(client.submit, "f", b"", timeout_s=20)
        wait_for(lambda: "f\t1\t1\t1" in gearmand.ask("status"), "the job runs")
        process.kill()
        start_worker(gearmand.address, {"f": lambda job: b"second attempt"})
        assert answer.result(10) == b"second attempt"


def test_a_worker_process_stops_cleanly_on_sigterm_between_jobs(
    gearmand: Gearmand, wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    program = (
        "import sys, signal; from gearman_client import Worker\n"
        "with Worker(sys.argv[1]) as worker:\n"
        "    signal.signal(signal.SIGTERM, lambda *_: worker.stop())\n"
        "    worker.register('f', lambda job: b'ok')\n"
        "    print(worker.work())\n"
    )
    command = [sys.executable, "-c", program, str(gearmand.address)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with Client(gearmand.address) as client:
            assert client.submit("f", b"", timeout_s=10) == b"ok"
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=10)
    assert (out, errors, process.returncode) == (b"1\n", b"", 0)


def test_a_job_for_a_function_without_a_callback_fails_and_the_worker_goes_on(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    start_worker(gearmand.address, {"none": None, "f": lambda job: b"ok"})
    with Client(gearmand.address) as client:
        warnings: list[bytes] = []
        with pytest.raises(JobFailed):
            client.submit("none", b"", timeout_s=10, on_warning=warnings.append)
        assert warnings == [b"this worker has no callback for none"]
        assert client.submit("f", b"", timeout_s=10) == b"ok"


def test_names_that_are_not_utf8_arrive_unchanged_in_both_directions(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    name = b"f\xff\xc3\xa4".decode("utf-8", "surrogateescape")
    start_worker(gearmand.address, {name: lambda job: f"{job.function}/{job.unique}"})
    with Client(gearmand.address) as client:
        assert client.submit(name, b"", unique="ü", timeout_s=10) == b"f\xff\xc3\xa4/\xc3\xbc"
