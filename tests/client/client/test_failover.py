"""Several job servers of which some are down, die, or say nothing: which requests are repeated, and where."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from gearman_client import (
    Address,
    Client,
    ConnectionLost,
    CouldNotConnect,
    JobNotAcknowledged,
    JobNotKnown,
    PartlyRefused,
    Timeout,
)
from gearman_client.client import server_pool
from gearman_client.client.server_choice import hash_of
from gearman_client.packet import PacketType

from ...gearmand import Gearmand
from ...silent_proxy import silent_proxy
from ..conftest import Peer, RunningWorker, ScriptedServer

T = PacketType
#: The refusal of a server that is about to end.
ENDING = (T.ERROR, b"QUEUE_ERROR", b"The server is shutting down")


@pytest.fixture
def two(start_scripted_server: Callable[[], ScriptedServer]) -> tuple[ScriptedServer, ScriptedServer]:
    """Two servers that the test plays. Without a key the first one gets the jobs."""
    return start_scripted_server(), start_scripted_server()


@pytest.fixture
def client(two: tuple[ScriptedServer, ScriptedServer]) -> Iterator[Client]:
    """A client of both, which asks no first question."""
    with Client([server.address for server in two], exceptions=False, timeout_s=60) as client:
        yield client


@pytest.fixture
def swallower() -> Iterator[Address]:
    """An address that accepts connections, as a stopped process does, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield Address("127.0.0.1", listener.getsockname()[1])


def accept_job(server: ScriptedServer, function: bytes = b"f", handle: bytes = b"H:1") -> Peer:
    peer = server.accept()
    peer.expect(T.SUBMIT_JOB, function, b"", b"w")
    peer.send(T.JOB_CREATED, handle)
    return peer


def test_a_job_whose_server_died_is_submitted_to_the_other_one(
    two: tuple[ScriptedServer, ScriptedServer], client: Client, in_thread: Callable[..., Future[Any]]
) -> None:
    created: list[Any] = []
    result = in_thread(client.submit, "f", "w", on_created=lambda handle: created.append(handle.server))
    peer = accept_job(two[0])
    two[0].stop_listening()
    peer.close()
    accept_job(two[1]).send(T.WORK_COMPLETE, b"H:1", b"done")
    assert result.result(60) == b"done"
    assert created == [two[0].address, two[1].address]


@pytest.mark.parametrize("is_background", [False, True])
def test_a_job_that_a_server_does_not_take_because_it_is_ending_goes_to_the_other_one(
    two: tuple[ScriptedServer, ScriptedServer],
    client: Client,
    in_thread: Callable[..., Future[Any]],
    is_background: bool,
) -> None:
    # It was not taken, so this is no second submission.
    call = in_thread(client.submit_background, "f", "w") if is_background else None
    call = call or in_thread(client.submit, "f", "w", resubmit=False)
    packet_type = T.SUBMIT_JOB_BG if is_background else T.SUBMIT_JOB
    peer = two[0].accept()
    peer.expect(packet_type, b"f", b"", b"w")
    two[0].stop_listening()
    peer.send(*ENDING)
    other = two[1].accept()
    other.expect(packet_type, b"f", b"", b"w")
    other.send(T.JOB_CREATED, b"H:2")
    other.send(T.WORK_COMPLETE, b"H:2", b"done")
    assert call.result(60) == ("H:2" if is_background else b"done")
    assert peer.read_to_end() == []


def test_of_many_jobs_those_that_an_ending_server_does_not_take_go_to_the_other_one(
    two: tuple[ScriptedServer, ScriptedServer], client: Client, in_thread: Callable[..., Future[Any]]
) -> None:
    call = in_thread(client.submit_background_many, "f", ["a", "b", "c", "d"])
    peer = two[0].accept()
    for workload in (b"a", b"b", b"c", b"d"):
        peer.expect(T.SUBMIT_JOB_BG, b"f", b"", workload)
    two[0].stop_listening()
    peer.send(T.JOB_CREATED, b"H:a")
    peer.send(*ENDING)
    peer.send(T.JOB_CREATED, b"H:c")
    peer.send(*ENDING)
    other = two[1].accept()
    for workload in (b"b", b"d"):
        other.expect(T.SUBMIT_JOB_BG, b"f", b"", workload)
        other.send(T.JOB_CREATED, b"H:" + workload)
    assert call.result(60) == ["H:a", "H:b", "H:c", "H:d"]
    assert [handle.server for handle in call.result()] == [each.address for each in (two[0], two[1]) * 2]
    assert peer.read_to_end() == []


def test_of_many_jobs_those_that_nobody_takes_are_refused(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, exceptions=False, connect_timeout_s=0.5) as client:
        call = in_thread(client.submit_background_many, "f", ["a", "b"])
        peer = scripted_server.accept()
        for workload in (b"a", b"b"):
            peer.expect(T.SUBMIT_JOB_BG, b"f", b"", workload)
        scripted_server.stop_listening()
        peer.send(T.JOB_CREATED, b"H:a")
        peer.send(*ENDING)
        with pytest.raises(PartlyRefused, match="shutting down") as refused:
            call.result(60)
        assert refused.value.accepted == ["H:a"]


def test_a_job_waits_for_the_successor_of_the_only_server(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, exceptions=False, timeout_s=60) as client:
        call = in_thread(client.submit, "f", "w")
        peer = scripted_server.accept()
        peer.expect(T.SUBMIT_JOB, b"f", b"", b"w")
        scripted_server.stop_listening()
        peer.send(*ENDING)
        assert peer.read_to_end() == []
        scripted_server.listen_again()
        accept_job(scripted_server).send(T.WORK_COMPLETE, b"H:1", b"done")
        assert call.result(60) == b"done"


def test_a_caller_can_forbid_that_a_job_is_submitted_twice(
    two: tuple[ScriptedServer, ScriptedServer], client: Client, in_thread: Callable[..., Future[Any]]
) -> None:
    result = in_thread(client.submit, "f", "w", resubmit=False)
    accept_job(two[0]).close()
    with pytest.raises(ConnectionLost, match=str(two[0].address)):
        result.result(60)
    two[1].stop_listening()
    with pytest.raises(ConnectionRefusedError):  # nobody had connected to the other one
        socket.create_connection((two[1].address.host, two[1].address.port), 1)


def test_a_server_that_takes_a_job_and_says_nothing_is_left_for_the_other_one(
    two: tuple[ScriptedServer, ScriptedServer], in_thread: Callable[..., Future[Any]]
) -> None:
    with Client([server.address for server in two], exceptions=False, reply_timeout_s=0.3) as client:
        result = in_thread(client.submit, "f", "w")
        silent = two[0].accept()
        silent.expect(T.SUBMIT_JOB, b"f", b"", b"w")
        accept_job(two[1]).send(T.WORK_COMPLETE, b"H:1", b"done")
        assert result.result(60) == b"done"


def test_one_server_that_is_restarted_under_a_job_gets_it_again(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, exceptions=False, timeout_s=60) as client:
        result = in_thread(client.submit, "f", "w")
        peer = accept_job(scripted_server)
        scripted_server.stop_listening()
        peer.close()
        scripted_server.listen_again()
        accept_job(scripted_server, handle=b"H:2").send(T.WORK_COMPLETE, b"H:2", b"done")
        assert result.result(60) == b"done"


def test_a_job_that_no_server_survives_is_given_up(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, exceptions=False) as client:
        result = in_thread(client.submit, "f", "w")
        attempts = 0
        while not result.done():
            accept_job(scripted_server).close()
            attempts += 1
            if attempts == 11:
                break
        with pytest.raises(ConnectionLost, match="closed by the job server"):
            result.result(60)


def test_a_background_job_that_was_not_acknowledged_is_not_known_and_not_sent_again(
    two: tuple[ScriptedServer, ScriptedServer], client: Client, in_thread: Callable[..., Future[Any]]
) -> None:
    result = in_thread(client.submit_background, "f", "w")
    peer = two[0].accept()
    peer.expect(T.SUBMIT_JOB_BG, b"f", b"", b"w")
    peer.close()
    with pytest.raises(JobNotKnown, match=f"{two[0].address} did not acknowledge the background job f") as raised:
        result.result(60)
    assert raised.value.server == str(two[0].address)
    assert not isinstance(raised.value, Timeout)
    again = in_thread(client.submit_background, "g", "w")
    peer = two[0].accept()
    peer.expect(T.SUBMIT_JOB_BG, b"g", b"", b"w")
    peer.send(T.JOB_CREATED, b"H:9")
    assert again.result(60) == "H:9"


def test_a_background_job_that_is_not_acknowledged_in_time_is_not_known_either(scripted_server: ScriptedServer) -> None:
    with Client(scripted_server.address, exceptions=False, reply_timeout_s=0.1) as client:
        with pytest.raises(JobNotAcknowledged, match="did not acknowledge") as raised:
            client.submit_background("f", "w")
        assert isinstance(raised.value, JobNotKnown)
        assert isinstance(raised.value, Timeout)


def test_a_background_job_of_which_only_a_part_was_sent_is_sent_to_the_other_server(
    two: tuple[ScriptedServer, ScriptedServer], client: Client, in_thread: Callable[..., Future[Any]]
) -> None:
    workload = b"x" * 32 * 1024 * 1024
    result = in_thread(client.submit_background, "f", workload)
    two[0].accept().close()
    peer = two[1].accept()
    peer.expect(T.SUBMIT_JOB_BG, b"f", b"", workload)
    peer.send(T.JOB_CREATED, b"H:1")
    assert result.result(60).server == two[1].address


def test_many_jobs_tell_which_of_them_were_acknowledged(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, exceptions=False) as client:
        result = in_thread(client.submit_background_many, "f", ["a", "b", "c"])
        peer = scripted_server.accept()
        peer.expect(T.SUBMIT_JOB_BG, b"f", b"", b"a")
        peer.send(T.JOB_CREATED, b"H:1")
        peer.next()
        peer.next()
        peer.close()
        with pytest.raises(JobNotKnown, match="did not acknowledge 2 jobs") as raised:
            result.result(60)
        assert list(raised.value.accepted) == ["H:1"]


def test_a_question_is_asked_again_over_another_connection(
    scripted_server: ScriptedServer, in_thread: Callable[..., Future[Any]]
) -> None:
    with Client(scripted_server.address, exceptions=False, timeout_s=60) as client:
        known = in_thread(client.status, "H:1")
        scripted_server.accept().close()
        peer = scripted_server.accept()
        peer.expect(T.GET_STATUS, b"H:1")
        peer.send(T.STATUS_RES, b"H:1", b"1", b"0", b"0", b"0")
        assert known.result(60).known


def test_a_server_known_dead_costs_no_call_anything(swallower: Address, gearmand: Gearmand) -> None:
    calls = 30
    with Client([swallower, gearmand.address], timeout_s=60) as client:
        client.submit_background("f", b"")
        begun = time.monotonic()
        for _ in range(calls):
            assert client.submit_background("f", b"").server == gearmand.address
        assert time.monotonic() - begun < calls * server_pool.PATIENCE_S / 2


def test_a_server_that_comes_back_gets_its_jobs_again(start_gearmand: Callable[[], Gearmand]) -> None:
    servers = [start_gearmand(), start_gearmand()]
    key = next(f"u{number}" for number in range(99) if hash_of(f"u{number}".encode()) % 2 == 0)
    with Client([server.address for server in servers], timeout_s=60) as client:
        assert client.submit_background("f", b"", unique=key).server == servers[0].address
        servers[0].kill()
        assert client.submit_background("f", b"", unique=key).server == servers[1].address
        servers[0].start()
        deadline = time.monotonic() + 60
        while client.submit_background("f", b"", unique=key).server != servers[0].address:
            assert time.monotonic() < deadline, "the server that came back is never used again"
            time.sleep(0.01)


def test_equal_keys_meet_while_another_server_is_down(start_gearmand: Callable[[], Gearmand]) -> None:
    servers = [start_gearmand(), start_gearmand(), start_gearmand()]
    addresses = [server.address for server in servers]
    servers[0].kill()
    with Client(addresses, timeout_s=60) as one, Client(addresses, timeout_s=60) as other:
        for number in range(12):
            unique = f"u{number}"
            first = one.submit_background("f", b"", unique=unique)
            second = other.submit_background("f", b"", unique=unique)
            assert (first, first.server) == (second, second.server)


def test_when_all_are_down_one_error_names_each_with_its_reason(swallower: Address) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = Address("127.0.0.1", listener.getsockname()[1])
    with Client([refusing, swallower], timeout_s=0.5) as client:
        for call in (lambda: client.submit("f", b""), lambda: client.submit_background("f", b""), client.echo):
            with pytest.raises(CouldNotConnect) as raised:
                call()
            assert f"{refusing}: Connection refused" in str(raised.value)
            assert f"could not connect to {swallower}: " in str(raised.value)
        assert client.ping() == ()


def test_a_connection_that_died_without_a_word_is_noticed_before_a_request_is_lost_on_it(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_worker(gearmand.address, {"f": lambda job: job.workload.upper()})
    monkeypatch.setattr(server_pool, "IDLE_S", 0.0)
    monkeypatch.setattr(server_pool, "ALIVE_S", 0.1)
    with silent_proxy(gearmand.address) as proxy, Client(proxy.address, timeout_s=60) as client:
        assert client.submit("f", b"a", resubmit=False) == b"A"
        proxy.forget()
        assert client.submit("f", b"b", resubmit=False) == b"B"
        handle = client.submit_background("none", b"")
        proxy.forget()
        assert client.status(handle).known


def test_a_status_is_asked_at_its_home_and_for_other_handles_at_all_that_live(
    start_gearmand: Callable[[], Gearmand],
) -> None:
    servers = [start_gearmand(), start_gearmand(), start_gearmand()]
    with Client([server.address for server in servers], timeout_s=60) as client:
        with Client(servers[2].address) as third:
            handle = third.submit_background("f", b"", unique="u")
        servers[1].kill()
        assert client.status(handle).known
        assert client.status(str(handle) + "x").known is False
        assert client.status_unique("u").known
        servers[2].kill()
        with pytest.raises(CouldNotConnect, match=str(servers[2].address)):
            client.status(handle)
        assert client.status_unique("u").known is False


def test_the_time_of_a_call_is_shared_out_over_servers_that_say_nothing(
    start_scripted_server: Callable[[], ScriptedServer],
) -> None:
    silent = [start_scripted_server() for _ in range(3)]
    with Client([server.address for server in silent], exceptions=False) as client:
        begun = time.monotonic()
        with pytest.raises(Timeout) as raised:
            client.status("H:1", timeout_s=0.6)
        assert all(str(server.address) in str(raised.value) for server in silent)
        assert time.monotonic() - begun >= 0.5


def test_an_attempt_that_was_left_behind_long_ago_says_nothing_about_the_server_today(
    start_scripted_server: Callable[[], ScriptedServer], in_thread: Callable[..., Future[Any]]
) -> None:
    server = start_scripted_server()
    with Client(server.address, connect_timeout_s=0.05) as client:
        with pytest.raises(CouldNotConnect):
            client.echo(timeout_s=0.02)  # its attempt is left to later calls
        time.sleep(1.2)  # longer than the attempt may take, and nobody has looked at it
        answer = in_thread(client.echo, b"now", timeout_s=30)
        server.accept()
        server.accept()  # the call has made an attempt of its own
        with pytest.raises(CouldNotConnect, match="does not answer like a job server"):
            answer.result(60)


def test_a_name_is_looked_up_and_one_that_does_not_exist_is_reported(gearmand: Gearmand) -> None:
    with Client(f"localhost:{gearmand.port}", timeout_s=60) as client:
        assert client.echo(b"hello") == b"hello"
    with Client("no-such-host.invalid") as client, pytest.raises(CouldNotConnect, match="can't be resolved"):
        client.echo()
