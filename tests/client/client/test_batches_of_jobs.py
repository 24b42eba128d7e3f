"""Batches of jobs and chains by both clients, at real servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import pytest

from gearman_client import (
    Address,
    AsyncClient,
    BatchStatus,
    Client,
    FollowUp,
    NotSupported,
    ServerError,
    Worker,
    connect_admin,
)
from gearman_client.errors import ArgumentError

from ...gearmand import Gearmand
from ..conftest import JobServer, wait_for


@pytest.fixture
def server(start_ours: Callable[..., JobServer]) -> str:
    return str(start_ours().address)


@pytest.fixture
def worker(server: str) -> Iterator[Worker]:
    with Worker(server) as worker:
        for function in ("f", "g", "done", "mend"):
            worker.register(function)
        yield worker


def finish(worker: Worker, result: bytes | None = b"r") -> tuple[str, bytes]:
    """Answer the next job; its function and workload."""
    job = wait_for(worker.grab, "a job")
    if result is None:
        job.fail()
    else:
        job.complete(result)
    worker.flush()
    return job.function, job.workload


def test_callbacks_follow_when_the_last_job_has_ended(server: str, worker: Worker) -> None:
    with Client(server, timeout_s=10) as client:
        with client.batch(on_complete="done", on_failure=FollowUp("mend", "w", priority="high")) as batch:
            batch.background("f", b"1")
            assert len(batch.background_many("f", [b"2", b"3"])) == 2
            with pytest.raises(ArgumentError, match="workloads: expected a list"):
                batch.background_many("f", "text")
            assert client.batch_status(batch.id).state == "open"
        assert finish(worker) == ("f", b"1")
        wait_for(lambda: batch.status().complete, "a complete job")
        assert batch.status() == BatchStatus(batch.id, "closed", jobs=3, waiting=2, complete=1)
        assert batch.status().progress == pytest.approx(1 / 3)
        with connect_admin(server) as admin:  # which has to know which answers are tables
            assert admin.command("jobs batches").endswith(b"\n.\n")
            assert b"\nwaiting\t2\n" in admin.command(f"jobs batch {batch.id}")
            assert admin.command(f"JOBS BATCH id={batch.id}  close") == b"OK\r\n"
            assert admin.command("jobs batch nobody").startswith(b"ERR UNKNOWN_BATCH")
            assert admin.version()
        finish(worker, None)
        finish(worker)
        callbacks = dict(finish(worker) for _ in range(2))
        assert callbacks["mend"] == b"w"
        assert json.loads(callbacks["done"])["failed"] == 1
        assert not batch.status().is_success
        with pytest.raises(ServerError, match="closed"):
            batch.background("f", b"4")
        assert client.batch_status("nobody") == BatchStatus("nobody", "unknown")


def test_a_batch_is_cancelled_after_an_exception(server: str, worker: Worker) -> None:
    with Client(server, timeout_s=10) as client:
        batch = client.batch(on_failure="mend")

        def fill() -> None:
            with batch:
                batch.background("f", b"1")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fill()
        assert json.loads(finish(worker)[1])["cancelled"] == 1
        assert batch.status().is_cancelled
        assert client.batch(id="x").stop().state == "done"


def test_a_chain_hands_results_on(server: str, worker: Worker) -> None:
    with Client(server, timeout_s=10) as client:
        client.submit_background("f", b"0", then=["g", FollowUp("done", tags=["t"])], on_failure="mend")
        assert finish(worker, b"1") == ("f", b"0")
        assert finish(worker, b"2") == ("g", b"1")
        function, workload = finish(worker, None)
        assert (function, workload) == ("done", b"2")
        assert json.loads(finish(worker)[1])["function"] == "done"


def test_the_asynchronous_client_has_batches_too(server: str, worker: Worker) -> None:
    async def run() -> BatchStatus:
        async with AsyncClient(server, timeout_s=10) as client:
            async with client.batch(on_success="done") as batch:
                await asyncio.gather(*(batch.background("f", b"%d" % number) for number in range(3)))
                handles = await batch.background_many("f", (b"%d" % number for number in (3, 4)), tags=["late"])
                assert {handle.server for handle in handles} == {batch.server}
                with pytest.raises(ArgumentError, match="workloads: expected a list"):
                    await batch.background_many("f", "text")
            assert await client.batch_status(batch.id, server=batch.server) == await batch.status()
            assert (await client.batch_status(batch.id)).waiting == 5
            assert await client.batch_status("nobody") == BatchStatus("nobody", "unknown")
            with pytest.raises(ArgumentError, match="none of the client's servers"):
                await client.batch_status("nobody", server=Address("192.0.2.1"))
            await asyncio.to_thread(lambda: [finish(worker) for _ in range(6)])  # with the callback
            with pytest.raises(ZeroDivisionError):
                async with client.batch():
                    raise ZeroDivisionError
            return await batch.status()

    assert asyncio.run(run()).is_success


def test_all_jobs_of_a_batch_go_to_its_server(start_ours: Callable[..., JobServer]) -> None:
    servers = [str(start_ours().address) for _ in range(2)]
    with Client(servers, timeout_s=10) as client, client.batch() as batch:
        handles = [batch.background("f", b"w", unique=str(number)) for number in range(8)]
        assert {handle.server for handle in handles} == {batch.server}


def test_many_jobs_of_a_batch_go_to_its_server_on_asyncio_too(start_ours: Callable[..., JobServer]) -> None:
    servers = [str(start_ours().address) for _ in range(2)]

    async def run() -> set[str]:
        with Client(servers[1]) as other:
            name = other.batch(id="elsewhere").id
        async with AsyncClient(servers, timeout_s=10) as client:
            second = AsyncClient(servers[1])
            async with second, second.batch(id=name) as batch:
                handles = await batch.background_many("f", [b"1", b"2"])
                assert (await client.batch_status(name, server=batch.server)).jobs == 2
                assert (await client.batch_status(name)).state == "unknown"
            return {str(handle.server) for handle in handles}

    assert asyncio.run(run()) == {servers[1]}


def test_other_servers_have_no_batches(gearmand: Gearmand) -> None:
    with Client(str(gearmand.address), timeout_s=10) as client, pytest.raises(NotSupported, match="no batches"):
        client.batch()


def test_wrong_values_are_named(server: str) -> None:
    with Client(server) as client:
        with pytest.raises(ArgumentError, match="on_complete 3: expected the name of a function"):
            client.batch(on_complete=3)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="id ''"):
            client.batch(id="")
        with pytest.raises(ArgumentError, match="then: 17 are given"):
            client.submit_background("f", b"", then=["g"] * 17)
