"""Task sets against Debian's gearmand and against our job server, with real workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from gearman_client import (
    Address,
    ArgumentError,
    Client,
    CouldNotConnect,
    InUse,
    JobException,
    JobFailed,
    JobHandle,
    JobStatus,
    JsonCodec,
    SetTask,
    Timeout,
    Unfinished,
    Worker,
    WorkerJob,
)

from ...gearmand import Gearmand
from ..conftest import RunningWorker
from .conftest import Diary

PATIENCE_S = 60
StartWorker = Callable[..., RunningWorker]


def upper(job: WorkerJob) -> bytes:
    return job.workload.upper()


def talk(job: WorkerJob) -> bytes:
    job.status(1, 4)
    job.data(b"chunk")
    job.warning(b"careful")
    return b"done"


def test_tasks_of_all_kinds_run_at_once(job_server: Address, start_worker: StartWorker, diary: Diary) -> None:
    start_worker(job_server, {"talk": talk, "fail": lambda job: job.fail(), "raise": lambda job: job.exception(b"why")})
    with Client(job_server) as client, client.task_set(timeout_s=PATIENCE_S, **diary.callbacks) as tasks:
        handle = client.submit_background("nobody", b"", unique="waits")
        talked = tasks.add("talk", b"", context="talk")
        failed = tasks.add("fail", b"", context="fail")
        raised = tasks.add("raise", b"", context="raise")
        left = tasks.add_background("nobody", b"", context="left")
        asked = tasks.add_status(handle, context="asked")
        by_id = tasks.add_status_unique("waits", context="by id")
        assert tasks.unfinished == [talked, failed, raised, left, asked, by_id]
        assert tasks.wait() == []
        assert talked.result() == b"done"
        assert isinstance(left.result(), JobHandle)
        assert asked.result() == JobStatus(known=True, running=False, numerator=0, denominator=0)
        assert by_id.result().known
        assert by_id.result().waiting_clients == 0
        with pytest.raises(JobFailed):
            failed.result()
        with pytest.raises(JobException, match="why"):
            raised.result()
        assert client.status(left.result()).known
    handles = talked.handle, left.handle
    assert handles[1] == left.result()
    assert handles[0] is not None
    assert handles[0].server == job_server
    reports = [("status", 1, 4), ("data", b"chunk"), ("warning", b"careful")]
    assert diary.of("talk") == [("created",), *reports, ("complete",)]
    assert diary.of("fail") == [("created",), ("fail",)]
    assert diary.of("raise") == [("created",), ("exception", b"why"), ("fail",)]
    assert diary.of("left") == [("created",), ("complete",)]
    assert diary.of("asked") == diary.of("by id") == [("complete",)]


def test_iterating_gives_each_task_once_in_the_order_of_completion(
    job_server: Address, start_worker: StartWorker
) -> None:
    start_worker(job_server, {"upper": upper})
    with Client(job_server) as client, client.task_set(timeout_s=PATIENCE_S) as tasks:
        first = tasks.add("later", b"a")
        second = tasks.add("upper", b"b")
        seen = []
        for task in tasks:
            seen.append((task, task.workload, task.result()))
            if task is second:
                start_worker(job_server, {"later": upper})
        assert seen == [(second, b"b", b"B"), (first, b"a", b"A")]
        assert list(tasks) == []
        tasks.add("upper", b"c")
        assert [task.result() for task in tasks] == [b"C"]


def test_thousands_of_jobs_run_at_once(job_server: Address, start_worker: StartWorker) -> None:
    for _ in range(2):
        start_worker(job_server, {"upper": upper})
    with Client(job_server) as client, client.task_set(timeout_s=PATIENCE_S) as tasks:
        added = [tasks.add("upper", f"job {number}", priority="high") for number in range(5000)]
        assert tasks.wait() == []
        assert [task.result() for task in added] == [b"JOB %d" % number for number in range(5000)]


def test_equal_jobs_become_one_and_every_task_gets_its_result(
    job_server: Address, start_worker: StartWorker, diary: Diary
) -> None:
    with Client(job_server) as client, client.task_set(timeout_s=PATIENCE_S, **diary.callbacks) as tasks:
        equal = [tasks.add("talk", b"same", unique="-", context=number) for number in range(4)]
        assert tasks.wait(0.001) == equal
        start_worker(job_server, {"talk": talk})
        assert tasks.wait() == []
        assert len({task.handle for task in equal}) == 1
        assert [task.result() for task in equal] == [b"done"] * 4
    heard = [("created",), ("status", 1, 4), ("data", b"chunk"), ("warning", b"careful"), ("complete",)]
    assert [diary.of(number) for number in range(4)] == [heard] * 4


def test_wait_tells_what_is_unfinished_and_goes_on_later(job_server: Address, start_worker: StartWorker) -> None:
    start_worker(job_server, {"upper": upper})
    with Client(job_server) as client, client.task_set() as tasks:
        done = tasks.add("upper", b"a")
        open_ = tasks.add("later", b"b")
        for task in tasks.as_completed(PATIENCE_S):
            assert task is done
            break
        assert tasks.wait(0) == [open_]
        assert not open_.is_done
        with pytest.raises(Unfinished, match="later"):
            open_.result()
        with pytest.raises(Timeout, match="1 tasks"):
            list(tasks.as_completed(0.01))
        start_worker(job_server, {"later": upper})
        assert tasks.wait(PATIENCE_S) == []
        assert open_.result() == b"B"


def test_failed_attempts_are_repeated_and_the_callbacks_of_task_and_set_are_called(
    job_server: Address, start_worker: StartWorker, diary: Diary
) -> None:
    calls: list[bytes] = []

    def moody(job: WorkerJob) -> bytes | None:
        calls.append(job.workload)
        if calls.count(job.workload) < 3:
            job.exception(b"not yet")
            return None
        return b"at last"

    start_worker(job_server, {"moody": moody})
    retried: list[int] = []
    with Client(job_server) as client, client.task_set(retries=1, timeout_s=PATIENCE_S, **diary.callbacks) as tasks:
        patient = tasks.add("moody", b"a", context="a", retries=2, on_retry=lambda task: retried.append(task.attempts))
        hasty = tasks.add("moody", b"b", context="b")
        assert tasks.wait() == []
        assert patient.result() == b"at last"
        assert (patient.attempts, hasty.attempts) == (3, 2)
        with pytest.raises(JobException, match="not yet"):
            hasty.result()
    assert retried == [1, 2]
    attempt = [("created",), ("exception", b"not yet")]
    assert diary.of("a") == [*attempt, ("retry",), *attempt, ("retry",), ("created",), ("complete",)]
    assert diary.of("b") == [*attempt, ("retry",), *attempt, ("fail",)]


def test_an_attempt_that_takes_too_long_is_given_up_and_repeated(
    job_server: Address, start_worker: StartWorker
) -> None:
    go_on = threading.Event()
    calls: list[bytes] = []

    def slow_at_first(job: WorkerJob) -> bytes:
        calls.append(job.workload)
        if len(calls) == 1:
            go_on.wait(PATIENCE_S)
            return b"late"
        return b"in time"

    for _ in range(2):
        start_worker(job_server, {"slow": slow_at_first})
    with Client(job_server) as client, client.task_set(timeout_s=PATIENCE_S) as tasks:
        task = tasks.add("slow", b"", try_timeout_s=0.2, retries=1000)
        assert tasks.wait() == []
        assert task.result() == b"in time"
        assert task.attempts > 1
        go_on.set()
        # The late answer of the first attempt meets nobody.
        assert tasks.add("slow", b"").attempts == 0
        assert tasks.wait() == []


def test_attempts_that_took_too_long_do_not_pile_up_at_the_server(
    start_gearmand: Callable[[], Gearmand], start_worker: StartWorker
) -> None:
    """Nothing else is under way, so the connection is closed, and the server drops the job that nobody has begun."""
    gearmand = start_gearmand()
    calls: list[bytes] = []
    with Client(gearmand.address) as client, client.task_set(timeout_s=PATIENCE_S) as tasks:
        task = tasks.add("f", b"job", try_timeout_s=0.05, retries=1000)
        while task.attempts < 5:
            tasks.wait(0.01)
        task_of_the_end = tasks.add("f", b"end")
        start_worker(gearmand.address, {"f": lambda job: calls.append(job.workload)})
        assert tasks.wait() == []
        assert (task.error, task_of_the_end.error) == (None, None)
        assert task.attempts >= 5
    assert calls.count(b"job") <= task.attempts - 3


def test_limits_of_the_attempt_and_of_the_whole(job_server: Address) -> None:
    with Client(job_server, timeout_s=PATIENCE_S) as client, client.task_set() as tasks:
        tasks.add_status("H:nobody:1")
        tasks.wait()  # so that the times below are not those of connecting
        whole = tasks.add("nobody", b"", timeout_s=0.05)
        tries = tasks.add("nobody", b"", try_timeout_s=0.01, retries=3)
        assert tasks.wait(PATIENCE_S) == []
        with pytest.raises(Timeout, match=r"nobody in 0.05 s"):
            whole.result()
        with pytest.raises(Timeout, match=r"0.01 s, the limit of an attempt"):
            tries.result()
        assert (whole.attempts, tries.attempts) == (1, 4)


def test_a_callback_may_add_tasks_and_what_it_raises_comes_out_of_wait(
    job_server: Address, start_worker: StartWorker
) -> None:
    start_worker(job_server, {"upper": upper})
    with Client(job_server) as client, client.task_set(timeout_s=PATIENCE_S) as tasks:

        def more(task: Any) -> None:
            if len(task.workload) < 3:
                tasks.add("upper", task.workload + b"x", on_complete=more)

        def stop(task: Any) -> None:
            raise ZeroDivisionError(task.context)

        tasks.add("upper", b"x", on_complete=more)
        failing = [tasks.add("upper", b"y", context=name, on_complete=stop) for name in ("one", "two")]
        for _ in failing:
            with pytest.raises(ZeroDivisionError):
                tasks.wait()
        assert tasks.wait() == []
        assert sorted(task.result() for task in tasks) == [b"X", b"XX", b"XXX", b"Y", b"Y"]


def test_every_exception_of_the_last_callbacks_comes_out(job_server: Address, start_worker: StartWorker) -> None:
    start_worker(job_server, {"upper": upper})

    def stop(task: Any) -> None:
        raise ZeroDivisionError(task.context)

    with Client(job_server) as client, client.task_set(timeout_s=PATIENCE_S) as tasks:
        # Equal jobs: both get done with one packet.
        for name in ("one", "two"):
            tasks.add("upper", b"y", unique="same", context=name, on_complete=stop)
        for name in ("one", "two"):
            with pytest.raises(ZeroDivisionError, match=name):
                tasks.wait()
        assert tasks.wait() == []


def test_a_set_serves_one_call_at_a_time(job_server: Address, start_worker: StartWorker) -> None:
    start_worker(job_server, {"upper": upper})
    with Client(job_server) as client, client.task_set(timeout_s=PATIENCE_S) as tasks:
        tasks.add("upper", b"", on_complete=lambda task: tasks.wait())
        with pytest.raises(InUse, match="task set"):
            tasks.wait()
        assert tasks.wait() == []


def test_jobs_with_keys_meet_at_their_servers_and_others_are_shared_out(
    start_gearmand: Callable[[], Gearmand], start_worker: StartWorker
) -> None:
    servers = [start_gearmand().address for _ in range(3)]
    start_worker(servers, {"upper": upper})
    with Client(servers) as client, client.task_set(timeout_s=PATIENCE_S) as tasks:
        keyed = [tasks.add("upper", b"k", unique=f"key {number}") for number in range(30)]
        free = [tasks.add("upper", b"f") for number in range(90)]
        assert tasks.wait() == []
        assert {task.handle.server for task in free if task.handle} == set(servers)
        homes = {task.context or number: task.handle.server for number, task in enumerate(keyed) if task.handle}
        assert set(homes.values()) == set(servers)
        again = [tasks.add("upper", b"k", unique=f"key {number}") for number in range(30)]
        assert tasks.wait() == []
        assert {number: task.handle.server for number, task in enumerate(again) if task.handle} == homes
        # A handle knows its server; for any other text the servers are asked in turn.
        handles = [client.submit_background("nobody", b"", unique=f"key {number}") for number in range(10)]
        asked = [tasks.add_status(handle) for handle in handles] + [tasks.add_status(str(handles[-1]))]
        asked += [tasks.add_status_unique("key 3"), tasks.add_status_unique("no such key")]
        assert tasks.wait() == []
        assert [task.result().known for task in asked] == [True] * 12 + [False]


def test_without_any_server_every_task_fails_at_once_and_names_the_addresses() -> None:
    with Client(["127.0.0.1:1", "127.0.0.1:2"]) as client, client.task_set() as tasks:
        added: list[SetTask[Any]] = [tasks.add("f", b""), tasks.add("f", b"", unique="u")]
        added += [tasks.add_background("f", b""), tasks.add_status("H:box:1")]
        assert tasks.wait(PATIENCE_S) == []
        for task in added:
            with pytest.raises(CouldNotConnect, match=r"127.0.0.1:1: .*; could not connect to 127.0.0.1:2: "):
                task.result()


def test_mistakes_are_named(job_server: Address) -> None:
    with Client(job_server) as client:
        with pytest.raises(TypeError, match=r"task_set\(\) .* 'on_completed' \(did you mean on_complete\?\)"):
            client.task_set(on_completed=print)  # type: ignore[call-arg]
        with pytest.raises(ArgumentError, match="retries -1"):
            client.task_set(retries=-1)
        tasks = client.task_set()
        misspelt: Any = {"prio": "high"}
        with pytest.raises(TypeError, match=r"add\(\) got .* 'prio'"):
            tasks.add("f", b"", **misspelt)
        with pytest.raises(ArgumentError, match="try_timeout_s"):
            tasks.add("f", b"", try_timeout_s="soon")  # type: ignore[call-overload]
        with pytest.raises(ArgumentError, match="64 bytes"):
            tasks.add_status("x" * 64)
        with pytest.raises(ArgumentError, match="timeout_s"):
            tasks.wait("soon")  # type: ignore[arg-type]
        assert tasks.unfinished == []


def test_values_go_through_the_codec_and_json(job_server: Address, start_worker: StartWorker) -> None:
    start_worker(job_server, {"echo": lambda job: job.workload})
    with Client(job_server, codec=JsonCodec()) as client, client.task_set(timeout_s=PATIENCE_S) as tasks:
        added = [tasks.add("echo", {"a": 1}), tasks.add("echo", json=[1, None])]
        assert tasks.wait() == []
        assert [task.result() for task in added] == [{"a": 1}, [1, None]]


def test_closing_abandons_jobs_that_no_worker_has_begun(start_gearmand: Callable[[], Gearmand], wait_for: Any) -> None:
    gearmand = start_gearmand()
    with Client(gearmand.address) as client:
        with client.task_set() as tasks:
            tasks.add("f", b"abandoned")
            assert len(tasks.wait(0.05)) == 1
        client.submit_background("f", b"other")
        wait_for(lambda: "\t1\t" in gearmand.ask("show jobs"), "the job is marked as ignored")
        seen: list[bytes] = []
        with Worker(gearmand.address) as worker:
            worker.register("f", lambda job: seen.append(job.workload))
            worker.work(max_jobs=1)
        assert seen == [b"other"]


def test_tasks_that_were_not_done_end_with_their_set(job_server: Address, start_worker: StartWorker) -> None:
    start_worker(job_server, {"upper": upper})
    with Client(job_server) as client:
        with client.task_set() as tasks:
            under_way = tasks.add("nobody", b"", try_timeout_s=0.05, retries=1_000_000)
            assert tasks.wait(0.2) == [under_way]
            new = tasks.add("upper", b"never sent")
        for task in (under_way, new):
            with pytest.raises(Unfinished, match="set was closed"):
                task.result()
        assert tasks.wait() == []  # nothing is left to wait for
        assert set(tasks) == {under_way, new}
        again = tasks.add("upper", b"a")
        assert tasks.wait(PATIENCE_S) == []
        assert again.result() == b"A"
