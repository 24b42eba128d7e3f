"""The text command `fail job HANDLE REASON`: a worker's supervisor ends its attempt at a job."""

from __future__ import annotations

import pytest

from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness, Peer
from ..server_process import ServerProcess

NOT_FOUND = [(PacketType.ERROR, b"JOB_NOT_FOUND\0Job given in work result not found")]


@pytest.fixture
def running(broker: BrokerHarness) -> tuple[Peer, Peer, bytes]:
    """A client, a worker, and the handle of a foreground job that the worker runs for the client."""
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f", b"work", b"u")
    assert worker.grab() == handle
    return client, worker, handle


def test_the_attempt_ends_as_a_failure_and_the_late_answer_is_refused(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes]
) -> None:
    client, worker, handle = running
    assert broker.peer().text(b"fail job " + handle + b" timeout") == b"OK\r\n"
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert broker.status(b"f") == (0, 0, 1)
    assert worker.take() == []
    assert worker.ask(PacketType.WORK_COMPLETE, handle, b"late") == NOT_FOUND
    assert client.take() == []


def test_clients_that_asked_for_exceptions_get_the_reason(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes]
) -> None:
    client, _worker, handle = running
    client.ask(PacketType.OPTION_REQ, b"exceptions")
    reason = b"killed after 30 s: it blocked every signal"
    assert broker.peer().text(b"FAIL Job " + handle + b" " + reason + b"\r") == b"OK\r\n"
    assert client.take() == [(PacketType.WORK_EXCEPTION, handle + b"\0" + reason)]


def test_the_unique_key_is_free_at_once(broker: BrokerHarness, running: tuple[Peer, Peer, bytes]) -> None:
    client, worker, handle = running
    broker.peer().text(b"fail job " + handle + b" timeout")
    client.take()
    fresh = client.submit(b"f", unique=b"u")
    assert fresh != handle
    assert worker.grab() == fresh


def test_the_job_is_not_requeued_when_its_worker_is_lost_afterwards(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes]
) -> None:
    _client, worker, handle = running
    broker.peer().text(b"fail job " + handle + b" timeout")
    worker.leave()
    assert broker.status(b"f") == (0, 0, 0)


def test_only_the_address_of_the_worker_may_fail_its_job(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes]
) -> None:
    client, _worker, handle = running
    answer = broker.peer(address="192.0.2.2").text(b"fail job " + handle + b" timeout")
    assert answer == b"ERR NOT_ALLOWED Only+from+the+address+of+the+worker+that+has+the+job\r\n"
    assert client.take() == []
    assert broker.status(b"f") == (1, 1, 1)


@pytest.mark.parametrize(
    ("address", "unix_uid", "is_allowed"), [("", 1000, True), ("", 1001, False), ("", None, False)]
)
def test_on_a_unix_socket_only_the_same_user_may_fail_the_job(
    broker: BrokerHarness, address: str, unix_uid: int | None, is_allowed: bool
) -> None:
    worker = broker.peer("", unix_uid=1000).can_do(b"f")
    broker.peer().submit(b"f")
    answer = broker.peer(address, unix_uid).text(b"fail job " + worker.grab_handle() + b" timeout")
    assert (answer == b"OK\r\n") is is_allowed


def test_a_job_that_does_not_run_cannot_be_failed(broker: BrokerHarness) -> None:
    handle = broker.peer().submit(b"f")
    answer = broker.peer().text(b"fail job " + handle + b" timeout")
    assert answer == b"ERR JOB_NOT_RUNNING No+worker+has+this+job\r\n"
    assert broker.status(b"f") == (1, 0, 0)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"fail job H:x:1 timeout", b"ERR UNKNOWN_JOB\r\n"),
        *(
            (line, b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+fail\r\n")
            for line in (b"fail", b"fail job", b"fail job H:x:1", b"fail jobs H:x:1 timeout")
        ),
    ],
)
def test_an_incomplete_or_pointless_command_is_refused(broker: BrokerHarness, line: bytes, answer: bytes) -> None:
    assert broker.peer().text(line) == answer


def test_a_cancelled_job_is_freed_and_its_clients_are_not_told_twice(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes]
) -> None:
    client, _worker, handle = running
    broker.peer().text(b"cancel job " + handle)
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert broker.peer().text(b"fail job " + handle + b" timeout") == b"OK\r\n"
    assert client.take() == []
    assert broker.status(b"f") == (0, 0, 1)


def test_a_supervisor_fails_the_job_of_a_stopped_worker_on_a_real_server(server: ServerProcess) -> None:
    client, worker, supervisor = server.peer(), server.peer(), server.peer()
    client.ask(PacketType.OPTION_REQ, b"exceptions")
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    assert supervisor.text(b"fail job " + handle + b" timeout") == b"OK\r\n"
    assert client.receive() == (PacketType.WORK_EXCEPTION, handle + b"\0timeout")
    worker.send(PacketType.WORK_COMPLETE, handle, b"late")
    assert worker.receive() == NOT_FOUND[0]
