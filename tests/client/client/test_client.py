"""The client against Debian's gearmand, and against a scripted server for all that gearmand does not do."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest

from gearman_client import (
    ArgumentError,
    Client,
    ConnectionLost,
    CouldNotConnect,
    JobException,
    JobFailed,
    JobHandle,
    JobStatus,
    NotSupported,
    ProtocolError,
    ServerError,
    Timeout,
    Worker,
    WorkerJob,
)
from gearman_client.client.server_choice import hash_of
from gearman_client.packet import PacketType

from ...gearmand import Gearmand
from ..conftest import Peer, RunningWorker, ScriptedServer

T = PacketType


@pytest.fixture
def client(gearmand: Gearmand) -> Any:
    """A client of one gearmand that waits at most ten seconds."""
    with Client(gearmand.address, timeout_s=10) as client:
        yield client


def test_a_foreground_job_returns_its_result_and_reports_progress(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    def talk(job: WorkerJob) -> bytes:
        job.status(1, 4)
        job.data(b"chunk")
        job.warning(b"careful")
        return job.workload.upper() + b"\0" + job.unique.encode()

    start_worker(gearmand.address, {"talk": talk})
    heard: list[Any] = []
    result = client.submit(
        "talk",
        "workload",
        unique="u1",
        on_created=lambda handle: heard.append(("created", handle[:2], handle.server)),
        on_status=lambda numerator, denominator: heard.append(("status", numerator, denominator)),
        on_data=lambda data: heard.append(("data", data)),
        on_warning=lambda data: heard.append(("warning", data)),
    )
    assert result == b"WORKLOAD\0u1"
    assert heard == [("created", "H:", gearmand.address), ("status", 1, 4), ("data", b"chunk"), ("warning", b"careful")]


def test_a_failed_job_raises_and_the_client_goes_on(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"bad": lambda job: job.fail(), "good": lambda job: b"ok"})
    with pytest.raises(JobFailed, match="H:"):
        client.submit("bad", b"")
    assert client.submit("good", b"") == b"ok"


def test_an_exception_of_the_worker_arrives_with_its_data(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"raise": lambda job: job.exception(b"boom\0\xff"), "good": lambda job: b"ok"})
    heard: list[bytes] = []
    with pytest.raises(JobException, match="boom") as raised:
        client.submit("raise", b"", on_exception=heard.append)
    assert [raised.value.data] == heard == [b"boom\0\xff"]
    assert client.submit("good", b"") == b"ok"


def test_without_exceptions_an_exception_arrives_as_a_failure(
    start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"raise": lambda job: job.exception(b"boom")})
    with Client(gearmand.address, timeout_s=10, exceptions=False) as client, pytest.raises(JobFailed):
        client.submit("raise", b"")


def test_the_three_priorities_are_served_in_order(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    for priority in ("low", "normal", "high"):
        client.submit_background("order", priority, priority=priority)
    seen: list[bytes] = []
    with Worker(gearmand.address) as worker:
        worker.register("order", lambda job: seen.append(job.workload))
        worker.work(max_jobs=3)
    assert seen == [b"high", b"normal", b"low"]


def test_submissions_with_equal_unique_ids_are_one_job_and_without_an_id_separate_jobs(
    client: Client, gearmand: Gearmand
) -> None:
    handles = [client.submit_background("f", b"", unique="same") for _ in range(3)]
    assert len(set(handles)) == 1
    handles = [client.submit_background("f", b"same workload") for _ in range(3)]
    assert len(set(handles)) == 3


def test_status_follows_a_job_from_queued_to_running_to_unknown(client: Client, gearmand: Gearmand) -> None:
    handle = client.submit_background("f", b"", unique="u")
    assert client.status(handle) == JobStatus(known=True, running=False, numerator=0, denominator=0)
    with Worker(gearmand.address) as worker:
        worker.register("f")
        job = worker.grab(10)
        assert job is not None
        job.status(3, 10)
        assert client.status(str(handle)) == JobStatus(known=True, running=True, numerator=3, denominator=10)
        assert client.status_unique("u") == JobStatus(True, True, 3, 10, waiting_clients=0)
        job.complete()
    assert client.status(handle).known is False
    assert client.status_unique("u").known is False


def test_a_job_without_worker_times_out_and_is_abandoned(
    client: Client, gearmand: Gearmand, wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    started = time.monotonic()
    with pytest.raises(Timeout, match=str(gearmand.port)):
        client.submit("nobody", b"", timeout_s=0.2)
    assert 0.2 <= time.monotonic() - started < 5
    # The third column is the number of waiting clients: there is none any more.
    wait_for(lambda: "\t0\t1\t0\n" in gearmand.ask("show jobs"), "the job is abandoned")
    assert client.echo(b"still\0fine") == b"still\0fine"


def test_a_full_queue_is_a_server_error_with_code_and_text(client: Client, gearmand: Gearmand) -> None:
    client.submit_background("f", b"1")
    gearmand.ask("maxqueue f 1")
    for submit in (client.submit, client.submit_background):
        with pytest.raises(ServerError, match="Job queue is full") as refusal:
            submit("f", b"2")
        assert refusal.value.code == "QUEUE_ERROR"
    assert client.echo() == b"ping"


def test_an_exception_in_a_callback_reaches_the_caller_and_leaves_nothing_on_the_connection(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"f": lambda job: job.data(b"x") or b"result of f", "g": lambda job: b"result of g"})

    def refuse(_data: bytes) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        client.submit("f", b"", on_data=refuse)
    assert client.submit("g", b"") == b"result of g"


def test_a_restarted_server_is_reconnected_without_an_error(client: Client, gearmand: Gearmand) -> None:
    assert client.echo() == b"ping"
    gearmand.kill()
    gearmand.start()
    assert client.echo() == b"ping"


def test_a_server_that_is_down_is_skipped_at_once(start_gearmand: Callable[[], Gearmand]) -> None:
    down, up = start_gearmand(), start_gearmand()
    with Client([down.address, up.address]) as client:
        assert client.ping() == (down.address, up.address)
        down.kill()
        started = time.monotonic()
        assert client.submit_background("f", b"").server == up.address
        assert client.ping() == (up.address,)
        assert time.monotonic() - started < 2


def test_without_any_server_the_error_names_every_address_and_the_remedy(
    start_gearmand: Callable[[], Gearmand],
) -> None:
    servers = [start_gearmand(), start_gearmand()]
    for server in servers:
        server.kill()
    with Client([server.address for server in servers]) as client:
        with pytest.raises(CouldNotConnect, match="check that a job server runs there") as failure:
            client.submit("f", b"")
        assert all(str(server.port) in str(failure.value) for server in servers)
        with pytest.raises(CouldNotConnect):
            client.status("H:x:1")
        assert client.ping() == ()


def test_a_unique_id_chooses_its_server(start_gearmand: Callable[[], Gearmand]) -> None:
    servers = [start_gearmand().address for _ in range(2)]
    with Client(servers) as client:
        for unique in ("a", "b", "c", "d"):
            handle = client.submit_background("f", b"", unique=unique)
            assert handle.server == servers[hash_of(unique.encode()) % 2]
            assert client.status_unique(unique).known


def test_a_handle_is_looked_up_at_its_own_server_and_an_unknown_handle_at_all_servers(
    start_gearmand: Callable[[], Gearmand],
) -> None:
    first, second = start_gearmand(), start_gearmand()
    with Client([first.address, second.address]) as client, Client(second.address) as other:
        mine = client.submit_background("f", b"")
        # Two servers on one machine give out the same handles.
        elsewhere = other.submit_background("f", b"")
        assert mine == elsewhere
        assert isinstance(mine, JobHandle)
        with Worker(second.address) as worker:
            worker.register("f")
            job = worker.grab(10)
            assert job is not None
            assert client.status(elsewhere).running
            assert not client.status(mine).running
            job.complete()
            worker.flush()
        foreign = other.submit_background("g", b"")
        assert client.status(str(foreign)).known


def test_invalid_names_and_priorities_are_refused_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(ArgumentError, match="zero byte"):
        client.submit("a\0b", b"")
    with pytest.raises(ArgumentError, match="zero byte"):
        client.submit_background("f", b"", unique="a\0b")
    with pytest.raises(ArgumentError, match="must not be empty"):
        client.submit("", b"")
    with pytest.raises(ArgumentError, match="expected high, normal or low"):
        client.submit("f", b"", priority="urgent")  # type: ignore[call-overload]
    with pytest.raises(ArgumentError, match="expected bytes or str, not int"):
        client.submit("f", 7)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("call", "arguments", "named", "complaint"),
    [
        ("submit", ("f", 7), {}, "bytes or str, not int: encode"),
        ("submit", ("f", {"a": 1}), {}, "bytes or str, not dict: encode"),
        ("submit", (None, b""), {}, "function name None is NoneType: expected text"),
        ("submit", (b"f", b""), {}, "function name b'f' is bytes: expected text"),
        ("submit", ("f", b""), {"unique": 5}, "unique id 5 is int: expected text"),
        ("submit", ("f", b""), {"unique": 0}, "unique id 0 is int"),
        ("submit", ("f", b""), {"priority": None}, "priority None: expected high, normal or low"),
        ("submit", ("f", b""), {"priority": ["high"]}, "expected high, normal or low"),
        ("submit", ("f", b""), {"timeout_s": "5"}, "timeout_s '5': expected seconds"),
        ("submit", ("f", b""), {"timeout_s": float("nan")}, "timeout_s nan: expected seconds"),
        ("submit", ("f", b""), {"on_data": "print"}, "on_data 'print': expected a function"),
        ("submit_background", ("f", b""), {"delay": "5min"}, "delay '5min': expected seconds"),
        ("submit_background", ("f", b""), {"at": "noon"}, "at 'noon': expected a datetime"),
        ("submit_background_many", ("f", "one text"), {}, "workloads: expected a list"),
        ("submit_background_many", ("f", 5), {}, "workloads: expected a list"),
        ("result", (None,), {}, "handle None is NoneType: expected text"),
        ("result", (b"H:a:1",), {}, "handle b'H:a:1' is bytes: expected text"),
        ("result", ("H:a:1",), {"timeout_s": "5"}, "timeout_s '5': expected seconds"),
        ("status", (None,), {}, "handle None"),
        ("status_unique", (5,), {}, "unique id 5"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    client: Client, call: str, arguments: Any, named: Any, complaint: str
) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        getattr(client, call)(*arguments, **named)


@pytest.mark.parametrize("name", ["timeout_s", "connect_timeout_s", "reply_timeout_s"])
def test_a_wrong_time_for_all_requests_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{name} '5': expected seconds"):
        Client("127.0.0.1", **{name: "5"})  # type: ignore[call-overload]


@pytest.mark.parametrize("call", ["submit", "result"])
def test_a_misspelt_keyword_is_refused_with_those_that_exist(client: Client, call: str) -> None:
    arguments = ("f", b"") if call == "submit" else ("H:a:1",)
    with pytest.raises(TypeError, match=rf"{call}\(\).*'timeout_a' \(did you mean timeout_s\?\); .*on_warning"):
        getattr(client, call)(*arguments, timeout_a=1)
    with pytest.raises(TypeError, match="'on_progress'"):
        getattr(client, call)(*arguments, on_progress=print)


def test_very_long_waits_are_possible(
    client: Client, start_worker: Callable[..., RunningWorker], gearmand: Gearmand
) -> None:
    start_worker(gearmand.address, {"f": lambda job: b"done"})
    for timeout in (timedelta(days=60), float("inf"), None):
        assert client.submit("f", b"", timeout_s=timeout) == b"done"
    with Client(gearmand.address, timeout_s=timedelta(days=60), reply_timeout_s=float("inf")) as patient:
        assert patient.submit("f", b"") == b"done"


def accept_client(server: ScriptedServer) -> Peer:
    peer = server.accept()
    peer.expect(T.OPTION_REQ, b"exceptions")
    peer.send(T.OPTION_RES, b"exceptions")
    return peer


def test_a_connection_lost_during_a_job_is_an_error(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, connect_timeout_s=0.1) as client:
        answer = in_thread(client.submit, "f", b"w", unique="u")
        peer = accept_client(scripted_server)
        peer.expect(T.SUBMIT_JOB, b"f", b"u", b"w")
        peer.send(T.JOB_CREATED, b"H:x:1")
        scripted_server.stop_listening()
        peer.close()
        with pytest.raises(ConnectionLost, match=str(scripted_server.address.port)):
            answer.result(10)


def test_a_server_that_accepts_and_never_answers_is_skipped(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]]
) -> None:
    silent, lively = start_scripted_server(), start_scripted_server()
    with Client([silent.address, lively.address], connect_timeout_s=0.2) as client:
        answer = in_thread(client.submit_background, "f", b"")
        peer = accept_client(lively)
        peer.expect(T.SUBMIT_JOB_BG, b"f", b"", b"")
        peer.send(T.JOB_CREATED, b"H:x:1")
        assert answer.result(10).server == lively.address


def test_another_service_on_the_port_is_reported_as_no_job_server(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address) as client:
        answer = in_thread(client.submit, "f", b"")
        scripted_server.accept().socket.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        with pytest.raises(CouldNotConnect, match="does not answer like a job server"):
            answer.result(10)


def test_a_connection_that_an_ending_server_closes_before_it_has_answered_is_opened_once_more(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address) as client:
        answer = in_thread(client.echo, b"hello")
        scripted_server.accept().close()
        peer = scripted_server.accept()
        peer.expect(T.OPTION_REQ, b"exceptions")
        peer.send(T.OPTION_RES, b"exceptions")
        peer.expect(T.ECHO_REQ, b"hello")
        peer.send(T.ECHO_RES, b"hello")
        assert answer.result(10) == b"hello"
    with Client(scripted_server.address) as client:
        answer = in_thread(client.echo, b"hello")
        for _ in range(2):
            scripted_server.accept().close()
        with pytest.raises(CouldNotConnect, match="does not answer like a job server"):
            answer.result(10)


def test_a_server_that_knows_no_exceptions_is_used_nevertheless(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address) as client:
        answer = in_thread(client.submit, "f", b"")
        peer = scripted_server.accept()
        peer.expect(T.OPTION_REQ, b"exceptions")
        peer.send(T.ERROR, b"UNKNOWN_OPTION", b"")
        peer.send(T.ERROR, b"UNKNOWN_OPTION", b"")  # the answer to the question for the servers of the cluster
        peer.expect(T.SUBMIT_JOB, b"f", b"", b"")
        peer.send(T.JOB_CREATED, b"H:x:1")
        peer.send(T.WORK_COMPLETE, b"H:y:9", b"of another job")
        peer.send(T.WORK_STATUS, b"H:x:1", b"-7", b"many")
        peer.send(T.WORK_COMPLETE, b"H:x:1", b"mine")
        assert answer.result(10) == b"mine"


def test_a_handle_alone_is_an_empty_text(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    heard: list[bytes] = []
    with Client(scripted_server.address) as client:
        answer = in_thread(client.submit, "f", b"", on_data=heard.append)
        peer = accept_client(scripted_server)
        peer.expect(T.SUBMIT_JOB, b"f", b"", b"")
        peer.send(T.JOB_CREATED, b"H:x:1")
        peer.send(T.WORK_DATA, b"H:x:1")
        peer.send(T.WORK_COMPLETE, b"H:x:1")
        assert answer.result(10) == b""
    assert heard == [b""]


def test_a_job_that_the_server_never_acknowledges_times_out(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, reply_timeout_s=0.2) as client:
        for submit in (client.submit, client.submit_background):
            answer = in_thread(submit, "f", b"")
            peer = accept_client(scripted_server)
            with pytest.raises(Timeout):
                answer.result(10)
            peer.next()
            assert peer.read_to_end() == []  # the client has closed the connection


def test_an_unexpected_answer_is_a_protocol_error(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address) as client:
        answer = in_thread(client.status, "H:x:1")
        peer = accept_client(scripted_server)
        peer.expect(T.GET_STATUS, b"H:x:1")
        peer.send(T.NOOP)
        with pytest.raises(ProtocolError, match="STATUS_RES"):
            answer.result(10)


def test_a_server_that_keeps_no_results_is_named_and_stays_usable(client: Client, gearmand: Gearmand) -> None:
    handle = client.submit_background("f", b"w")
    with pytest.raises(NotSupported, match=f"{gearmand.address} keeps no results of background jobs"):
        client.result(handle, timeout_s=0)
    assert client.status(handle).known
