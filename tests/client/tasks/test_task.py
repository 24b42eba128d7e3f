"""Decorated functions: called as before, or sent as jobs over a real job server in the documented form."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from gearman_client import (
    ArgumentError,
    AsyncClient,
    Client,
    GzipCodec,
    JsonCodec,
    ResultNotDecoded,
    Task,
    WorkerJob,
    set_default_client,
    set_default_servers,
    task,
)

from ...gearmand import Gearmand
from ..conftest import RunningWorker


@dataclass
class Receipt:
    number: int
    sent: date


@task
def send(number: int, *, to: str = "x") -> Receipt:
    """Send it."""
    return Receipt(number, date(2026, 1, 2))


@task(name="pictures.shrink", timeout="30s")
def shrink(picture: bytes) -> bytes:
    return picture[:1]


@task
async def later(text: str) -> str:
    return text


@pytest.fixture
def client(gearmand: Gearmand) -> Iterator[Client]:
    """The default client of the tasks."""
    with Client(gearmand.address, timeout_s=20) as client:
        set_default_client(client)
        yield client
    set_default_client(None)


def answer(job: WorkerJob) -> bytes:
    """A worker in another language: it reads the form, and answers in JSON."""
    call = json.loads(job.workload)
    return json.dumps({"number": call["args"][0], "sent": "2026-02-03", "new": call["kwargs"]}).encode()


def test_the_plain_call_and_what_describes_the_function_stay() -> None:
    assert send(1, to="a") == Receipt(1, date(2026, 1, 2))
    assert (send.__name__, send.__doc__, send.__module__) == ("send", "Send it.", __name__)
    assert (shrink.name, shrink.decorator_options) == ("pictures.shrink", {"timeout": "30s"})
    assert isinstance(send, Task)


def test_a_call_is_sent_and_its_result_has_the_annotated_type(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"send": answer})
    assert send.submit(7, to="a") == Receipt(7, date(2026, 2, 3))


def test_the_documented_form_travels(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    received: list[bytes] = []
    done = threading.Event()

    def record(job: WorkerJob) -> None:
        received.append(job.workload)
        done.set()

    handle = send.background(1, to="x")
    start_worker(gearmand.address, {"send": record})
    assert done.wait(30)
    assert handle.server == gearmand.address
    assert received == [b'{"args": [1], "kwargs": {"to": "x"}}']


def test_bytes_are_the_result_as_they_are(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"pictures.shrink": lambda job: b"\xff\x00"})
    assert shrink.submit(b"picture") == b"\xff\x00"


def test_a_coroutine_function_is_sent_alike(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"later": lambda job: b'"done"'})
    assert later.submit("text") == "done"


def test_a_task_can_be_called_without_its_module(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"send": answer})
    assert client.task("send").submit(7, to="a") == {"number": 7, "sent": "2026-02-03", "new": {"to": "a"}}
    assert client.task("send", result=Receipt).submit(7) == Receipt(7, date(2026, 2, 3))
    with pytest.raises(ResultNotDecoded, match="the result of send does not fit its annotation: expected a list"):
        client.task("send", result=list[int]).submit(7)
    with pytest.raises(ArgumentError):
        client.task("")


def test_options_are_set_apart_from_the_arguments(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    def report(job: WorkerJob) -> bytes:
        job.status(1, 2)
        return json.dumps({"number": 1, "sent": "2026-01-02", "unique": job.unique}).encode()

    reports: list[tuple[int, int]] = []
    start_worker(gearmand.address, {"send": report})
    with Client("127.0.0.1:1") as nowhere:
        of_nobody = send.with_options(client=nowhere, unique="u", timeout_s=20)
    prepared = of_nobody.with_options(
        client=client, priority="high", on_status=lambda done, of: reports.append((done, of))
    )
    assert prepared.submit(1) == Receipt(1, date(2026, 1, 2))
    assert reports == [(1, 2)]
    assert prepared(2).number == 2


def test_an_option_that_there_is_not_or_that_does_not_apply_is_refused(client: Client) -> None:
    misspelt: dict[str, Any] = {"prioritty": "high"}
    with pytest.raises(TypeError, match=r"'prioritty' \(did you mean priority\?\); it takes .*client"):
        send.with_options(**misspelt)
    with pytest.raises(TypeError, match="'client'; it takes"):
        client.task("send").with_options(client=client)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match=r"the option try_timeout_s does not apply to submit\(\)"):
        send.options(try_timeout_s=3).submit(1)
    with pytest.raises(ArgumentError, match=r"the option resubmit does not apply to background\(\)"):
        client.task("send").with_options(resubmit=False).background(1)


def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent() -> None:
    set_default_client(Client("127.0.0.1:1"))  # where nobody listens
    try:
        with pytest.raises(TypeError, match="unexpected keyword argument 'too'"):
            send.submit(1, too="x")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="missing a required argument: 'number'"):
            send.background()  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="missing a required argument: 'number'"):
            asyncio.run(send.submit_async())  # type: ignore[call-arg]
    finally:
        set_default_client(None)


def test_the_default_client_is_that_of_the_environment(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_default_client(None)
    monkeypatch.setenv("GEARMAN_SERVERS", str(gearmand.address))
    start_worker(gearmand.address, {"send": answer})
    try:
        assert send.with_options(timeout_s=20).submit(7).number == 7
    finally:
        set_default_client(None)


def test_a_task_is_pickled_by_its_name() -> None:
    module = pickle.dumps(send)
    assert b"send" in module
    assert pickle.loads(module) is send


def test_only_functions_become_tasks() -> None:
    with pytest.raises(TypeError, match="@task is for functions, not <class"):
        task(Receipt)
    with pytest.raises(TypeError, match="@task is for functions, not 5"):
        task(5)  # type: ignore[call-overload]


def test_many_calls_are_under_way_at_once_and_results_come_in_order(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(
        gearmand.address, {"send": answer, "later": lambda job: json.dumps(json.loads(job.workload)["args"][0])}
    )
    assert [each.number for each in send.map(range(30), window=7)] == list(range(30))
    assert sorted(later.with_options(priority="low", retries=2).map(["a", "b"], as_completed=True)) == ["a", "b"]
    mixed = list(send.map([1, "x"], return_exceptions=True))  # type: ignore[list-item]
    assert mixed[0] == Receipt(1, date(2026, 2, 3))
    assert isinstance(mixed[1], ResultNotDecoded)
    assert [each["number"] for each in client.task("send").map([1, 2], ["a", "b", "c"])] == [1, 2]
    with pytest.raises(TypeError, match="too many positional arguments"):
        later.map(["a"], ["b"])  # type: ignore[call-arg, arg-type]
    with pytest.raises(TypeError, match="not a text or another value: put it into a list"):
        later.map("text")
    with pytest.raises(ArgumentError, match=r"the option on_data does not apply to map\(\)"):
        later.with_options(on_data=print).map(["a"])


def test_a_future_has_the_result_of_a_call(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"send": answer})
    futures = [send.future(number, to="a") for number in range(3)]
    assert [future.result(30).number for future in futures] == [0, 1, 2]
    assert client.task("send", result=Receipt).future(5).result(30) == Receipt(5, date(2026, 2, 3))


def test_the_codec_of_the_client_is_not_that_of_its_tasks(
    start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"send": answer})
    with Client(gearmand.address, timeout_s=30, codec=GzipCodec(JsonCodec(), above_bytes=1)) as client:
        with_client = send.with_options(client=client)
        expected = Receipt(7, date(2026, 2, 3))
        assert with_client.submit(7) == expected
        assert list(with_client.map([7])) == [expected]
        assert with_client.future(7).result(30) == expected


def test_the_asynchronous_twins_send_the_same_calls(
    start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(
        gearmand.address, {"send": answer, "later": lambda job: json.dumps(json.loads(job.workload)["args"][0])}
    )

    async def calls() -> None:
        assert await send.submit_async(7, to="a") == Receipt(7, date(2026, 2, 3))
        assert await later.with_options(priority="high").submit_async("text") == "text"
        handle = await send.background_async(1)
        assert handle.server == gearmand.address
        assert [each async for each in later.map_async(["a", "b", "c"], window=2)] == ["a", "b", "c"]
        many = send.map_async(range(3), as_completed=True)
        assert sorted([each.number async for each in many]) == [0, 1, 2]

    set_default_servers(gearmand.address, timeout_s=30)
    try:
        asyncio.run(calls())
        asyncio.run(calls())  # another loop has a client of its own
        assert send.submit(7) == Receipt(7, date(2026, 2, 3))
    finally:
        set_default_servers(None)


def test_event_loops_one_after_the_other_leave_no_connections_behind(
    start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"send": answer})
    set_default_servers(gearmand.address, timeout_s=30)
    try:
        asyncio.run(send.submit_async(7))
        before = len(os.listdir("/proc/self/fd"))
        for number in range(10):
            assert asyncio.run(send.submit_async(number)).number == number
        assert len(os.listdir("/proc/self/fd")) < before + 5
    finally:
        set_default_servers(None)


def test_an_asynchronous_client_has_tasks_too(start_worker: Callable[..., RunningWorker], gearmand: Gearmand) -> None:
    start_worker(gearmand.address, {"send": answer})

    async def calls() -> None:
        async with AsyncClient(gearmand.address, timeout_s=30) as client:
            remote = client.task("send", result=Receipt)
            assert await remote.submit(7) == Receipt(7, date(2026, 2, 3))
            assert [each.number async for each in remote.map([1, 2], window=1)] == [1, 2]
            assert await send.with_options(client=client).submit_async(7) == Receipt(7, date(2026, 2, 3))
            with pytest.raises(TypeError, match="is an AsyncClient: await submit_async"):
                send.with_options(client=client).submit(7)

            async def numbers() -> AsyncIterator[int]:
                yield 5

            assert [each.number async for each in remote.map(numbers())] == [5]
            with pytest.raises(TypeError, match="not a text or another value: put it into a list"):
                remote.map("text")
            with pytest.raises(TypeError, match="needs the arguments"):
                remote.map()

    asyncio.run(calls())


def test_a_client_of_the_wrong_kind_is_refused_with_the_remedy(gearmand: Gearmand) -> None:
    with Client(gearmand.address) as client:
        set_default_client(client)
        try:
            with pytest.raises(ArgumentError, match="is a Client, whose calls block: set_default_servers"):
                asyncio.run(send.submit_async(1))
            with pytest.raises(TypeError, match="is a Client, which blocks"):
                asyncio.run(send.with_options(client=client).submit_async(1))
            set_default_client(AsyncClient(gearmand.address))
            with pytest.raises(ArgumentError, match="is an AsyncClient, and this call blocks"):
                send.submit(1)
            with pytest.raises(TypeError, match="set_default_servers takes addresses"):
                set_default_client("127.0.0.1:4730")  # type: ignore[arg-type]
        finally:
            set_default_client(None)
