"""Clients and workers of our library know one server of a cluster, and go on when it dies."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gearman_client import AsyncClient, Client, JobHandle, JobStatus, Worker, WorkerJob, parse_address

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import Cluster, Until, waiting

DEADLINE_S = 20.0
#: What is learned does not depend on the database.
pytestmark = pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)

Ask = Callable[..., Any]


class Blocking:
    """Calls of a blocking client, one after the other."""

    def __init__(self, *servers: str) -> None:
        self.client: Any = Client(servers, timeout_s=DEADLINE_S)

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self.client, method)(*arguments, **options)

    def close(self) -> None:
        self.client.close()


class OnLoop:
    """The same of an asynchronous one."""

    def __init__(self, *servers: str) -> None:
        self.client: Any = AsyncClient(servers, timeout_s=DEADLINE_S)
        self._runner = asyncio.Runner()

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        async def call() -> Any:
            return await getattr(self.client, method)(*arguments, **options)

        return self._runner.run(call())

    def close(self) -> None:
        self._runner.run(self.client.close())
        self._runner.close()


@pytest.fixture(params=[Blocking, OnLoop])
def start_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Starts clients of both kinds: `start_client(address)`."""
    started: list[Any] = []

    def start(*servers: str) -> Any:
        started.append(request.param(*servers))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def start_worker() -> Iterator[Callable[..., Worker]]:
    """Starts workers in threads: `start_worker(servers, function)` serves `f`."""
    workers: list[Worker] = []
    with ThreadPoolExecutor() as threads:

        def start(servers: Any, callback: Callable[[WorkerJob], Any]) -> Worker:
            worker = Worker(servers)
            worker.register("f", callback)
            workers.append(worker)
            threads.submit(worker.work)
            return worker

        yield start
        for worker in workers:
            worker.stop()
    for worker in workers:
        worker.close()


def knowing(start_client: Callable[..., Any], until: Until, *servers: ServerProcess) -> Any:
    """A client that was given the first of the servers, and knows all."""
    ask = start_client(servers[0].address)
    ask("echo", b"hello")
    until(lambda: ask("echo", b"hello") and len(ask.client.servers) == len(servers))
    assert set(ask.client.servers) == {parse_address(server.address) for server in servers}
    return ask


def test_who_knows_one_server_goes_on_when_it_dies(
    pair: tuple[ServerProcess, ServerProcess], start_client: Callable[..., Any], until: Until, cluster: Cluster
) -> None:
    first, second = pair
    ask = knowing(start_client, until, first, second)
    first.signal(signal.SIGKILL)
    first.wait()
    assert ask("submit_background", "f", b"w").server == parse_address(second.address)
    third = cluster.start()
    until(lambda: ask("echo", b"hello") and parse_address(third.address) in ask.client.servers)
    second.signal(signal.SIGKILL)
    second.wait()
    assert ask("submit_background", "f", b"w").server == parse_address(third.address)


def test_a_job_whose_server_died_is_asked_for_at_the_others(
    pair: tuple[ServerProcess, ServerProcess], start_client: Callable[..., Any], until: Until
) -> None:
    first, second = pair
    ask = knowing(start_client, until, first, second)
    handle: JobHandle = ask("submit_background", "f", b"w")
    assert handle.server == parse_address(first.address)
    first.signal(signal.SIGKILL)
    first.wait()
    assert ask("status", handle) == JobStatus(True, False, 0, 0)  # also before it is adopted
    assert ask("stop", handle) is True
    assert waiting(second) == 0
    assert ask("status", handle).known is False


def test_the_result_of_a_job_whose_server_died_comes_from_another(
    cluster: Cluster,
    start_client: Callable[..., Any],
    start_worker: Callable[..., Worker],
    until: Until,
    tmp_path: Path,
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {f: {keep_result: 1h}}\n")
    first, second = (cluster.start("--policies", str(policies)) for _ in range(2))
    ask = knowing(start_client, until, first, second)
    handle = ask("submit_background", "f", b"w")
    first.signal(signal.SIGKILL)
    first.wait()
    until(lambda: waiting(second) == 1)
    start_worker(second.address, lambda job: job.workload[::-1] + b"!")
    assert ask("result", handle) == b"w!"


def test_a_foreground_job_whose_server_died_runs_at_another(
    pair: tuple[ServerProcess, ServerProcess],
    start_client: Callable[..., Any],
    start_worker: Callable[..., Worker],
    until: Until,
) -> None:
    first, second = pair
    begun = threading.Event()

    def run_once(job: WorkerJob) -> bytes:
        if begun.is_set():
            return b"done"
        begun.set()
        first.signal(signal.SIGKILL)
        first.wait()
        return b"lost with its server"

    start_worker([first.address], run_once)
    ask = knowing(start_client, until, first, second)
    assert ask("submit", "f", b"w") == b"done"


def test_a_worker_that_knows_one_server_serves_those_that_join(
    pair: tuple[ServerProcess, ServerProcess], start_worker: Callable[..., Worker], cluster: Cluster
) -> None:
    first, second = pair
    start_worker(first.address, lambda job: job.workload)
    with Client(second.address, discover=False, timeout_s=DEADLINE_S) as client:
        assert client.submit("f", b"to the second") == b"to the second"
    third = cluster.start()
    with Client(third.address, discover=False, timeout_s=DEADLINE_S) as client:
        assert client.submit("f", b"to the third") == b"to the third"


def test_discovery_can_be_switched_off(
    pair: tuple[ServerProcess, ServerProcess], start_worker: Callable[..., Worker]
) -> None:
    first, _ = pair
    start_worker(first.address, lambda job: job.workload)
    with Client(first.address, discover=False, timeout_s=DEADLINE_S) as client:
        assert client.submit("f", b"w") == b"w"
        assert client.servers == (parse_address(first.address),)


def background_jobs(cluster: Cluster) -> list[bytes]:
    rows = cluster.database.rows("workload", "gearman_jobs WHERE function_name = 'g' ORDER BY id")
    return [bytes(workload) for (workload,) in rows]


class Held:
    """A job of the first server that a worker holds, so that the server takes its time to end."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()

    def run(self, job: WorkerJob) -> bytes:
        self.begun.set()
        self.let_go.wait(DEADLINE_S)
        return job.workload


@pytest.fixture
def held(pair: tuple[ServerProcess, ServerProcess], start_worker: Callable[..., Worker]) -> Iterator[Held]:
    """The job of `f`, once it is submitted."""
    held = Held()
    start_worker([pair[0].address], held.run)
    yield held
    held.let_go.set()


def test_of_many_jobs_the_rest_goes_to_another_server_when_the_first_ends(
    pair: tuple[ServerProcess, ServerProcess], held: Held, until: Until, cluster: Cluster
) -> None:
    first, second = pair
    bystanders: list[StreamPeer] = []

    def workloads() -> Iterator[bytes]:
        for number in range(500):
            if number == 250:
                bystanders.append(first.peer())
                bystanders[0].sync()
                first.signal(signal.SIGUSR1)
                assert bystanders[0].read_to_end() == b"", "it has closed all connections that wait for nothing"
            yield b"%d" % number

    with Client(first.address, timeout_s=DEADLINE_S) as client, Client(first.address, discover=False) as other:
        other.submit_background("f", b"held")
        assert held.begun.wait(DEADLINE_S)
        until(lambda: client.echo(b"hello") == b"hello" and len(client.servers) == 2)
        handles = client.submit_background_many("g", workloads())
        held.let_go.set()
        first.wait()
    assert {handle.server for handle in handles} == {parse_address(each.address) for each in pair}
    assert sorted(background_jobs(cluster)) == sorted(b"%d" % number for number in range(500))
    assert waiting(second, b"g") >= 250


def test_of_many_jobs_those_that_an_ending_server_refuses_go_to_another_one(
    pair: tuple[ServerProcess, ServerProcess], held: Held, cluster: Cluster
) -> None:
    first, second = pair

    async def body() -> list[JobHandle]:
        async with AsyncClient(first.address, timeout_s=DEADLINE_S) as client:
            # Its connection stays open for this job while the server ends.
            running = asyncio.create_task(client.submit("f", b"held"))
            assert await asyncio.to_thread(held.begun.wait, DEADLINE_S)
            first.signal(signal.SIGUSR1)
            first.wait_for_log("ending gracefully")
            handles = await client.submit_background_many("g", [b"%d" % number for number in range(500)])
            held.let_go.set()
            assert await running == b"held"
            return handles

    handles = asyncio.run(body())
    assert {handle.server for handle in handles} == {parse_address(second.address)}
    assert background_jobs(cluster) == [b"%d" % number for number in range(500)]


def test_a_task_set_asks_the_others_for_a_job_whose_server_died(
    pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    first, second = pair
    with Client(first.address, timeout_s=DEADLINE_S) as client:
        handle = client.submit_background("f", b"w")
        assert handle.server == parse_address(first.address)
        with client.task_set() as tasks:
            assert tasks.add_status(handle) in list(tasks)
            until(lambda: client.echo(b"hello") == b"hello" and len(client.servers) == 2)
            first.signal(signal.SIGKILL)
            first.wait()
            asked = [tasks.add_status(handle), tasks.add_status(str(handle))]
            tasks.wait()
            assert [task.result().known for task in asked] == [True, True]
            left = tasks.add_background("f", b"w2")
            tasks.wait()
            assert left.result().server == parse_address(second.address)

    async def body() -> list[bool]:
        async with AsyncClient(second.address, timeout_s=DEADLINE_S) as client, client.task_set() as tasks:
            asked = [tasks.add_status(handle), tasks.add_status(str(handle))]
            await tasks.wait()
            return [task.result().known for task in asked]

    assert asyncio.run(body()) == [True, True]


def test_a_task_set_of_asyncio_asks_the_others_for_a_job_whose_server_died(
    pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    first, second = pair

    async def body() -> bool:
        async with AsyncClient(first.address, timeout_s=DEADLINE_S) as client, client.task_set() as tasks:
            handle = await client.submit_background("f", b"w")
            assert handle.server == parse_address(first.address)
            while parse_address(second.address) not in client.servers:
                await client.echo(b"hello")
            first.signal(signal.SIGKILL)
            first.wait()
            asked = tasks.add_status(handle)
            await tasks.wait()
            return asked.result().known

    assert asyncio.run(body())


def test_equal_keys_meet_whatever_servers_a_client_was_given_and_how_they_are_written(
    pair: tuple[ServerProcess, ServerProcess], start_client: Callable[..., Any], cluster: Cluster, until: Until
) -> None:
    first, second = pair
    third = cluster.start()
    until(lambda: all(server.text(b"servers").count(b"\talive\t") == 3 for server in cluster.servers))
    ports = [server.port for server in (first, second, third)]
    keys = [f"key {number}" for number in range(40)]  # of so many each server has some, whatever the ports
    homes = []
    for given in (
        [first.address],  # the first call learns of the others, and goes to one of them
        [second.address, third.address, first.address],
        [f"localhost:{port}" for port in reversed(ports)],
        [f"localhost:{second.port}", third.address],
    ):
        ask = start_client(*given)
        handles = [ask("submit_background", "f", b"w", unique=key) for key in keys]
        homes.append([handle.server.port for handle in handles])
        if isinstance(ask, Blocking):
            with Client(given, timeout_s=DEADLINE_S) as client, client.task_set() as tasks:
                added = [tasks.add_background("f", b"w", unique=key) for key in keys]
                tasks.wait()
                homes.append([task.result().server.port for task in added])
    assert homes == homes[:1] * len(homes)
    assert set(homes[0]) == set(ports)
    assert sum(waiting(server) for server in (first, second, third)) == len(keys)
