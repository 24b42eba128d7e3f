"""Every call of both clients against Debian's gearmand, Perl's Gearman::Server, and our job server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearman_client import (
    AsyncClient,
    Client,
    JobException,
    JobFailed,
    JobHandle,
    NotSupported,
    ResultExpired,
    ResultNotKept,
    ResultUnknown,
    Timeout,
    WorkerJob,
)

from ...gearmand import Gearmand, PerlServer
from ..conftest import DEADLINE_S, JobServer, RunningWorker

#: What each server lacks. Every other call must work there.
LACKS = {
    "gearmand": {"result"},
    "perl": {"data", "result", "low priority", "priority in the background", "delay", "reducer", "status_unique"},
    "ours": set[str](),
}


@pytest.fixture(params=["gearmand", "perl", "ours"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobServer]:
    """Each job server in turn."""
    if request.param == "ours":
        policies = tmp_path / "policies.yaml"
        policies.write_text("functions: {kept: {keep_result: 60s}}\n")
        yield request.getfixturevalue("start_ours")("--policies", str(policies))
    elif request.param == "gearmand":
        gearmand: Gearmand = request.getfixturevalue("gearmand")
        yield JobServer(gearmand.address, gearmand.ask)
    else:
        perl = PerlServer(tmp_path)
        try:
            perl.start()
            yield JobServer(perl.address, perl.ask, "perl")
        finally:
            perl.kill()


class Waiting:
    """An asynchronous client whose calls wait, for tests that take both clients."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self._runner = runner
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments, **named: self._runner.run(getattr(self._client, name)(*arguments, **named))


@pytest.fixture(params=["blocking", "asyncio"])
def client(server: JobServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Both clients in turn."""
    if request.param == "blocking":
        with Client(server.address, timeout_s=60) as client:
            yield client
    else:
        with asyncio.Runner() as runner:
            waiting = Waiting(runner, AsyncClient(server.address, timeout_s=60))
            yield waiting
            waiting.close()


@pytest.fixture
def unless_lacking(server: JobServer) -> Callable[[str], contextlib.AbstractContextManager[object]]:
    """What surrounds a call: where the server lacks it, NotSupported must come."""

    def surround(what: str) -> contextlib.AbstractContextManager[object]:
        if what in LACKS[server.kind]:
            return pytest.raises(NotSupported, match=str(server.address))
        return contextlib.nullcontext()

    return surround


@pytest.fixture
def start(server: JobServer, start_worker: Callable[..., RunningWorker]) -> Callable[..., RunningWorker]:
    """Starts a worker with these functions."""
    return lambda **functions: start_worker(server.address, functions)


def wait_until_over(client: Client, handle: JobHandle, wait_for: Callable[..., Any]) -> None:
    wait_for(lambda: not client.status(handle).known, "the job's end")


def test_submit(client: Client, start: Callable[..., RunningWorker], server: JobServer) -> None:
    def talk(job: WorkerJob) -> bytes:
        job.status(1, 4)
        job.data(b"part")
        job.warning(b"careful")
        return job.workload.upper() + b"\0\xff"

    def complain(job: WorkerJob) -> None:
        job.fail()

    def object_to(job: WorkerJob) -> None:
        job.exception(b"boom")

    start(talk=talk, complain=complain, object_to=object_to, nothing=lambda job: None, count=count)
    heard: list[Any] = []
    result = client.submit(
        "talk",
        "text",
        on_created=lambda handle: heard.append(handle[:2]),
        on_status=lambda *fraction: heard.append(fraction),
        on_data=heard.append,
        on_warning=heard.append,
    )
    assert result == b"TEXT\0\xff"
    assert heard[0] == "H:"
    assert (1, 4) in heard
    assert (b"part" in heard, b"careful" in heard) == ("data" not in LACKS[server.kind],) * 2
    with pytest.raises(JobFailed):
        client.submit("complain", b"")
    with pytest.raises(JobException, match="boom"):
        client.submit("object_to", b"")
    assert client.submit("nothing", b"") == b""
    assert client.submit("count", json=[1, 2, 3]) == 3
    assert client.submit("talk", b"x" * 3_000_000).startswith(b"XXXX")


def count(job: WorkerJob) -> bytes:
    return b"%d" % (job.workload.count(b",") + 1)


def test_priorities_times_and_reducers(
    client: Client, start: Callable[..., RunningWorker], unless_lacking: Callable[[str], Any]
) -> None:
    start(f=lambda job: job.workload)
    assert client.submit("f", b"a", priority="high") == b"a"
    with unless_lacking("low priority"):
        assert client.submit("f", b"a", priority="low") == b"a"
    for priority in ("high", "low"):
        with unless_lacking("priority in the background"):
            assert client.submit_background("none", b"", priority=priority).startswith("H:")
    with unless_lacking("delay"):
        assert client.submit_background("none", b"", delay=3600).startswith("H:")
    with unless_lacking("reducer"):
        assert client.submit("f", b"a", reducer="join") == b"a"
    with unless_lacking("reducer"):
        assert client.submit_background("none", b"", reducer="join").startswith("H:")
    assert client.submit("f", b"still usable") == b"still usable"


def test_background_jobs_run(
    client: Client, start: Callable[..., RunningWorker], wait_for: Callable[..., Any], server: JobServer
) -> None:
    seen: list[bytes] = []
    handle = client.submit_background("f", b"one")
    assert handle.server == server.address
    handles = client.submit_background_many("f", (f"{number}" for number in range(500)))
    assert len({handle, *handles}) == 501
    start(f=lambda job: seen.append(job.workload))
    wait_for(lambda: len(seen) == 501, "all jobs")
    assert seen[:3] == [b"one", b"0", b"1"]
    wait_until_over(client, handles[-1], wait_for)


def test_equal_keys_are_one_job(client: Client) -> None:
    one, other = (client.submit_background("f", workload, unique="same") for workload in "ab")
    assert one == other
    one, other, third = (client.submit_background("f", workload, unique="-") for workload in ("a", "a", "b"))
    assert one == other != third


def test_status(
    client: Client,
    start: Callable[..., RunningWorker],
    unless_lacking: Callable[[str], Any],
    wait_for: Callable[..., Any],
) -> None:
    key = uuid.uuid4().hex
    handle = client.submit_background("f", b"", unique=key)
    assert (client.status(handle).known, client.status(handle).running) == (True, False)
    assert client.status("H:nobody:1").known is False
    with unless_lacking("status_unique"):
        assert client.status_unique(key).known
    with unless_lacking("status_unique"):
        assert client.status_unique("unknown").known is False
    seen = threading.Event()

    def report(job: WorkerJob) -> None:
        job.status(3, 10)
        assert seen.wait(DEADLINE_S)

    start(f=report)
    wait_for(lambda: client.status(handle).numerator == 3, "the report")
    assert (client.status(handle).running, client.status(handle).denominator) == (True, 10)
    seen.set()
    wait_until_over(client, handle, wait_for)


def test_echo_and_ping(client: Client, server: JobServer) -> None:
    assert client.echo(b"\0\xff bytes") == b"\0\xff bytes"
    assert client.ping() == (server.address,)


def test_results(
    client: Client, start: Callable[..., RunningWorker], unless_lacking: Callable[[str], Any], server: JobServer
) -> None:
    kept, lost = client.submit_background("kept", b"abc"), client.submit_background("lost", b"abc")
    if server.is_ours:
        with pytest.raises(Timeout):
            client.result(kept, timeout_s=0)
    start(kept=lambda job: job.workload.upper(), lost=lambda job: job.workload)
    with unless_lacking("result"):
        assert client.result(kept, timeout_s=DEADLINE_S) == b"ABC"
    with unless_lacking("result"):
        assert client.result(str(kept)) == b"ABC"
    if server.is_ours:
        with pytest.raises((ResultNotKept, ResultExpired, ResultUnknown)):
            client.result(lost)
        with pytest.raises(ResultUnknown):
            client.result("H:nobody:1")


def test_a_job_without_a_worker_ends_with_its_time(client: Client) -> None:
    with pytest.raises(Timeout):
        client.submit("nobody", b"", timeout_s=0.2)
    assert client.echo(b"fine") == b"fine"


#: Perl's client leaves jobs with keys at three servers; as for ours, "-" makes the workload the key.
IN_PERL = """
use Gearman::Client;
my $client = Gearman::Client->new(job_servers => [@ARGV]);
$client->dispatch_background("f", \\"key$_", {uniq => "key$_"}) for 0 .. 11;
$client->dispatch_background("f", \\"workload$_", {uniq => "-"}) for 0 .. 11;
"""


def test_the_keys_of_perls_client_meet_ours_on_the_same_servers(start_gearmand: Callable[[], Gearmand]) -> None:
    servers = [start_gearmand() for _ in range(3)]
    if shutil.which("perl") is None or subprocess.run(["perl", "-MGearman::Client", "-e", "1"], check=False).returncode:
        pytest.skip("Perl's client is not installed (Debian: apt-get install libgearman-client-perl)")
    command = ["perl", "-e", IN_PERL, *(str(server.address) for server in servers)]
    subprocess.run(command, timeout=DEADLINE_S, check=True)

    def jobs() -> list[int]:
        return [len(server.ask("show jobs").splitlines()) - 1 for server in servers]

    of_perl = jobs()
    assert sum(of_perl) == 24
    assert 0 not in of_perl
    with Client([server.address for server in servers], timeout_s=60) as client:
        for number in range(12):
            client.submit_background("f", f"key{number}", unique=f"key{number}")
            client.submit_background("f", f"workload{number}", unique="-")
    assert jobs() == of_perl


@pytest.mark.parametrize("ask", ["blocking", "asyncio", "set"])
def test_a_slow_job_is_awaited_while_its_server_says_that_it_is_alive(
    server: JobServer, start_worker: Callable[..., RunningWorker], ask: str
) -> None:
    def slow(job: WorkerJob) -> bytes:
        threading.Event().wait(0.7)
        return job.workload

    start_worker(server.address, {"slow": slow})
    options: Any = {"timeout_s": 60, "reply_timeout_s": 0.15}
    if ask == "asyncio":

        async def body() -> bytes:
            async with AsyncClient(server.address, **options) as client:
                result: bytes = await client.submit("slow", b"w")
                return result

        assert asyncio.run(body()) == b"w"
        return
    with Client(server.address, **options) as client:
        assert (next(client.map("slow", [b"w"])) if ask == "set" else client.submit("slow", b"w")) == b"w"
