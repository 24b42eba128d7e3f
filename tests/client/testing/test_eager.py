"""The job server in the test's own process: what clients get from it, and what tests see of it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gearman_client import (
    ArgumentError,
    AsyncClient,
    Client,
    CouldNotConnect,
    JobException,
    JobFailed,
    JsonCodec,
    ResultExpired,
    ResultNotKept,
    ResultUnknown,
    ServerError,
    Timeout,
    Worker,
    WorkerJob,
    connect_admin,
    set_default_client,
    task,
)
from gearman_client.errors import AdminError, ConnectionLost
from gearman_client.testing import EagerServer, JobTimeout, WorkerLost

from ...gearmand import Gearmand
from ..conftest import RunningWorker


@pytest.fixture
def server() -> Iterator[EagerServer]:
    with EagerServer() as server:
        yield server


@pytest.fixture
def client(server: EagerServer) -> Iterator[Client]:
    """Of a server that does not exist: no name is looked up."""
    with Client("jobs.example.invalid:4730") as client:
        yield client


# --- foreground jobs


def test_a_foreground_job_runs_in_the_call_and_in_its_thread(server: EagerServer, client: Client) -> None:
    threads = []

    @server.register
    def reverse(job: WorkerJob) -> bytes:
        threads.append(threading.current_thread())
        return job.workload[::-1]

    assert client.submit("reverse", "abc") == b"cba"
    assert client.submit("reverse", b"", timeout_s=5) == b""
    assert threads == [threading.current_thread()] * 2
    assert [(job.function, job.workload, job.state, job.result) for job in server.jobs] == [
        ("reverse", b"abc", "complete", b"cba"),
        ("reverse", b"", "complete", b""),
    ]


def test_reports_go_to_the_clients_callbacks_and_to_the_record(server: EagerServer, client: Client) -> None:
    @server.register("talk")
    def talk(job: WorkerJob) -> str:
        job.status(1, 3)
        job.data(b"data\0more")
        job.warning("careful")
        return "done"

    heard: list[object] = []
    result = client.submit(
        "talk",
        b"",
        on_created=heard.append,
        on_status=lambda *progress: heard.append(progress),
        on_data=heard.append,
        on_warning=heard.append,
    )
    assert (result, heard) == (b"done", ["H:eager:1", (1, 3), b"data\0more", b"careful"])
    (job,) = server.jobs
    assert (job.progress, job.data, job.warnings) == ((1, 3), [b"data\0more"], [b"careful"])


def test_a_failure_reaches_the_client_as_from_a_worker(
    server: EagerServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    @server.register
    def refuse(job: WorkerJob) -> None:
        raise ValueError("no such thing")

    server.register("fail", lambda job: job.fail())
    server.register("odd", lambda job: {1, 2, object()})
    with pytest.raises(JobException, match=r"^ValueError: no such thing$"):
        client.submit("refuse", b"")
    with pytest.raises(JobFailed):
        client.submit("fail", b"")
    with pytest.raises(JobException, match="TypeError"):
        client.submit("odd", b"")
    with Client("x", exceptions=False) as plain, pytest.raises(JobFailed):
        plain.submit("refuse", b"")
    first = server.jobs[0]
    assert (first.state, first.reason) == ("exception", b"ValueError: no such thing")
    assert isinstance(first.error, ValueError)
    assert "Traceback" in caplog.text


def test_every_kind_of_value_and_client_works_as_over_the_network(server: EagerServer) -> None:
    server.register("double", lambda job: {"twice": 2 * job.json()})
    server.register("shop.echo", lambda job: job.workload)
    with Client("x") as client:
        assert client.submit("double", json=21) == {"twice": 42}
        assert client.echo(b"there?") == b"there?"
        assert [str(address) for address in client.ping()] == ["x:4730"]
        with pytest.raises(ArgumentError):
            client.submit("", b"")
    with Client("x", codec=JsonCodec(), namespace="shop.") as client:
        assert client.submit("echo", [1, "a"]) == [1, "a"]
    assert server.jobs[-1].json() == [1, "a"]


def test_a_large_result_arrives_whole(server: EagerServer, client: Client) -> None:
    server.register("grow", lambda job: job.workload * 1000)
    body = bytes(range(256)) * 20
    assert client.submit("grow", body) == body * 1000


def test_a_job_that_takes_longer_than_the_clients_timeout_times_out(server: EagerServer, client: Client) -> None:
    server.register("slow", lambda job: time.sleep(0.05))
    with pytest.raises(Timeout):
        client.submit("slow", b"", timeout_s=0.01)
    server.register("fast", lambda job: b"ok")
    assert client.submit("fast", b"") == b"ok"


def test_an_unknown_function_is_an_error_that_says_what_to_do(server: EagerServer, client: Client) -> None:
    server.register("known", lambda job: b"")
    with pytest.raises(ServerError, match=r"register\('unknown', …\); there are: known"):
        client.submit("unknown", b"")


def test_a_function_may_submit_jobs_but_not_wait_for_itself(server: EagerServer, client: Client) -> None:
    server.register("inner", lambda job: job.workload.upper())
    server.register("outer", lambda job: client.submit("inner", job.workload) + b"!")
    server.register("circle", lambda job: client.submit("circle", b"", unique="u"))
    assert client.submit("outer", b"a") == b"A!"
    with pytest.raises(JobException, match="DEADLOCK"):
        client.submit("circle", b"", unique="u")


def test_a_client_in_another_thread_joins_an_equal_job(
    server: EagerServer, client: Client, in_thread: Callable[..., Future[Any]], wait_for: Callable[..., Any]
) -> None:
    may_end = threading.Event()

    def wait(job: WorkerJob) -> bytes:
        assert may_end.wait(60)
        return b"shared"

    server.register("wait", wait)
    first = in_thread(client.submit, "wait", b"", unique="u")
    wait_for(lambda: [job.state for job in server.jobs] == ["running"], "the job runs")
    second = in_thread(client.submit, "wait", b"", unique="u")
    wait_for(lambda: client.status_unique("u").waiting_clients == 2, "both wait")
    assert client.status_unique("u").running
    may_end.set()
    assert (first.result(60), second.result(60)) == (b"shared", b"shared")
    assert [job.submissions for job in server.jobs] == [2]


# --- background jobs


def test_background_jobs_wait_until_the_test_runs_them(server: EagerServer, client: Client) -> None:
    done = []
    server.register("mail", lambda job: done.append(job.workload))
    low = client.submit_background("mail", "low", priority="low")
    client.submit_background_many("mail", ["a", "b"])
    client.submit_background("mail", "high", priority="high", unique="u")
    client.submit_background("mail", "the same", priority="high", unique="u")
    client.submit_background("other", json={"to": "x"})
    assert done == []
    assert (client.status(low).known, client.status(low).running) == (True, False)
    assert [job.workload for job in server.submitted("mail")] == [b"low", b"a", b"b", b"high"]
    assert server.submitted("other", background=True)[0].json() == {"to": "x"}
    assert server.submitted(background=False) == []
    ran = server.run_all()
    assert done == [b"high", b"a", b"b", b"low"]
    assert [job.state for job in ran] == ["complete"] * 4
    assert not client.status(low).known
    assert [job.function for job in server.waiting] == ["other"]  # nobody has registered it
    server.clear()
    assert server.jobs == []


def test_run_all_runs_what_the_jobs_submit_and_can_be_told_which(server: EagerServer, client: Client) -> None:
    done = []

    def first(job: WorkerJob) -> None:
        client.submit_background("second", job.workload)

    server.register(first)
    server.register("second", lambda job: done.append(job.workload))
    client.submit_background("first", "a")
    assert [job.function for job in server.run_all("first")] == ["first"]
    assert done == []
    client.submit_background("first", "b")
    assert [job.function for job in server.run_all()] == ["second", "first", "second"]
    with pytest.raises(ArgumentError, match="no function third"):
        server.run_all("third")


def test_ten_thousand_jobs_take_no_time_for_one_another(server: EagerServer, client: Client) -> None:
    done: list[bytes] = []
    server.register("count", lambda job: done.append(job.workload), max_queue=10_000)
    workloads = [b"%d" % number for number in range(10_000)]
    began = time.process_time()
    client.submit_background_many("count", workloads)
    assert len(server.run_all()) == 10_000
    assert done == workloads
    assert time.process_time() - began < 20  # a walk over all jobs for each of them would take minutes


def test_jobs_that_submit_one_another_without_end_are_noticed(
    server: EagerServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearman_client.testing.broker.MAX_JOBS_AT_ONCE", 50)
    server.register("again", lambda job: client.submit_background("again", b""))
    client.submit_background("again", b"")
    with pytest.raises(RuntimeError, match="after 50 jobs others still wait"):
        server.run_all()


def test_background_jobs_can_run_at_once(client: Client, server: EagerServer) -> None:
    done = []
    server.register("mail", lambda job: done.append(job.workload))
    server.at_once = True
    assert server.at_once
    handle = client.submit_background("mail", "now")
    client.submit_background("mail", "later", delay=60)
    assert done == [b"now"]
    assert not client.status(handle).known
    server.advance("2m")
    assert done == [b"now", b"later"]
    with EagerServer(at_once=True) as inner:
        inner.register("mail", lambda job: done.append(b"inner"))
        client.submit_background("mail", "x")
    assert done[2:] == [b"inner"]
    client.submit_background("mail", "outer again")
    assert done[3:] == [b"outer again"]


def test_a_delayed_job_runs_when_the_clock_has_come_to_it(server: EagerServer, client: Client) -> None:
    server.register("mail", lambda job: b"")
    client.submit_background("mail", "tomorrow", delay=86_400)
    assert [job.state for job in server.jobs] == ["delayed"]
    assert server.run_all() == []
    server.advance("12h")
    assert server.run_all() == []
    server.advance("13h")
    assert [job.workload for job in server.run_all()] == [b"tomorrow"]


def test_a_kept_result_can_be_asked_for_until_it_expires(server: EagerServer, client: Client) -> None:
    def report(job: WorkerJob) -> bytes:
        job.status(1, 2)
        job.data("part")
        if job.workload == b"bad":
            raise ValueError("bad")
        return b"kept"

    server.register("report", report, keep_result="1h")
    handle = client.submit_background("report", "")
    with pytest.raises(Timeout, match="waiting"):
        client.result(handle, timeout_s=0)
    heard: list[object] = []
    # Who waits for the result has the job run.
    assert client.result(handle, on_status=lambda *p: heard.append(p), on_data=heard.append) == b"kept"
    assert (1, 2) in heard
    assert b"part" in heard
    assert client.result(handle, timeout_s=0) == b"kept"
    with pytest.raises(JobException, match="ValueError: bad"):
        client.result(client.submit_background("report", "bad"))
    delayed = client.submit_background("report", "", delay=600)
    with pytest.raises(Timeout, match="delayed"):
        client.result(delayed, timeout_s=10)
    assert client.result(delayed, timeout_s=700) == b"kept"
    server.advance("2h")
    with pytest.raises(ResultExpired):
        client.result(handle)
    with pytest.raises(ResultUnknown):
        client.result("H:eager:99")


def test_a_result_that_is_not_kept_is_refused_as_by_a_real_server(server: EagerServer, client: Client) -> None:
    server.register("mail", lambda job: b"")
    handle = client.submit_background("mail", "")
    with pytest.raises(ResultNotKept):
        client.result(handle)
    server.run_all()
    with pytest.raises(ResultUnknown):
        client.result(handle)


def test_a_result_is_awaited_while_another_thread_runs_the_job(
    server: EagerServer, client: Client, in_thread: Callable[..., Future[Any]], wait_for: Callable[..., Any]
) -> None:
    may_end = threading.Event()

    def wait(job: WorkerJob) -> bytes:
        assert may_end.wait(60)
        return b"at last"

    server.register("wait", wait, keep_result="1h")
    handle = client.submit_background("wait", b"")
    running = in_thread(server.run_all)
    wait_for(lambda: client.status(handle).running, "the job runs")
    with pytest.raises(Timeout):
        client.result(handle, timeout_s=0.02)
    awaited = in_thread(client.result, handle, timeout_s=60)
    wait_for(lambda: server.jobs[0].waiters, "its result is awaited")
    may_end.set()
    assert awaited.result(60) == b"at last"
    running.result(60)


# --- policies


def test_a_job_is_tried_again_as_its_functions_policy_says(server: EagerServer, client: Client) -> None:
    attempts: list[int | None] = []

    def flaky(job: WorkerJob) -> bytes:
        attempts.append(job.attempt)
        if len(attempts) < 3:
            raise OSError("not yet")
        return b"third time"

    server.register("flaky", flaky, retries=2)
    assert client.submit("flaky", b"") == b"third time"
    assert attempts == [1, 2, 3]
    attempts.clear()
    server.register("flaky", flaky, retries=1)
    with pytest.raises(JobException, match="OSError: not yet"):
        client.submit("flaky", b"")
    assert [job.attempts for job in server.jobs] == [3, 2]


def test_a_worker_can_be_lost_under_its_job(server: EagerServer, client: Client) -> None:
    def lost(job: WorkerJob) -> bytes:
        if job.attempt is not None and job.attempt <= int(job.workload):
            raise WorkerLost
        return b"done"

    server.register("lost", lost, crash_retries=2)
    assert client.submit("lost", "2") == b"done"
    with pytest.raises(JobFailed):
        client.submit("lost", "3")
    assert (server.jobs[-1].state, server.jobs[-1].attempts) == ("failed", 3)


def test_a_function_is_interrupted_at_its_timeout(server: EagerServer, client: Client) -> None:
    cleared = []

    def endless(job: WorkerJob) -> None:
        try:
            threading.Event().wait()
        except JobTimeout:
            cleared.append(job.attempt)
            raise

    server.register("endless", endless, timeout="20ms", retries=1)
    with pytest.raises(JobException, match=r"^JobTimeout: endless took longer than its timeout of 0\.02 s$"):
        client.submit("endless", b"")
    assert cleared == [1, 2]


def test_a_coroutine_function_is_cancelled_at_its_timeout(server: EagerServer, client: Client) -> None:
    cancelled = []

    @server.register("endless", timeout="20ms")
    async def endless(job: WorkerJob) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(job.attempt)
            raise

    with pytest.raises(JobException, match="JobTimeout"):
        client.submit("endless", b"")
    assert cancelled == [1]


def test_a_coroutine_function_that_is_cancelled_may_still_return_a_result(
    server: EagerServer, client: Client, in_thread: Callable[..., Future[Any]]
) -> None:
    @server.register("partial", timeout="20ms")
    async def partial(job: WorkerJob) -> bytes:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return b"as far as it came"
        return b"all"

    assert client.submit("partial", b"") == b"as far as it came"
    assert in_thread(client.submit, "partial", b"").result(60) == b"as far as it came"


def test_a_coroutine_function_that_goes_on_at_its_timeout_is_ended(server: EagerServer, client: Client) -> None:
    @server.register("endless", timeout="20ms")
    async def endless(job: WorkerJob) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    with pytest.raises(JobException, match=r"^JobTimeout: endless goes on in spite of its timeout of 0\.02 s"):
        client.submit("endless", b"")


def test_a_coroutine_function_that_blocks_past_its_timeout_fails(server: EagerServer, client: Client) -> None:
    @server.register("blocks", timeout="20ms")
    async def blocks(job: WorkerJob) -> None:
        time.sleep(0.03)

    with pytest.raises(JobException, match=r"^JobTimeout: blocks took longer than its timeout of 0\.02 s"):
        client.submit("blocks", b"")


def test_outside_the_main_thread_a_timeout_is_noticed_at_the_end(
    server: EagerServer, client: Client, in_thread: Callable[..., Future[Any]]
) -> None:
    server.register("slow", lambda job: time.sleep(0.03), timeout=0.01)
    with pytest.raises(JobException, match="JobTimeout"):
        in_thread(client.submit, "slow", b"").result(60)


def test_a_full_queue_refuses_jobs(server: EagerServer, client: Client) -> None:
    server.register("mail", lambda job: b"", max_queue=2)
    client.submit_background_many("mail", ["1", "2"])
    with pytest.raises(ServerError, match="QUEUE_ERROR"):
        client.submit_background("mail", "3")
    server.run_all()
    client.submit_background("mail", "3")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"retries": -1}, ArgumentError, "retries -1 of f: expected a whole number"),
        ({"timeout": "5 minutes"}, ArgumentError, "timeout of f '5 minutes': expected seconds"),
        ({"retrys": 1}, TypeError, "unexpected option 'retrys'"),
    ],
)
def test_a_wrong_option_is_named(
    server: EagerServer, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        server.register("f", lambda job: b"", **options)


def test_what_is_no_function_is_refused(server: EagerServer) -> None:
    with pytest.raises(ArgumentError, match="expected a function"):
        server.register("f", 5)  # type: ignore[call-overload]
    with pytest.raises(ArgumentError, match="expected a function with a name"):
        server.register(5)  # type: ignore[call-overload]


# --- kinds of functions


def test_the_functions_of_a_worker_are_used(server: EagerServer, client: Client) -> None:
    worker = Worker("127.0.0.1:1")

    @worker.function("text.upper")
    def upper(job: WorkerJob) -> bytes:
        return job.workload.upper()

    server.use(worker, keep_result="1h")
    worker.close()
    assert client.submit("text.upper", "abc") == b"ABC"


def test_tasks_are_called_with_their_arguments_and_recorded_with_them(server: EagerServer, client: Client) -> None:
    @task(retries=1)
    def add(number: int, *, to: int = 1) -> int:
        return number + to

    @task
    async def later(text: str) -> str:
        await asyncio.sleep(0)
        return text * 2

    server.register(add)
    server.register(later)
    set_default_client(client)
    try:
        assert add.submit(1, to=2) == 3
        assert later.submit("a") == "aa"
        add.background(5)
        assert [(job.args, job.kwargs) for job in server.submitted("add")] == [([1], {"to": 2}), ([5], {})]
        with pytest.raises(JobException, match=r"^Reject: number"):
            client.task("add").submit("x")
        assert server.jobs[-1].attempts == 1
    finally:
        set_default_client(None)


def test_functions_of_the_manager_run_with_its_job_and_its_exceptions(server: EagerServer, client: Client) -> None:
    from gearman_manager import JobTimeout as ManagersTimeout
    from gearman_manager import Reject, Retry, function

    steps: list[str] = []

    @function(name="images.rotate", settings={"angle": 90}, retries=5)
    class Rotate:
        def setup(self, settings: dict[str, int]) -> None:
            steps.append(f"setup {settings}")

        def run(self, job: Any) -> dict[str, int]:
            job.log.info("turning")
            if job.workload == b"retry" and job.attempt < 3:
                raise Retry("busy", after="1h")
            if job.workload == b"reject":
                raise Reject("no picture")
            return {"turned": job.settings["angle"], "attempt": job.attempt}

        def teardown(self) -> None:
            steps.append("teardown")

    @function(batch=10)
    def rows(jobs: Any) -> list[Any]:
        return [job.json() + 1 for job in jobs]

    @function(timeout="20ms")
    def endless(job):  # type: ignore[no-untyped-def]
        try:
            threading.Event().wait()
        except ManagersTimeout:
            steps.append("cleared up")
            raise

    for each in (Rotate, rows, endless):
        server.register(each)
    assert client.submit("images.rotate", json=1) == {"turned": 90, "attempt": 1}
    assert json.loads(client.submit("images.rotate", "retry")) == {"turned": 90, "attempt": 3}
    with pytest.raises(JobException, match=r"^Reject: no picture$"):
        client.submit("images.rotate", "reject")
    assert server.jobs[-1].attempts == 1
    assert client.submit("rows", json=1) == 2
    with pytest.raises(JobException, match="JobTimeout"):
        client.submit("endless", b"")
    server.__exit__(None, None, None)
    assert steps == ["setup {'angle': 90}", "cleared up", "teardown"]
    server.__enter__()


def test_setup_and_teardown_of_a_class_may_be_coroutines() -> None:
    steps: list[str] = []

    class Greet:
        async def setup(self, settings: Any) -> None:
            await asyncio.sleep(0)
            self.greeting = settings["greeting"]

        async def run(self, job: Any) -> str:
            return f"{self.greeting} {job.workload.decode()}"

        async def teardown(self) -> None:
            steps.append("teardown")

    with EagerServer() as server, Client("any.host") as client:
        server.register("greet", Greet, settings={"greeting": "Hello"})
        assert client.submit("greet", "Ada") == b"Hello Ada"
    assert steps == ["teardown"]


def test_a_folder_of_worker_modules_may_be_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: EagerServer, client: Client
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "from_here.py").write_text("def from_here(job):\n    return job.workload * 2\n")
    monkeypatch.chdir(tmp_path)
    assert server.load("here") == ["from_here"]
    assert client.submit("from_here", "ab") == b"abab"


def test_a_function_submits_further_jobs_with_the_clients_of_its_job(server: EagerServer, client: Client) -> None:
    server.register("loud", lambda job: job.workload.upper())
    server.register("announce", lambda job: job.client.submit("loud", job.workload) + b"!")

    @server.register("later")
    async def later(job: Any) -> bytes:
        result: bytes = await job.async_client.submit("loud", job.workload)
        await job.async_client.submit_background("announce", result)
        return result + b"?"

    assert client.submit("announce", "a") == b"A!"
    assert client.submit("later", "b") == b"B?"
    assert [job.result for job in server.run_all()] == [b"B!"]


def test_the_managers_worker_modules_are_loaded(server: EagerServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "reverse.py").write_text("def reverse(job):\n    return job.workload[::-1]\n")
    (tmp_path / "sums.py").write_text(
        "from gearman_manager import function\n@function(retries=1)\ndef add(a: int, b: int):\n    return a + b\n"
    )
    assert sorted(server.load(tmp_path)) == ["add", "reverse"]
    assert client.submit("reverse", "abc") == b"cba"
    assert client.task("add").submit(1, b=2) == 3
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    with pytest.raises(ArgumentError, match=r"broken\.py:1"):
        server.load(tmp_path)


# --- other clients, and the borders


def test_an_async_client_is_served_too(server: EagerServer) -> None:
    async def answer(job: WorkerJob) -> bytes:
        await asyncio.sleep(0)
        return job.workload[::-1]

    def refuse(job: WorkerJob) -> None:
        raise ValueError("no")

    server.register("answer", answer)
    server.register("refuse", refuse)

    async def main() -> list[bytes]:
        async with AsyncClient("jobs.example.invalid") as client:
            await client.submit_background("answer", "kept")
            with pytest.raises(JobException, match="ValueError: no"):
                await client.submit("refuse", b"")
            with pytest.raises(ServerError, match="NO_SUCH_FUNCTION"):
                await client.submit("unknown", b"")
            return await asyncio.gather(*(client.submit("answer", str(number)) for number in range(10, 15)))

    assert asyncio.run(main()) == [b"01", b"11", b"21", b"31", b"41"]
    assert [job.workload for job in server.run_all()] == [b"kept"]


def test_many_jobs_under_way_are_served_too(server: EagerServer, client: Client) -> None:
    def refuse(job: WorkerJob) -> None:
        raise ValueError("no")

    server.register("reverse", lambda job: job.workload[::-1])
    server.register("refuse", refuse)
    workloads = [b"%d" % number for number in range(10, 1010)]
    assert list(client.map("reverse", iter(workloads), window=7)) == [each[::-1] for each in workloads]
    with client.task_set(timeout_s=60) as tasks:
        done = tasks.add("reverse", b"ab")
        failed = tasks.add("refuse", b"")
        left = tasks.add_background("reverse", b"later")
        asked = tasks.add_status("H:eager:1")
        assert tasks.wait() == []
    assert done.result() == b"ba"
    with pytest.raises(JobException, match="ValueError: no"):
        failed.result()
    assert not asked.result().known
    assert [job.handle for job in server.run_all()] == [left.result()]


def test_a_server_that_is_down_refuses_and_loses_connections(server: EagerServer, client: Client) -> None:
    server.register("f", lambda job: b"ok")
    assert client.submit("f", b"") == b"ok"
    with server.down(), pytest.raises((ConnectionLost, CouldNotConnect)):
        client.submit("f", b"")
    assert client.submit("f", b"") == b"ok"

    def die(job: WorkerJob) -> None:
        with server.down():
            pass

    server.register("die", die)
    with pytest.raises((ConnectionLost, CouldNotConnect)):
        client.submit("die", b"", timeout_s=20)


def test_a_client_of_a_real_server_is_at_the_eager_one_inside_and_back_afterwards(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    start_worker(gearmand.address, {"where": lambda job: b"real"})
    with Client(gearmand.address, timeout_s=20) as client:

        def answers() -> set[bytes]:
            mapped = client.map("where", [b"1", b"2"])
            return {client.submit("where", b""), *mapped, client.submit_future("where", b"").result(20)}

        assert answers() == {b"real"}
        with EagerServer() as server:
            server.register("where", lambda job: b"eager")
            assert answers() == {b"eager"}
        assert answers() == {b"real"}


def test_a_foreign_connection_hears_what_is_not_there(
    server: EagerServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AdminError, match="no text commands"):
        connect_admin("x").status()
    caplog.set_level(logging.WARNING)
    with Worker("x") as worker:
        worker.register("f", lambda job: b"")
        assert worker.grab(0.05) is None
    assert "EagerServer.use(worker)" in caplog.text


def test_what_ends_a_test_ends_it_and_not_only_the_job(server: EagerServer, client: Client) -> None:
    def stop(job: WorkerJob) -> None:
        raise KeyboardInterrupt

    server.register("stop", stop)
    with pytest.raises(KeyboardInterrupt):
        client.submit("stop", b"")
    assert server.jobs[-1].state == "failed"


def test_options_of_a_job_are_those_of_a_real_server(server: EagerServer, client: Client) -> None:
    told: list[Any] = []
    attempts: list[int] = []

    def tell(job: Any) -> bytes:
        told.append((job.tags, job.key, dict(job.headers), job.timeout_s, job.priority))
        return bytes(job.workload)

    def fail(job: Any) -> None:
        attempts.append(job.attempt)
        raise ValueError("no")

    server.register("tell", tell)
    server.register("fail", fail)
    options: Any = {"tags": ["a"], "key": "k", "headers": {"h": "x"}, "timeout": "9s", "priority": 8}
    assert client.submit("tell", b"w", **options) == b"w"
    assert told == [(("a",), "k", {"h": "x"}, 9.0, 8)]
    with pytest.raises(JobException, match="ValueError: no"):
        client.submit("fail", b"", retries=2)
    assert attempts == [1, 2, 3]

    first = client.submit_background("tell", b"1", submission="s", unique="u", delay="1h", keep_result="1h")
    assert client.submit_background("tell", b"1", submission="s") == first
    assert client.submit_background("tell", b"2", unique="u", replace=True, unique_for="1h") == first
    assert server.jobs[-1].workload == b"2"
    server.run_all()
    assert client.result(first) == b"2"
    late = client.submit_background("tell", b"3", expires="1m", delay=5)
    server.advance(3600)
    server.run_all()
    assert server.jobs[-1].handle == late
    assert (server.jobs[-1].state, server.jobs[-1].reason[:7]) == ("failed", b"expired")
    kept = client.submit_background("tell", b"4", unique="v", unique_for="1h")
    server.run_all()
    assert client.submit_background("tell", b"5", unique="v") == kept
    server.advance(3600)
    assert client.submit_background("tell", b"5", unique="v") != kept


def test_what_only_a_real_server_can_hold_is_accepted(server: EagerServer) -> None:
    limits = {
        "allow_options": ["tags"],
        "unique_scope": "cluster",
        "brake": {"failures": "2/1m"},
        "per_key": {"rate": "1/m"},
        "fair": True,
    }
    server.register("limited", lambda job: job.workload, **limits)
    with Client("127.0.0.1:4730") as client:
        assert [client.submit("limited", b"w", key="k") for _ in range(2)] == [b"w"] * 2
