"""The asynchronous client against Debian's gearmand and ours: it does what the blocking one does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import (
    ArgumentError,
    AsyncClient,
    CouldNotConnect,
    JobException,
    JobFailed,
    JobStatus,
    JsonCodec,
    NotSupported,
    PartlyRefused,
    ResultUnknown,
    ServerError,
    Timeout,
    Worker,
    WorkerJob,
)
from gearman_client.client.server_choice import hash_of
from gearman_client.packet import PacketType

from ..conftest import RunningWorker
from .conftest import JobServer

T = PacketType
StartWorker = Callable[..., RunningWorker]
Beside = Callable[[Coroutine[Any, Any, Any]], Future[Any]]


def test_a_foreground_job_returns_its_result_and_reports_progress(
    job_server: JobServer, start_worker: StartWorker
) -> None:
    def talk(job: WorkerJob) -> bytes:
        job.status(1, 4)
        job.data(b"chunk")
        job.warning(b"careful")
        return job.workload.upper() + b"\0" + job.unique.encode()

    start_worker(job_server.address, {"talk": talk})
    heard: list[Any] = []

    async def body() -> bytes:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            return await client.submit(
                "talk",
                "workload",
                unique="u1",
                on_created=lambda handle: heard.append(("created", handle[:2], handle.server)),
                on_status=lambda numerator, denominator: heard.append(("status", numerator, denominator)),
                on_data=lambda data: heard.append(("data", data)),
                on_warning=lambda data: heard.append(("warning", data)),
            )

    assert asyncio.run(body()) == b"WORKLOAD\0u1"
    created = ("created", "H:", job_server.address)
    assert heard == [created, ("status", 1, 4), ("data", b"chunk"), ("warning", b"careful")]


def test_failures_of_jobs_are_exceptions_and_disturb_no_other_job(
    job_server: JobServer, start_worker: StartWorker
) -> None:
    functions = {
        "bad": lambda job: job.fail(),
        "raise": lambda job: job.exception(b"boom\0\xff"),
        "good": lambda job: job.workload,
    }
    start_worker(job_server.address, functions)
    heard: list[bytes] = []

    async def body() -> tuple[Any, ...]:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            return await asyncio.gather(
                client.submit("bad", b""),
                client.submit("raise", b"", on_exception=heard.append),
                client.submit("good", b"1"),
                client.submit("good", "2"),
                return_exceptions=True,
            )

    failed, raised, *results = asyncio.run(body())
    assert isinstance(failed, JobFailed)
    assert "H:" in str(failed)
    assert isinstance(raised, JobException)
    assert [raised.data] == heard == [b"boom\0\xff"]
    assert results == [b"1", b"2"]


def test_ten_thousand_coroutines_share_one_connection(job_server: JobServer, start_worker: StartWorker) -> None:
    start_worker(job_server.address, {"echo": lambda job: job.workload})

    async def body() -> tuple[list[bytes], str]:
        async with AsyncClient(job_server.address, timeout_s=100) as client:
            results = await asyncio.gather(*(client.submit("echo", b"%d" % number) for number in range(10_000)))
            return results, await asyncio.to_thread(job_server.text, "workers")

    results, connections = asyncio.run(body())
    assert results == [b"%d" % number for number in range(10_000)]
    # The worker's, the client's, and that of the text command.
    assert len(connections.splitlines()) == 3 + 1


def test_equal_jobs_are_one_and_all_who_wait_get_the_result(job_server: JobServer, start_worker: StartWorker) -> None:
    async def body() -> list[bytes]:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            jobs = [asyncio.create_task(client.submit("once", b"w", unique="same")) for _ in range(20)]
            while (await client.status_unique("same")).waiting_clients != 20:
                await asyncio.sleep(0.01)
            start_worker(job_server.address, {"once": lambda job: job.handle})
            return await asyncio.gather(*jobs)

    assert len(set(asyncio.run(body()))) == 1


def test_status_follows_a_job_from_queued_to_running_to_unknown(job_server: JobServer) -> None:
    async def body() -> None:
        async with AsyncClient(job_server.address) as client:
            handle = await client.submit_background("f", b"", unique="u")
            assert handle.server == job_server.address
            assert await client.status(handle) == JobStatus(known=True, running=False, numerator=0, denominator=0)
            with Worker(job_server.address) as worker:
                worker.register("f")
                job = worker.grab(30)
                assert job is not None
                job.status(3, 10)
                # Worker and client have connections of their own, so neither hears the other at once.
                while (await client.status(str(handle))) != JobStatus(True, True, 3, 10):
                    await asyncio.sleep(0.01)
                assert await client.status_unique("u") == JobStatus(True, True, 3, 10, waiting_clients=0)
                job.complete()
                worker.flush()
            while (await client.status(handle)).known:
                await asyncio.sleep(0.01)
            assert not (await client.status_unique("u")).known
            assert await client.echo(b"a\0b") == b"a\0b"
            assert await client.ping() == (job_server.address,)

    asyncio.run(asyncio.wait_for(body(), 60))


@pytest.mark.parametrize("is_async", [False, True])
def test_many_background_jobs_keep_their_order(job_server: JobServer, is_async: bool) -> None:
    async def later() -> AsyncIterator[bytes]:
        for number in range(1000):
            if number % 100 == 0:
                await asyncio.sleep(0)
            yield b"%d" % number

    async def body() -> list[str]:
        async with AsyncClient(job_server.address) as client:
            workloads = later() if is_async else (b"%d" % number for number in range(1000))
            return [str(handle) for handle in await client.submit_background_many("f", workloads)]

    handles = asyncio.run(body())
    seen: list[bytes] = []
    with Worker(job_server.address) as worker:
        worker.register("f", lambda job: seen.append(job.handle.encode() + b" " + job.workload))
        worker.work(max_jobs=1000)
    assert seen == [b"%s %d" % (handle.encode(), number) for number, handle in enumerate(handles)]


def test_a_refusal_among_many_names_the_accepted_jobs(job_server: JobServer) -> None:
    async def body() -> None:
        async with AsyncClient(job_server.address) as client:
            await client.submit_background("f", b"")
            job_server.text("maxqueue f 3")
            with pytest.raises(PartlyRefused, match="QUEUE_ERROR") as refusal:
                await client.submit_background_many("f", [b""] * 5)
            assert len(refusal.value.accepted) == 2
            with pytest.raises(ServerError):
                await client.submit("f", b"")
            assert await client.submit_background_many("g", []) == []

    asyncio.run(body())


def test_values_go_as_json_or_through_the_codec(job_server: JobServer, start_worker: StartWorker) -> None:
    start_worker(job_server.address, {"echo": lambda job: job.workload})

    async def body() -> None:
        async with AsyncClient(job_server.address, timeout_s=30) as client:
            assert await client.submit("echo", json={"a": [1, None]}) == {"a": [1, None]}
        async with AsyncClient(job_server.address, codec=JsonCodec(), timeout_s=30) as typed:
            assert await typed.submit("echo", [1, "two"]) == [1, "two"]

    asyncio.run(body())


@pytest.mark.parametrize(
    ("call", "arguments", "named", "complaint"),
    [
        ("submit", ("f", 7), {}, "bytes or str, not int"),
        ("submit", ("", b""), {}, "must not be empty"),
        ("submit", ("a\0b", b""), {}, "zero byte"),
        ("submit", ("f", b""), {"priority": "urgent"}, "expected high, normal or low"),
        ("submit", ("f", b""), {"timeout_s": "5"}, "timeout_s '5': expected seconds"),
        ("submit", ("f", b""), {"on_data": "print"}, "on_data 'print': expected a function"),
        ("submit", ("f", b""), {"on_data": asyncio.sleep}, "on_data .*: expected a plain function"),
        ("result", ("H:a:1",), {"on_data": asyncio.sleep}, "on_data .*: expected a plain function"),
        ("submit_background", ("f", b""), {"delay": "5min"}, "delay '5min': expected seconds"),
        ("submit_background_many", ("f", "one text"), {}, "workloads: expected a list"),
        ("submit_background_many", ("f", 5), {}, "workloads: expected a list"),
        ("result", (b"H:a:1",), {}, "handle b'H:a:1' is bytes: expected text"),
        ("status", (None,), {}, "handle None"),
        ("status_unique", (5,), {}, "unique id 5"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(call: str, arguments: Any, named: Any, complaint: str) -> None:
    async def body() -> None:
        async with AsyncClient("127.0.0.1:1") as client:
            await getattr(client, call)(*arguments, **named)

    with pytest.raises(ArgumentError, match=complaint):
        asyncio.run(body())


def test_a_misspelt_keyword_is_refused_with_those_that_exist() -> None:
    async def body() -> None:
        await AsyncClient("127.0.0.1:1").submit("f", b"", timeout_a=1)  # type: ignore[call-overload]

    with pytest.raises(TypeError, match=r"submit\(\).*'timeout_a' \(did you mean timeout_s\?\)"):
        asyncio.run(body())
    with pytest.raises(TypeError, match=r"AsyncClient\(\).*'retries'"):
        AsyncClient("127.0.0.1:1", retries=1)  # type: ignore[call-overload]


def test_results_of_background_jobs_are_kept_by_our_server(
    start_ours: Callable[..., JobServer], start_worker: StartWorker, tmp_path: Any
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions:\n  kept:\n    keep_result: 1h\n")
    server = start_ours("--policies", str(policies))

    async def body() -> None:
        async with AsyncClient(server.address, timeout_s=30) as client:
            handles = [await client.submit_background("kept", b"%d" % number) for number in range(50)]
            waiting = [asyncio.create_task(client.result(handle)) for handle in handles]
            with pytest.raises(Timeout, match="no result yet"):
                await client.result(handles[0], timeout_s=0)
            start_worker(server.address, {"kept": lambda job: job.workload * 2})
            assert await asyncio.gather(*waiting) == [b"%d" % number * 2 for number in range(50)]
            assert await client.result(str(handles[7])) == b"77"
            with pytest.raises(ResultUnknown):
                await client.result("H:none:1")

    asyncio.run(body())


def test_more_results_are_awaited_than_a_connection_may_ask_for(
    start_ours: Callable[..., JobServer], start_worker: StartWorker, tmp_path: Any
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions:\n  kept:\n    keep_result: 1h\n  other:\n    keep_result: 1h\n")
    server = start_ours("--policies", str(policies))

    async def body() -> None:
        async with AsyncClient(server.address, timeout_s=60) as client:
            ended = await client.submit_background("other", b"x")
            start_worker(server.address, {"other": lambda job: b"ended"})
            assert await client.result(ended) == b"ended"
            handles = await client.submit_background_many("kept", (b"%d" % number for number in range(1500)))
            waiting = [asyncio.create_task(client.result(handle)) for handle in handles]
            while not (await client.status(handles[0])).known:
                await asyncio.sleep(0)
            assert await client.result(ended) == b"ended"
            with pytest.raises(Timeout, match="no result yet"):
                await client.result(handles[0], timeout_s=0.2)
            start_worker(server.address, {"kept": lambda job: job.workload})
            assert await asyncio.gather(*waiting) == [b"%d" % number for number in range(1500)]

    asyncio.run(body())


def test_several_wait_for_one_result_each_as_long_as_it_will(
    start_ours: Callable[..., JobServer], start_worker: StartWorker, tmp_path: Any
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions:\n  kept:\n    keep_result: 1h\n")
    server = start_ours("--policies", str(policies))

    async def body() -> None:
        async with AsyncClient(server.address, timeout_s=60) as client:
            handle = await client.submit_background("kept", b"x")
            times = (50, 0.3, 40, 0.2, 60)
            calls = [asyncio.create_task(client.result(handle, timeout_s=seconds)) for seconds in times]
            for number in (3, 1):
                with pytest.raises(Timeout):
                    await calls[number]
            for _ in range(3):
                with pytest.raises(Timeout):
                    await client.result(handle, timeout_s=0)
            calls[2].cancel()
            assert [call.done() for call in (calls[0], calls[4])] == [False, False]
            start_worker(server.address, {"kept": lambda job: b"done"})
            assert [await calls[0], await calls[4]] == [b"done", b"done"]
            with pytest.raises(asyncio.CancelledError):
                await calls[2]

    asyncio.run(body())


def test_another_server_keeps_no_results(gearmand: Any) -> None:
    async def body() -> None:
        async with AsyncClient(gearmand.address) as client:
            with pytest.raises(NotSupported, match=f"{gearmand.address} keeps no results of background jobs"):
                await client.result("H:a:1", timeout_s=0)
            assert await client.echo() == b"ping"

    asyncio.run(body())


def test_a_unique_id_chooses_its_server_as_with_the_blocking_client(start_gearmand: Callable[[], Any]) -> None:
    servers = [start_gearmand().address for _ in range(2)]

    async def body() -> None:
        async with AsyncClient(servers) as client:
            for unique in ("a", "b", "c", "d"):
                handle = await client.submit_background("f", b"", unique=unique)
                assert handle.server == servers[hash_of(unique.encode()) % 2]
                assert (await client.status_unique(unique)).known

    asyncio.run(body())


def test_without_any_server_the_error_names_every_address_and_the_remedy(start_gearmand: Callable[[], Any]) -> None:
    servers = [start_gearmand(), start_gearmand()]
    for server in servers:
        server.kill()

    async def body() -> None:
        async with AsyncClient([server.address for server in servers]) as client:
            for _ in range(3):
                with pytest.raises(CouldNotConnect, match="check that a job server runs there") as failure:
                    await client.submit("f", b"")
                assert all(str(server.address) in str(failure.value) for server in servers)
            with pytest.raises(CouldNotConnect):
                await client.status("H:x:1")
            assert await client.ping() == ()

    asyncio.run(body())


def test_a_server_that_was_down_costs_nothing_and_is_used_again(start_gearmand: Callable[[], Any]) -> None:
    first, second = start_gearmand(), start_gearmand()

    async def body() -> None:
        async with AsyncClient([first.address, second.address]) as client:
            assert (await client.submit_background("f", b"")).server == first.address
            first.kill()
            while (await client.submit_background("f", b"")).server != second.address:
                await asyncio.sleep(0.01)
            assert await client.ping() == (second.address,)
            first.start()
            while (await client.submit_background("f", b"")).server != first.address:
                await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(body(), 60))


def test_import_of_the_library_loads_no_asyncio_until_the_class_is_used() -> None:
    program = (
        "import sys, gearman_client\n"
        "assert 'AsyncClient' in dir(gearman_client)\n"
        "loaded = {'asyncio', 'ssl', 'concurrent.futures'} & sys.modules.keys()\n"
        "assert not loaded, loaded\n"
        "gearman_client.AsyncClient\n"
        "assert 'asyncio' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
