"""Options of one job: as every kind of call sends them, on servers that know them and on servers that do not."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

import pytest

from gearman_client import (
    Address,
    ArgumentError,
    AsyncClient,
    Client,
    JobFailed,
    JobHandle,
    JobNotKnown,
    NotSupported,
    ServerError,
    WorkerJob,
)
from gearman_client.client.job_options import to_pairs
from gearman_client.extensions import SERVERS, SUBMIT_JOB_WITH
from gearman_client.packet import PacketType

from ...gearmand import Gearmand, PerlServer
from ..conftest import JobServer, Peer, RunningWorker, ScriptedServer

T = PacketType
DEADLINE_S = 30.0
OPTIONS: Any = {"tags": ["mail", "de"], "key": "customer 7", "headers": {"traceparent": "00-ab"}, "timeout": "90s"}
#: What a worker is told of these.
TOLD = (("mail", "de"), "customer 7", {"traceparent": "00-ab"}, 90.0)


class Told:
    """Works on the function `tell`, and keeps what the jobs say of themselves."""

    def __init__(self) -> None:
        self.jobs: queue.Queue[tuple[Any, ...]] = queue.Queue()

    def __call__(self, job: WorkerJob) -> bytes:
        self.jobs.put((job.tags, job.key, dict(job.headers), job.timeout_s))
        return job.workload

    def next(self) -> tuple[Any, ...]:
        return self.jobs.get(timeout=DEADLINE_S)


@pytest.fixture
def ours(start_ours: Callable[..., JobServer]) -> JobServer:
    return start_ours()


@pytest.fixture
def told(ours: JobServer, start_worker: Callable[..., RunningWorker]) -> Told:
    told = Told()
    start_worker(ours.address, {"tell": told})
    return told


def in_a_set(client: Client, **options: Any) -> None:
    with client.task_set(timeout_s=DEADLINE_S) as tasks:
        added = [tasks.add("tell", b"w", **options), tasks.add("tell", b"w", **options)]
        left = tasks.add_background("tell", b"w", retries=2, **options)
        plain = tasks.add("tell", b"w")
        assert tasks.wait() == []
        assert [task.result() for task in added] == [b"w", b"w"]
        assert isinstance(left.result(), JobHandle)
        assert plain.result() == b"w"


def test_every_call_of_the_blocking_client_carries_them_to_the_worker(ours: JobServer, told: Told) -> None:
    with Client(ours.address, timeout_s=DEADLINE_S) as client:
        assert client.submit("tell", b"w", retries=1, **OPTIONS) == b"w"
        client.submit_background("tell", b"w", **OPTIONS)
        client.submit_background_many("tell", [b"w"] * 3, **OPTIONS)
        assert list(client.map("tell", [b"w"] * 2, **OPTIONS)) == [b"w", b"w"]
        assert client.submit_future("tell", b"w", **OPTIONS).result(DEADLINE_S) == b"w"
        assert client.submit_future("tell", json=1, unique="u", **OPTIONS).result(DEADLINE_S) == 1
        assert [told.next() for _ in range(9)] == [TOLD] * 9
        in_a_set(client, **OPTIONS)
        assert sorted(map(str, [told.next() for _ in range(4)])) == sorted(map(str, [TOLD] * 3 + [((), "", {}, None)]))


def test_every_call_of_the_asynchronous_client_carries_them_to_the_worker(ours: JobServer, told: Told) -> None:
    async def body() -> None:
        async with AsyncClient(ours.address, timeout_s=DEADLINE_S) as client:
            results = await asyncio.gather(*(client.submit("tell", b"w", **OPTIONS) for _ in range(3)))
            assert results == [b"w"] * 3
            await client.submit_background("tell", b"w", **OPTIONS)
            await client.submit_background_many("tell", [b"w"] * 3, **OPTIONS)
            assert [result async for result in client.map("tell", [b"w"], **OPTIONS)] == [b"w"]
            async with client.task_set() as tasks:
                tasks.add("tell", b"w", **OPTIONS)
                tasks.add_background("tell", b"w", retries=2, **OPTIONS)
                assert await tasks.wait() == []
                assert [task.error async for task in tasks] == [None, None]

    asyncio.run(body())
    assert [told.next() for _ in range(10)] == [TOLD] * 10


def test_a_task_of_a_client_carries_them(ours: JobServer, told: Told) -> None:
    with Client(ours.address, timeout_s=DEADLINE_S) as client:
        task = client.task("tell").options(retries=3, delay="10ms", **OPTIONS)
        task.background(1)
        assert told.next() == TOLD
        list(client.task("tell").options(key="k").map([1, 2]))
        assert [told.next()[1], told.next()[1]] == ["k", "k"]


def test_retries_of_a_job_are_those_of_the_server(ours: JobServer, start_worker: Callable[..., RunningWorker]) -> None:
    attempts: queue.Queue[int | None] = queue.Queue()

    def fail(job: WorkerJob) -> None:
        attempts.put(job.attempt)
        job.fail()

    start_worker(ours.address, {"fail": fail})
    with Client(ours.address, timeout_s=DEADLINE_S) as client:
        with pytest.raises(JobFailed):
            client.submit("fail", b"", retries=2, backoff="1ms")
        assert [attempts.get(timeout=DEADLINE_S) for _ in range(3)] == [1, 2, 3]
        client.submit_background("fail", b"", retries=1, backoff=timedelta(milliseconds=1))
        assert [attempts.get(timeout=DEADLINE_S) for _ in range(2)] == [1, 2]
        # In a set they are the client's: each is a submission of its own.
        assert [type(error) for error in client.map("fail", [b""], retries=1, return_exceptions=True)] == [JobFailed]
        assert [attempts.get(timeout=DEADLINE_S) for _ in range(2)] == [1, 1]


def test_a_delay_counts_milliseconds_in_every_priority(ours: JobServer, told: Told) -> None:
    with Client(ours.address, timeout_s=DEADLINE_S) as client:
        for options in ({"delay": 0.2, "priority": "high"}, {"delay": "200ms"}, {"delay": timedelta(milliseconds=200)}):
            begun = time.monotonic()
            client.submit_background("tell", b"w", **options)
            told.next()
            assert 0.2 <= time.monotonic() - begun < 1.0
        begun = time.monotonic()
        assert client.submit("tell", b"w", at=datetime.fromtimestamp(time.time() + 0.3)) == b"w"
        assert 0.25 < time.monotonic() - begun < 1.0


def test_a_submission_with_a_name_is_one_job_however_often_it_is_sent(ours: JobServer) -> None:
    with Client(ours.address, timeout_s=DEADLINE_S) as client:
        first = client.submit_background("nobody", b"w", submission="order 17")
        assert client.submit_background("nobody", b"w", submission="order 17") == first
        assert client.submit_background("nobody", b"w", submission="order 18") != first


def test_what_the_server_refuses_is_told_with_the_options_name(
    start_ours: Callable[..., JobServer], tmp_path: Any
) -> None:
    policies = tmp_path / "policies.yaml"
    policies.write_text("functions: {strict: {allow_options: [retries]}}\n")
    server = start_ours("--policies", str(policies))
    with Client(server.address, timeout_s=DEADLINE_S) as client:
        client.submit_background("strict", b"", retries=1)
        with pytest.raises(ServerError, match="INVALID_OPTION: tags: the function does not allow it"):
            client.submit_background("strict", b"", tags=["a"])
        with pytest.raises(ServerError, match="INVALID_OPTION: expires"):
            client.submit_background("free", b"", expires=time.time() - 5)
        tasks = client.task_set()
        refused = tasks.add("strict", b"", key="k")
        tasks.wait()
        assert isinstance(refused.error, ServerError)


# Servers that know no options.


@pytest.fixture(params=["gearmand", "perl"])
def foreign(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Any]:
    if request.param == "gearmand":
        gearmand: Gearmand = request.getfixturevalue("gearmand")
        yield gearmand.address
        return
    perl = PerlServer(tmp_path)
    perl.start()
    try:
        yield perl.address
    finally:
        perl.kill()


def test_a_foreign_server_says_so_and_gets_no_job(foreign: Address, start_worker: Callable[..., RunningWorker]) -> None:
    got: list[bytes] = []

    def take(job: WorkerJob) -> bytes:
        got.append(job.workload)
        return job.workload

    start_worker(foreign, {"take": take})
    told = "takes no tags for a job, which was not sent: gearman-server does"
    with Client(foreign, timeout_s=DEADLINE_S) as client:
        for call in (client.submit, client.submit_background):
            with pytest.raises(NotSupported, match=told):
                call("take", b"no", tags=["a"])
        with pytest.raises(NotSupported, match=told):
            list(client.map("take", [b"no"], tags=["a"]))
        with pytest.raises(NotSupported, match=told):
            client.submit_background_many("take", [b"no"], tags=["a"])
        with client.task_set() as tasks:
            refused, taken = tasks.add("take", b"no", tags=["a"]), tasks.add("take", b"yes")
            tasks.wait()
            with pytest.raises(NotSupported, match=told):
                refused.result()
            assert taken.result() == b"yes"
        # A number for the priority, and a delay, have something like them there.
        assert client.submit("take", b"high", priority=9) == b"high"

    async def body() -> None:
        async with AsyncClient(foreign, timeout_s=DEADLINE_S) as client:
            for call in (client.submit, client.submit_background):
                with pytest.raises(NotSupported, match=told):
                    await call("take", b"no", tags=["a"])
            assert await client.submit("take", b"async", priority=6) == b"async"

    asyncio.run(body())
    assert got == [b"yes", b"high", b"async"]


# A server that is lost.


def take_options(peer: Peer) -> bytes:
    """Answer the client's question, and return the pairs of the submission that follows."""
    peer.expect(T.OPTION_REQ, b"job-options")
    peer.send(T.OPTION_RES, b"job-options")
    packet_type, body = peer.next()
    assert packet_type == SUBMIT_JOB_WITH
    return body


def with_a_set(client: Client, function: str, workload: bytes, **options: Any) -> JobHandle:
    with client.task_set() as tasks:
        task = tasks.add_background(function, workload, **options)
        tasks.wait()
        return task.result()


def on_a_loop(client: Client, function: str, workload: bytes, **options: Any) -> JobHandle:
    async def body() -> JobHandle:
        async with AsyncClient(client.servers, exceptions=False, timeout_s=DEADLINE_S) as other:
            return await other.submit_background(function, workload, **options)

    return asyncio.run(body())


@pytest.mark.parametrize("leave", [Client.submit_background, with_a_set, on_a_loop])
def test_a_background_job_with_a_name_is_sent_again_to_the_server_that_may_have_it(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]], leave: Any
) -> None:
    one, other = start_scripted_server(), start_scripted_server()
    with Client([one.address, other.address], exceptions=False, timeout_s=DEADLINE_S) as client:
        left = in_thread(leave, client, "f", b"w", submission="order 17", unique="b")
        peer = one.accept()
        first = take_options(peer)
        assert first == b"f\0b\0background=1\0submission=order 17\0\0w"
        peer.close()  # the acknowledgement is lost
        again = one.accept()
        assert take_options(again) == first
        again.send(T.JOB_CREATED, b"H:1")
        handle = left.result(DEADLINE_S)
        assert (handle, handle.server) == ("H:1", one.address)


def on_a_loop_with_exceptions(client: Client, function: str, workload: bytes, **options: Any) -> JobHandle:
    async def body() -> JobHandle:
        async with AsyncClient(client.servers, timeout_s=DEADLINE_S) as other:
            return await other.submit_background(function, workload, **options)

    return asyncio.run(body())


@pytest.mark.parametrize("leave", [Client.submit_background, with_a_set, on_a_loop_with_exceptions])
def test_a_background_job_with_a_name_is_sent_again_to_another_server_of_the_cluster(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]], leave: Any
) -> None:
    one, other = start_scripted_server(), start_scripted_server()
    rows = b"1\ta\t%s\t1.0\talive\t1\n2\tb\t%s\t1.0\talive\t0\n"
    with Client([one.address, other.address], timeout_s=DEADLINE_S) as client:
        left = in_thread(leave, client, "f", b"w", submission="order 17")
        peer = one.accept()
        peer.expect(T.OPTION_REQ, b"exceptions")
        peer.send(SERVERS, rows % (str(one.address).encode(), str(other.address).encode()))
        peer.send(T.OPTION_RES, b"exceptions")
        first = take_options(peer)
        one.stop_listening()
        peer.close()  # the acknowledgement is lost
        again = other.accept()
        again.expect(T.OPTION_REQ, b"exceptions")
        again.send(T.OPTION_RES, b"exceptions")
        assert take_options(again) == first
        again.send(T.JOB_CREATED, b"H:1")
        handle = left.result(DEADLINE_S)
        assert (handle, handle.server) == ("H:1", other.address)


@pytest.mark.parametrize("leave", [Client.submit_background, with_a_set, on_a_loop])
def test_if_that_server_does_not_come_back_the_job_is_not_known(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]], leave: Any
) -> None:
    one, other = start_scripted_server(), start_scripted_server()
    servers = [one.address, other.address]
    with Client(servers, exceptions=False, timeout_s=2.0, connect_timeout_s=0.5, reply_timeout_s=1.0) as client:
        left = in_thread(leave, client, "f", b"w", submission="order 17", unique="b", timeout_s=2.0)
        peer = one.accept()
        take_options(peer)
        one.stop_listening()
        peer.close()
        with pytest.raises(JobNotKnown, match="did not acknowledge the background job f"):
            left.result(DEADLINE_S)


def test_a_foreground_job_that_is_submitted_again_has_its_options(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]]
) -> None:
    one, other = start_scripted_server(), start_scripted_server()
    with Client([one.address, other.address], exceptions=False, timeout_s=DEADLINE_S) as client:
        result = in_thread(client.submit, "f", b"w", **OPTIONS)
        peer = one.accept()
        first = take_options(peer)
        peer.send(T.JOB_CREATED, b"H:1")
        one.stop_listening()
        peer.close()
        again = other.accept()
        assert take_options(again) == first
        again.send(T.JOB_CREATED, b"H:2")
        again.send(T.WORK_COMPLETE, b"H:2", b"done")
        assert result.result(DEADLINE_S) == b"done"


# Values.


def pairs(background: bool = True, **options: Any) -> bytes:
    made = to_pairs(options, None, background=background)
    assert made is not None
    return made.encoded.rstrip(b"\0")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"retries": 0}, b"background=1\0retries=0"),
        ({"backoff": "1.5s", "max_backoff": timedelta(minutes=1)}, b"background=1\0backoff=1500\0max_backoff=60000"),
        ({"keep_result": "7d", "timeout": 0.25}, b"background=1\0keep_result=604800000\0timeout=250"),
        ({"expires": "10m", "expired_letter": True}, b"background=1\0expires_in=600000\0expired_letter=1"),
        ({"expires": 1_900_000_000.5}, b"background=1\0expires=1900000000500"),
        ({"tags": ("a", "a", "ü")}, "background=1\0tag=a\0tag=ü".encode()),
        ({"headers": {"a": "", "b": "x=y"}}, b"background=1\0header:a=\0header:b=x=y"),
        ({"unique": "u", "unique_for": "1h"}, b"background=1\0unique_for=3600000"),
        ({"unique": "u", "unique_until": "start"}, b"background=1\0unique_until=start"),
        ({"unique": "u", "replace": True, "priority": "low"}, b"background=1\0replace=1\0priority=2"),
        ({"delay": 0.0001, "priority": 7}, b"background=1\0delay=1\0priority=7"),
        ({"headers": {"a": "1"}, "key": "k", "tags": ["t"]}, b"background=1\0tag=t\0header:a=1\0key=k"),
        ({"at": 1_900_000_000.25}, b"background=1\0at=1900000000250"),
    ],
)
def test_each_option_has_its_pair(options: dict[str, Any], expected: bytes) -> None:
    assert pairs(**options) == expected


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"retries": -1}, "retries -1: expected a whole number from 0"),
        ({"retries": True}, "retries True: expected a whole number"),
        ({"timeout": "5"}, "timeout '5': expected seconds .*, a timedelta, or a text as 500ms"),
        ({"timeout": -1}, "timeout -1: expected a duration from 0 to 3650 days"),
        ({"backoff": "4000d"}, "backoff '4000d': expected a duration from 0 to 3650 days"),
        ({"expires": 600}, "expires 600: expected a time; a duration from now is a timedelta"),
        ({"expires": "soon"}, "expires 'soon': expected seconds"),
        ({"expired_letter": 1}, "expired_letter 1: expected True or False"),
        ({"tags": "mail"}, "tags 'mail': expected a list of texts"),
        ({"tags": [""]}, "tag '': expected a text of 1 to 64 bytes, it has 0"),
        ({"tags": [7]}, "the tag 7 is int: expected text"),
        ({"tags": [str(number) for number in range(17)]}, "tags: 17 are given, at most 16 are allowed"),
        ({"key": "k" * 257}, "key .*: expected a text of 1 to 256 bytes, it has 257"),
        ({"key": "a\0"}, "holds a zero byte"),
        ({"unique_for": 5}, "unique_for: it is about jobs with equal unique ids, so give `unique` a text of its own"),
        ({"replace": True, "unique": "-"}, "replace: it is about jobs with equal unique ids"),
        ({"unique": "u", "unique_for": 1, "unique_until": "end"}, "unique_until: it excludes unique_for"),
        ({"unique": "u", "unique_until": "ends"}, "unique_until 'ends': expected start or end"),
        ({"unique": "u", "replace": "yes"}, "replace 'yes': expected True or False"),
        ({"submission": "s" * 65}, "submission .*: expected a text of 1 to 64 bytes, it has 65"),
        ({"headers": ["a"]}, r"headers \['a'\]: expected a dictionary of texts"),
        ({"headers": {"a=b": "c"}}, "headers: the name 'a=b' is empty, or holds a '='"),
        ({"headers": {"a": 1}}, "the header a 1 is int: expected text"),
        ({"headers": {"a": "x" * 8192}}, "headers: 1 with 8193 bytes are given, at most 32 with 8192 bytes"),
        ({"headers": {str(number): "" for number in range(33)}}, "headers: 33 with"),
        ({"at": 1, "delay": 1}, "at and delay both say when"),
        ({"delay": -1}, "delay -1: expected a duration from 0"),
        ({"priority": 1.5}, "priority 1.5: expected high, normal or low, or a whole number from 0 to 9"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_named_with_what_is_allowed(options: Any, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        to_pairs(options, None, background=True)


def test_one_name_for_many_submissions_is_refused() -> None:
    with Client("127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="'unique'"):
            client.submit_background_many("f", [b""], unique="u")  # type: ignore[call-arg]
        for call in (client.submit_background_many, client.map):
            with pytest.raises(ArgumentError, match="submission: with one for all of them, many jobs would be one"):
                call("f", [b""], submission="one")
