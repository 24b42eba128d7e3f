"""`Client.stop` and its asynchronous twin, at real servers of both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import (
    AsyncClient,
    Client,
    JobException,
    JobStopped,
    NotSupported,
    ServerError,
    Worker,
    connect_admin,
)

from ...gearmand import Gearmand
from ..conftest import JobServer, wait_for

#: Calls the client's method `stop` and returns what that returns.
Stop = Callable[..., Any]


def stop_sync(addresses: list[str], *handles: str) -> list[bool]:
    with Client(addresses, timeout_s=10) as client:
        return [client.stop(handle) for handle in handles]


def stop_async(addresses: list[str], *handles: str) -> list[bool]:
    async def stop() -> list[bool]:
        async with AsyncClient(addresses, timeout_s=10) as client:
            return [await client.stop(handle) for handle in handles]

    return asyncio.run(stop())


@pytest.fixture(params=[stop_sync, stop_async])
def stop(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_job_is_stopped_at_the_server_that_has_it(
    start_ours: Callable[..., JobServer], in_thread: Callable[..., Future[Any]], stop: Stop
) -> None:
    addresses = [str(start_ours().address) for _ in range(2)]
    with Worker(addresses[1]) as worker, Client(addresses[1:], exceptions=True, timeout_s=20) as client:
        worker.register("f")
        running = in_thread(client.submit, "f", b"w")
        job = wait_for(worker.grab, "a job")
        waiting = client.submit_background("f", b"w")
        assert stop(addresses, str(waiting), str(waiting), job.handle, "H:nobody:1") == [True, False, True, False]
        with pytest.raises(JobStopped, match="f was stopped"):
            job.check_stopped()
        job.complete(b"for nobody")
        worker.flush()
        with pytest.raises(JobException, match="stopped"):
            running.result(10)
    with connect_admin(addresses[1]) as admin:
        assert admin.stop_jobs(job.handle, str(waiting)) == 0


def test_a_server_that_can_not_stop_jobs_is_named(gearmand: Gearmand, stop: Stop) -> None:
    with pytest.raises(NotSupported, match="stops no jobs that run: gearman-server does"):
        stop([str(gearmand.address)], "H:box:1")


def test_a_server_that_refuses_it_says_who_may(start_ours: Callable[..., JobServer], stop: Stop) -> None:
    address = str(start_ours("--admin-allow", "192.0.2.1").address)
    with pytest.raises(ServerError, match="admin-allow"):
        stop([address], "H:box:1")
