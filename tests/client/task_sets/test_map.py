"""`Client.map` against Debian's gearmand and against our job server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from gearman_client import (
    Address,
    ArgumentError,
    Client,
    CouldNotConnect,
    GearmanError,
    JobException,
    JobFailed,
    JsonCodec,
    ResultNotDecoded,
    Timeout,
    WorkerJob,
)

from ..conftest import RunningWorker

PATIENCE_S = 60
StartWorker = Callable[..., RunningWorker]


def double(job: WorkerJob) -> bytes:
    return b"%d" % (2 * int(job.workload))


@pytest.fixture
def client(job_server: Address, start_worker: StartWorker) -> Iterator[Client]:
    start_worker(job_server, {"double": double, "fail": lambda job: job.fail()})
    start_worker(job_server, {"double": double})
    with Client(job_server, timeout_s=PATIENCE_S) as client:
        yield client


@pytest.mark.parametrize("window", [None, 1, 2, 7, 100_000])
def test_results_come_in_the_order_of_the_workloads(client: Client, window: int | None) -> None:
    results = client.map("double", (str(number) for number in range(1000)), window=window)
    assert list(results) == [b"%d" % (2 * number) for number in range(1000)]
    assert list(client.map("double", [])) == []


@pytest.mark.parametrize("window", [None, 1, 3])
def test_results_come_as_they_are_done(client: Client, window: int | None) -> None:
    results = client.map("double", [b"%d" % number for number in range(500)], as_completed=True, window=window)
    assert sorted(map(int, results)) == [2 * number for number in range(500)]


def test_no_more_workloads_are_taken_than_the_window_allows(client: Client) -> None:
    taken = 0

    def workloads() -> Iterator[bytes]:
        nonlocal taken
        for number in range(300):
            taken += 1
            yield b"%d" % number

    results = client.map("double", workloads(), window=20)
    assert taken == 0
    for given, result in enumerate(results, 1):
        assert result == b"%d" % (2 * (given - 1))
        assert taken <= given + 20
    assert taken == 300


def test_jobs_run_while_the_next_workload_does_not_come(client: Client) -> None:
    was_done = threading.Event()

    def workloads() -> Iterator[bytes]:
        yield b"1"
        for _ in range(3):
            yield b"2"
            # Nobody looks at the servers now: but what was taken before has been sent.
            assert client.submit("double", b"4") == b"8"
        was_done.set()

    assert list(client.map("double", workloads())) == [b"2", b"4", b"4", b"4"]
    assert was_done.is_set()


def test_a_failure_is_raised_in_its_place_and_ends_the_iteration(client: Client) -> None:
    results = client.map("double", ["1", "2", "no number", "3"])
    assert [next(results), next(results)] == [b"2", b"4"]
    with pytest.raises(GearmanError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    assert list(client.map("double", ["4"])) == [b"8"]


@pytest.mark.parametrize("as_completed", [False, True])
def test_exceptions_can_be_given_in_the_place_of_results(client: Client, as_completed: bool) -> None:
    unsendable: Any = object()
    workloads = ["1", "x", unsendable, "3"]
    results = list(client.map("double", workloads, return_exceptions=True, as_completed=as_completed))
    assert {result for result in results if isinstance(result, bytes)} == {b"2", b"6"}
    failures = [result for result in results if not isinstance(result, bytes)]
    assert sorted(isinstance(failure, JobException | JobFailed) for failure in failures) == [False, True]
    assert any(isinstance(failure, ArgumentError) for failure in failures)
    if not as_completed:
        assert [results.index(failure) for failure in failures] == [1, 2]


def test_a_workload_that_cannot_be_sent_fails_in_its_place(client: Client) -> None:
    unsendable: Any = object()
    results = client.map("double", ["1", unsendable])
    assert next(results) == b"2"
    with pytest.raises(ArgumentError, match="object"):
        next(results)


def test_limits_retries_and_callbacks_hold_for_each_job(client: Client) -> None:
    heard: list[bytes] = []
    options: Any = {"retries": 2, "on_retry": lambda task: heard.append(task.workload), "return_exceptions": True}
    results = list(client.map("fail", [b"a", b"b"], **options))
    assert [type(result) for result in results] == [JobFailed, JobFailed]
    assert sorted(heard) == [b"a", b"a", b"b", b"b"]
    with pytest.raises(Timeout, match=r"0\.02 s"):
        next(client.map("nobody", [b"1"], timeout_s=0.02))


def test_equal_workloads_can_be_one_job(job_server: Address, start_worker: StartWorker) -> None:
    calls: list[bytes] = []
    go_on = threading.Event()

    def once(job: WorkerJob) -> bytes:
        calls.append(job.workload)
        go_on.wait(PATIENCE_S)
        return job.workload

    start_worker(job_server, {"once": once})

    def workloads() -> Iterator[bytes]:
        yield from [b"same"] * 50
        go_on.set()

    with Client(job_server, timeout_s=PATIENCE_S) as client:
        assert list(client.map("once", workloads(), unique="-", window=60)) == [b"same"] * 50
    assert calls == [b"same"]


def test_ending_early_abandons_the_rest_and_the_client_goes_on(client: Client, job_server: Address) -> None:
    results = client.map("double", ["1"] + ["2"] * 1000)
    assert next(results) == b"2"
    results.close()  # type: ignore[attr-defined]
    assert client.submit("double", "5") == b"10"


@pytest.mark.parametrize("as_completed", [False, True])
def test_an_error_of_the_iterable_comes_after_the_results_of_the_workloads_before_it(
    client: Client, as_completed: bool
) -> None:
    def workloads() -> Iterator[bytes]:
        yield from (b"1", b"2", b"3")
        raise ZeroDivisionError

    found: list[bytes] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(client.map("double", workloads(), as_completed=as_completed))
    assert sorted(found) == [b"2", b"4", b"6"]


def test_a_map_that_is_left_does_not_close_the_iterable(client: Client) -> None:
    workloads = (b"%d" % number for number in range(1000))
    results: Any = client.map("double", workloads, window=2)
    with closing(results):
        assert next(results) == b"0"
    del results
    assert next(workloads)


def test_values_go_through_the_codec(job_server: Address, start_worker: StartWorker) -> None:
    start_worker(job_server, {"echo": lambda job: job.workload, "garbage": lambda job: b"{"})
    with Client(job_server, codec=JsonCodec(), timeout_s=PATIENCE_S) as client:
        assert list(client.map("echo", [{"a": 1}, None, [2]])) == [{"a": 1}, None, [2]]
        [result] = client.map("garbage", [1], return_exceptions=True)
        assert isinstance(result, ResultNotDecoded)


def test_mistakes_are_named_at_once(client: Client) -> None:
    with pytest.raises(ArgumentError, match="workloads: expected a list"):
        client.map("double", b"bytes")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="window 0"):
        client.map("double", [], window=0)
    misspelt: Any = {"as_complete": True}
    with pytest.raises(TypeError, match="did you mean as_completed"):
        client.map("double", [], **misspelt)
    with pytest.raises(ArgumentError, match="empty"):
        client.map("", [])


def test_without_a_server_the_first_result_is_the_error() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(CouldNotConnect, match=r"127\.0\.0\.1:1"):
        next(client.map("f", (str(number) for number in range(10**6))))
