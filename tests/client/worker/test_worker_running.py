"""`Worker.run`: the loop of a process that is nothing but a worker, with its hooks, its log, and its end by signals."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import (
    Address,
    ArgumentError,
    Client,
    JobException,
    Worker,
    WorkerJob,
    WorkerObserver,
    WorkerSettings,
    task,
)
from gearman_client.packet import PacketType

from ...gearmand import Gearmand
from ...server.server_process import ServerProcess
from ..conftest import ScriptedServer

T = PacketType
PATIENCE_S = 60.0

#: Prints a line at each step; the job runs until a line of standard input comes, and says when it sees a first signal.
PROGRAM = """
import signal, sys, time
from gearman_client import Worker

before = signal.signal(signal.SIGTERM, lambda *_: print("the handler from before"))
before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
with Worker(sys.argv[1]) as worker:
    @worker.function
    def slow(job):
        print("running", flush=True)
        while job.workload and not worker.stopping:
            time.sleep(0.001)
        try:
            print("told" if worker.stopping else "reading", flush=True)
            print(f"read {sys.stdin.readline().strip()}", flush=True)
        finally:
            print("cleared up", flush=True)
        return "done"

    print(worker.run(), "jobs", flush=True)
assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
print("restored", flush=True)
"""


class RunningProgram:
    """PROGRAM at a gearmand, and what it prints."""

    def __init__(self, gearmand: Gearmand) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(gearmand.address)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self, text: str = "") -> tuple[list[str], str, int]:
        """What it printed until its end, its errors, its exit code."""
        out, errors = self.process.communicate(text, timeout=PATIENCE_S)
        return out.splitlines(), errors, self.process.returncode


@pytest.fixture
def program(gearmand: Gearmand) -> Iterator[RunningProgram]:
    running = RunningProgram(gearmand)
    yield running
    running.process.kill()
    running.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_worker_after_the_job_that_runs(
    gearmand: Gearmand, program: RunningProgram, number: signal.Signals, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(gearmand.address) as client:
        answer = in_thread(client.submit, "slow", b"", timeout_s=PATIENCE_S)
        assert program.line() == "running"
        assert program.line() == "reading"
        program.process.send_signal(number)
        lines, errors, code = program.end("more\n")
        assert (lines, errors, code) == (["read more", "cleared up", "1 jobs", "restored"], "", 0)
        assert answer.result(PATIENCE_S) == b"done"


def test_a_signal_ends_an_idle_worker(
    gearmand: Gearmand, program: RunningProgram, wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    wait_for(lambda: gearmand.registered("slow"), "the worker is registered")
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == (["0 jobs", "restored"], "", 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_second_signal_ends_the_job_at_once_and_another_worker_runs_it(
    gearmand: Gearmand,
    program: RunningProgram,
    number: signal.Signals,
    code: int,
    in_thread: Callable[..., Future[Any]],
    start_worker: Callable[..., Any],
) -> None:
    with Client(gearmand.address) as client:
        answer = in_thread(client.submit, "slow", b"until told", timeout_s=PATIENCE_S)
        assert program.line() == "running"
        program.process.send_signal(number)
        assert program.line() == "told"
        program.process.send_signal(number)
        lines, _, found = program.end()
        assert (lines, found) == (["cleared up"], code)
        start_worker(gearmand.address, {"slow": lambda job: b"by another"})
        assert answer.result(PATIENCE_S) == b"by another"


def test_on_idle_is_called_while_no_job_comes_and_its_errors_are_logged(
    gearmand: Gearmand, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def on_idle() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            worker.stop()
        raise ValueError("no such table")

    with Worker(gearmand.address) as worker:
        worker.register("f", lambda job: b"")
        assert worker.run(on_idle=on_idle, idle_s=0.01) == 0
    assert calls == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "on_idle failed; the worker goes on"
    ] * 3


def test_stop_if_is_asked_after_each_job_and_while_the_worker_is_idle(gearmand: Gearmand) -> None:
    asked: list[tuple[bool, float | None]] = []

    def stop_if(is_idle: bool, last_job_at: float | None) -> bool:
        asked.append((is_idle, last_job_at))
        return is_idle and last_job_at is not None

    with Client(gearmand.address) as client, Worker(gearmand.address) as worker:
        client.submit_background_many("f", ["1", "2"])
        worker.register("f", lambda job: b"")
        assert worker.run(stop_if=stop_if, idle_s=0.05) == 2
    busy = [one for one in asked if not one[0]]
    assert len(busy) == 2
    assert all(isinstance(at, float) for _, at in busy)
    assert asked[-1] == (True, busy[-1][1])


def test_an_interrupt_descriptor_ends_a_run_with_hooks(
    worker: Worker, scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    reader, writer = os.pipe()
    worker.interrupt_on(reader)
    ran = in_thread(worker.run, on_idle=lambda: None, idle_s=60)
    peer = scripted_server.accept()
    peer.greet(b"f")
    peer.put_to_sleep()
    os.close(writer)
    assert ran.result(PATIENCE_S) == 0
    os.close(reader)


def test_work_can_wait_for_a_job_for_a_time(gearmand: Gearmand) -> None:
    with Client(gearmand.address) as client, Worker(gearmand.address) as worker:
        worker.register("f", lambda job: b"")
        assert worker.work(max_jobs=1, timeout_s=0.01) == 0
        client.submit_background("f", b"")
        assert worker.work(max_jobs=1, timeout_s=PATIENCE_S) == 1


def test_a_run_outside_the_main_thread_leaves_signals_alone(gearmand: Gearmand) -> None:
    handlers = []

    def look(job: WorkerJob) -> None:
        handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    with Client(gearmand.address) as client, Worker(gearmand.address) as worker:
        worker.function("f")(look)
        client.submit_background("f", b"")
        thread = threading.Thread(target=lambda: worker.run(max_jobs=1))
        thread.start()
        thread.join(PATIENCE_S)
        assert handlers == [before]
        client.submit_background("f", b"")
        assert worker.run(max_jobs=1, signals=False) == 1
        client.submit_background("f", b"")
        assert worker.run(max_jobs=1) == 1
    assert handlers[1] == before
    assert handlers[2] != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_handler_that_a_job_has_set_stays(gearmand: Gearmand) -> None:
    def own(_number: int, _frame: object) -> None:
        raise AssertionError

    before = signal.getsignal(signal.SIGTERM)
    with Client(gearmand.address) as client, Worker(gearmand.address) as worker:
        worker.register("f", lambda job: str(signal.signal(signal.SIGTERM, own)))
        client.submit_background("f", b"")
        worker.run(max_jobs=1)
    try:
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_functions_are_registered_by_a_decorator_and_stay_plain_functions(gearmand: Gearmand) -> None:
    with Client(gearmand.address) as client, Worker(gearmand.address, client_id="decorated") as worker:

        @worker.function
        def double(job: WorkerJob) -> str:
            return str(2 * job.json())

        @worker.function("text.upper")
        def upper(job: WorkerJob) -> bytes:
            return job.workload.upper()

        thread = threading.Thread(target=lambda: worker.work(max_jobs=2))
        thread.start()
        assert client.submit("double", b"21", timeout_s=PATIENCE_S) == b"42"
        assert "decorated" in gearmand.ask("workers")
        assert client.submit("text.upper", b"abc", timeout_s=PATIENCE_S) == b"ABC"
        thread.join(PATIENCE_S)
        assert double.__name__ == "double"
        worker.unregister_all()
        assert worker.grab(0) is None
        assert not gearmand.registered("double")
        assert not gearmand.registered("text.upper")


def test_tasks_coroutines_and_values_for_json_are_served(
    our_server: Address, in_thread: Callable[..., Future[Any]]
) -> None:
    @task(name="sums.add")
    def add(number: int, *, to: int = 1) -> int:
        return number + to

    @task
    async def later(text: str) -> list[str]:
        await asyncio.sleep(0)
        return [text]

    async def shout(job: WorkerJob) -> bytes:
        await asyncio.sleep(0)
        return job.workload.upper()

    with Client(our_server, timeout_s=PATIENCE_S) as client, Worker(our_server) as worker:
        for function in (add, later, shout):
            assert worker.function(function) is function
        worker.register("point", lambda job: {"x": 1, "y": (2.5, None)})
        worker.register("odd", lambda job: object())
        assert worker.callbacks["sums.add"] is add
        working = in_thread(worker.work, max_jobs=6)
        remote = client.task("sums.add")
        assert remote.submit(1, to=2) == 3
        with pytest.raises(JobException, match=r"^Reject: to: expected a whole number"):
            remote.submit(1, to="x")
        assert client.task("later").submit("a") == ["a"]
        assert client.submit("shout", "abc") == b"ABC"
        assert client.submit("point", b"") == b'{"x": 1, "y": [2.5, null]}'
        with pytest.raises(JobException, match="TypeError: the function returned object"):
            client.submit("odd", b"")
        assert working.result(PATIENCE_S) == 6


def test_a_namespace_stands_before_the_names_at_the_server_alone(gearmand: Gearmand) -> None:
    functions = []
    with (
        Client(gearmand.address) as client,
        Worker(gearmand.address, WorkerSettings(namespace="shop.")) as worker,
    ):
        worker.function("pay")(lambda job: functions.append(job.function))
        client.submit_background("shop.pay", b"")
        assert worker.work(max_jobs=1) == 1
        worker.unregister("pay")
        worker.flush()
        assert not gearmand.registered("shop.pay")
    assert functions == ["pay"]


def test_without_servers_those_of_the_environment_are_served(
    gearmand: Gearmand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARMAN_SERVERS", str(gearmand.address))
    with Client() as client, Worker() as worker:
        worker.register("f", lambda job: b"")
        client.submit_background("f", b"")
        assert worker.work(max_jobs=1, timeout_s=PATIENCE_S) == 1


def test_an_observer_hears_of_each_job_and_its_failure(gearmand: Gearmand) -> None:
    heard: list[tuple[str, str, str]] = []

    class Observer(WorkerObserver):
        def job_started(self, job: WorkerJob) -> None:
            heard.append(("started", job.function, ""))

        def job_ended(self, job: WorkerJob, failure: BaseException | None) -> None:
            assert job.answered
            heard.append(("ended", job.function, repr(failure)))

    def refuse(job: WorkerJob) -> None:
        raise ValueError(job.workload.decode())

    with Client(gearmand.address) as client, Worker(gearmand.address, observer=Observer()) as worker:
        worker.register("f", lambda job: b"")
        worker.register("refuse", refuse)
        for function in ("f", "refuse"):
            client.submit_background(function, b"no")
            worker.run(max_jobs=1)
    assert heard == [
        ("started", "f", ""),
        ("ended", "f", "None"),
        ("started", "refuse", ""),
        ("ended", "refuse", "ValueError('no')"),
    ]


def test_the_log_tells_of_servers_that_are_away_come_back_and_go(
    gearmand: Gearmand, caplog: pytest.LogCaptureFixture, wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    caplog.set_level(logging.INFO, "gearman_client.worker")

    def messages() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "gearman_client.worker"]

    settings = WorkerSettings(first_backoff_s=0.01, max_backoff_s=0.02)
    with Worker(gearmand.address, settings) as worker:
        worker.register("f", lambda job: b"")
        thread = threading.Thread(target=worker.run)
        thread.start()
        wait_for(lambda: f"registered with the job server {gearmand.address}" in messages(), "it is registered")
        gearmand.kill()
        wait_for(lambda: len(messages()) >= 4, "it is away")
        gearmand.start()
        wait_for(lambda: len(messages()) >= 5, "it is back")
        worker.stop()
        thread.join(PATIENCE_S)
    found = messages()
    assert found[0] == f"serving f at {gearmand.address}"
    assert found[2].endswith("; connecting again")
    # The kernel may still accept, when the connection has ended and the listening socket has not.
    away = rf"(could not connect to {gearmand.address}: .+|connection to {gearmand.address} lost: .+); trying again"
    assert re.fullmatch(away, found[3])
    # Tried all the time, and said once.
    assert found[4:] == [f"registered with the job server {gearmand.address}", "ended after 0 jobs"]


@pytest.fixture
def our_server() -> Iterator[Address]:
    server = ServerProcess()
    yield Address("127.0.0.1", server.port)
    server.stop()


def test_an_exception_reaches_the_client_of_our_server_as_such(our_server: Address) -> None:
    def refuse(job: WorkerJob) -> None:
        raise ValueError("not today")

    with Client(our_server) as client, Worker(our_server) as worker:
        worker.register("refuse", refuse)
        thread = threading.Thread(target=lambda: worker.run(max_jobs=1))
        thread.start()
        with pytest.raises(JobException, match="ValueError: not today"):
            client.submit("refuse", b"", timeout_s=PATIENCE_S)
        thread.join(PATIENCE_S)


@pytest.mark.parametrize(
    "call",
    [
        lambda worker: worker.run(on_idle=5),
        lambda worker: worker.run(stop_if="x"),
        lambda worker: worker.run(max_jobs="1"),
        lambda worker: worker.run(on_idle=print, idle_s="1"),
        lambda worker: worker.work(timeout_s="1"),
        lambda worker: worker.function(5),
        lambda worker: Worker("127.0.0.1", WorkerSettings(namespace="a\0b")),
        lambda worker: Worker("127.0.0.1", client_id="a\0b"),
    ],
)
def test_a_wrong_argument_is_named(worker: Worker, call: Callable[[Worker], object]) -> None:
    with pytest.raises(ArgumentError, match=r"expected|zero byte"):
        call(worker)
