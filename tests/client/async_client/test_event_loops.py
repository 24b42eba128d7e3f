"""One asynchronous client in several event loops, threads and processes, and over TLS."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gearman_client import Address, AsyncClient, CouldNotConnect, InUse, Tls

from ...certificates import Certificates
from ..conftest import RunningWorker
from ..forking import in_child
from .conftest import JobServer

StartOurs = Callable[..., JobServer]
StartWorker = Callable[..., RunningWorker]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def tls(certificates: Certificates) -> Tls:
    return Tls(ca_file=str(certificates.ca))


@pytest.fixture
def tls_server(start_ours: StartOurs, certificates: Certificates) -> JobServer:
    """Our server, which speaks TLS alone."""
    certificate, key = certificates.server, certificates.key(certificates.server)
    server = start_ours("--ssl", "--ssl-certificate", str(certificate), "--ssl-key", str(key))
    return JobServer(Address("localhost", server.address.port), server.text)


async def echo(client: AsyncClient) -> None:
    assert await client.echo(b"x") == b"x"


def test_another_event_loop_gets_an_error_while_the_first_lives_and_a_fresh_connection_afterwards(
    job_server: JobServer,
) -> None:
    client = AsyncClient(job_server.address)

    async def other() -> None:
        with pytest.raises(InUse, match="another event loop"):
            await client.echo()
        with pytest.raises(InUse, match="another event loop"):
            await client.close()

    async def body() -> None:
        await echo(client)
        await asyncio.to_thread(asyncio.run, other())
        await echo(client)

    asyncio.run(body())
    asyncio.run(body())
    asyncio.run(client.close())


def test_threads_with_a_client_each_do_not_meet(job_server: JobServer, start_worker: StartWorker) -> None:
    start_worker(job_server.address, {"echo": lambda job: job.workload})
    found: dict[int, list[bytes]] = {}

    async def body(number: int) -> None:
        async with AsyncClient(job_server.address, timeout_s=60) as client:
            jobs = (client.submit("echo", b"%d %d" % (number, count)) for count in range(100))
            found[number] = await asyncio.gather(*jobs)

    threads = [threading.Thread(target=lambda number=number: asyncio.run(body(number))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {number: [b"%d %d" % (number, count) for count in range(100)] for number in range(4)}


@pytest.mark.parametrize("is_tls", [False, True])
def test_after_a_fork_parent_and_child_have_connections_of_their_own(
    is_tls: bool, request: pytest.FixtureRequest, start_ours: StartOurs, tls: Tls
) -> None:
    server = request.getfixturevalue("tls_server") if is_tls else start_ours()
    client = AsyncClient(server.address, tls=tls if is_tls else None)

    async def in_the_child() -> None:
        await echo(client)
        await client.close()
        await echo(client)

    with asyncio.Runner() as runner:
        runner.run(echo(client))
        for _ in range(2):
            in_child(lambda: asyncio.run(in_the_child()))
            runner.run(echo(client))
        in_child(lambda: asyncio.run(client.close()))
        runner.run(echo(client))
        runner.run(client.close())


def test_a_forked_event_loop_is_told_that_it_is_a_copy(start_ours: StartOurs) -> None:
    client = AsyncClient(start_ours().address)

    async def in_the_copy() -> None:
        with pytest.raises(InUse, match="copied by a fork"):
            await client.echo()

    with asyncio.Runner() as runner:
        runner.run(echo(client))
        in_child(lambda: runner.run(in_the_copy()))
        runner.run(echo(client))
        runner.run(client.close())


def test_a_forked_event_loop_takes_nothing_from_its_parent(start_ours: StartOurs) -> None:
    client = AsyncClient(start_ours().address)

    async def begin() -> asyncio.Task[bytes]:
        await echo(client)
        task = asyncio.create_task(client.echo(b"for the parent"))
        for _ in range(3):  # until it is sent
            await asyncio.sleep(0)
        return task

    async def end(task: asyncio.Task[bytes]) -> bytes:
        return await asyncio.wait_for(task, 30)

    with asyncio.Runner() as runner:
        task = runner.run(begin())
        in_child(lambda: runner.run(asyncio.sleep(0.3)))
        assert runner.run(end(task)) == b"for the parent"
        runner.run(client.close())


def test_jobs_over_tls(tls_server: JobServer, tls: Tls, start_worker: StartWorker, run_quietly: Run) -> None:
    start_worker(Address(tls_server.address.host, tls_server.address.port, tls), {"echo": lambda job: job.workload})
    big = bytes(range(256)) * 10_000

    async def body() -> None:
        async with AsyncClient(tls_server.address, tls=tls, timeout_s=60) as client:
            workloads = [big if number % 10 == 0 else b"%d" % number for number in range(100)]
            assert await asyncio.gather(*(client.submit("echo", workload) for workload in workloads)) == workloads

    run_quietly(body())


def test_a_certificate_that_is_not_trusted_is_named(tls_server: JobServer, run_quietly: Run) -> None:
    async def body() -> None:
        async with AsyncClient(tls_server.address, tls=Tls(), timeout_s=60) as client:
            with pytest.raises(CouldNotConnect, match="certificate is not trusted"):
                await client.echo()

    run_quietly(body())


def test_closing_lets_calls_under_way_end_and_the_next_one_connects_again(
    job_server: JobServer, start_worker: StartWorker, run_quietly: Run
) -> None:
    async def body() -> None:
        client = AsyncClient(job_server.address, timeout_s=60)
        job = asyncio.create_task(client.submit("echo", b"x"))
        await echo(client)
        await client.close()
        await client.close()
        start_worker(job_server.address, {"echo": lambda job: job.workload})
        assert await job == b"x"
        await echo(client)
        await client.close()

    run_quietly(body())


def test_closing_while_a_call_connects_ends_that_call(job_server: JobServer, run_quietly: Run) -> None:
    async def body() -> None:
        client = AsyncClient(job_server.address, timeout_s=60)
        handle = asyncio.create_task(client.submit_background("f", b""))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(CouldNotConnect, match="the client was closed"):
            await handle

    run_quietly(body())


def test_a_client_that_was_never_closed_leaves_a_warning_at_most(job_server: JobServer, run_quietly: Run) -> None:
    async def body() -> None:
        client = AsyncClient(job_server.address)
        await echo(client)
        never = asyncio.create_task(client.submit("nobody", b""))
        await echo(client)
        never.cancel()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run_quietly(body())
        gc.collect()
