"""WORK_* packets: their receivers, and their permitted senders."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness, Peer


@pytest.fixture
def running(broker: BrokerHarness) -> tuple[Peer, Peer, bytes]:
    """A client, a worker, and the handle of a foreground job that the worker runs for the client."""
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f", b"work", b"u")
    assert worker.grab() == handle
    return client, worker, handle


@pytest.mark.parametrize(
    ("packet", "arguments"),
    [
        ("WORK_DATA", (b"some\0data",)),
        ("WORK_WARNING", (b"careful",)),
        ("WORK_STATUS", (b"3", b"10")),
        ("WORK_STATUS", (b"soon", b"x" * 40)),
    ],
)
def test_packets_about_a_running_job_are_forwarded_unchanged_and_do_not_end_it(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes], packet: str, arguments: tuple[bytes, ...]
) -> None:
    client, worker, handle = running
    assert worker.ask(PacketType[packet], handle, *arguments) == []
    assert client.take() == [(PacketType[packet], b"\0".join((handle, *arguments)))]
    assert broker.status(b"f") == (1, 1, 1)


@pytest.mark.parametrize(("packet", "arguments"), [("WORK_COMPLETE", (b"res\0ult",)), ("WORK_FAIL", ())])
def test_the_end_of_a_job_is_forwarded_and_the_job_is_gone(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes], packet: str, arguments: tuple[bytes]
) -> None:
    client, worker, handle = running
    assert worker.ask(PacketType[packet], handle, *arguments) == []
    assert client.take() == [(PacketType[packet], b"\0".join((handle, *arguments)))]
    assert broker.status(b"f") == (0, 0, 1)
    assert client.ask(PacketType.GET_STATUS, handle) == [(PacketType.STATUS_RES, handle + b"\0000\0000\0000\0000")]


def test_an_exception_reaches_clients_with_the_option_and_is_a_failure_for_the_others(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes]
) -> None:
    client, worker, handle = running
    curious = broker.peer()
    assert curious.ask(PacketType.OPTION_REQ, b"Exceptions") == [(PacketType.OPTION_RES, b"Exceptions")]
    curious.submit(b"f", unique=b"u")
    worker.send(PacketType.WORK_EXCEPTION, handle, b"why")
    assert curious.take() == [(PacketType.WORK_EXCEPTION, handle + b"\0why")]
    assert client.take() == [(PacketType.WORK_FAIL, handle)]


def test_one_work_fail_after_an_exception_is_ignored_because_an_error_would_end_perls_worker(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes]
) -> None:
    _, worker, handle = running
    worker.send(PacketType.WORK_EXCEPTION, handle, b"why")
    assert worker.ask(PacketType.WORK_FAIL, handle) == []
    assert worker.ask(PacketType.WORK_FAIL, handle) == [
        (PacketType.ERROR, b"JOB_NOT_FOUND\0Job given in work result not found")
    ]


def test_with_the_exceptions_setting_every_client_gets_exceptions(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(exceptions=True)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    worker.send(PacketType.WORK_EXCEPTION, handle, b"why")
    assert client.take() == [(PacketType.WORK_EXCEPTION, handle + b"\0why")]


@pytest.mark.parametrize(
    ("packet", "arguments", "text"),
    [
        ("WORK_COMPLETE", (b"",), b"Job given in work result not found"),
        ("WORK_FAIL", (), b"Job given in work result not found"),
        ("WORK_STATUS", (b"1", b"2"), b"Job given in work result not found"),
        ("WORK_DATA", (b"",), b"Job does not exist on server"),
        ("WORK_WARNING", (b"",), b"Job does not exist on server"),
        ("WORK_EXCEPTION", (b"",), b"An exception was received for a job that does not exist"),
    ],
)
def test_results_are_taken_only_from_the_worker_that_holds_the_job(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes], packet: str, arguments: tuple[bytes, ...], text: bytes
) -> None:
    client, worker, handle = running
    stranger = broker.worker(b"f")
    for sender, named in ((stranger, handle), (worker, b"H:test:999"), (worker, b"x" * 500)):
        assert sender.ask(PacketType[packet], named, *arguments) == [(PacketType.ERROR, b"JOB_NOT_FOUND\0" + text)]
        assert sender.session.ending is None
    assert client.take() == []
    assert broker.status(b"f") == (1, 1, 2)


@pytest.mark.parametrize(
    ("packet", "body"),
    [("CAN_DO_TIMEOUT", b"f"), ("SUBMIT_JOB", b"f"), ("SUBMIT_JOB_EPOCH", b"f\0u\0001")],
)
def test_a_packet_with_too_few_arguments_costs_only_the_worker_its_connection(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes], packet: str, body: bytes
) -> None:
    client, worker, _handle = running
    [(packet_type, error)] = worker.ask(PacketType[packet], body)
    assert (packet_type, error.split(b"\0")[0]) == (PacketType.ERROR, b"INVALID_PACKET")
    assert worker.session.ending is not None
    assert client.take() == []


@pytest.mark.parametrize("packet", ["WORK_COMPLETE", "WORK_DATA", "WORK_WARNING"])
def test_a_handle_alone_is_an_empty_text_because_perls_worker_leaves_that_out(
    running: tuple[Peer, Peer, bytes], packet: str
) -> None:
    client, worker, handle = running
    assert worker.ask(PacketType[packet], handle) == []
    assert client.take() == [(PacketType[packet], handle + b"\0")]


def test_an_exception_without_a_text_is_one_with_an_empty_text(
    broker: BrokerHarness, running: tuple[Peer, Peer, bytes]
) -> None:
    client, worker, handle = running
    client.ask(PacketType.OPTION_REQ, b"exceptions")
    assert worker.ask(PacketType.WORK_EXCEPTION, handle) == []
    assert client.take() == [(PacketType.WORK_EXCEPTION, handle + b"\0")]
    assert broker.status(b"f")[0] == 0


@pytest.mark.parametrize("arguments", [(), (b"1",)])
def test_progress_without_a_denominator_says_nothing_and_costs_nothing(
    running: tuple[Peer, Peer, bytes], arguments: tuple[bytes, ...]
) -> None:
    client, worker, handle = running
    assert worker.ask(PacketType.WORK_STATUS, handle, *arguments) == []
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0r")]


def test_packets_about_a_background_job_reach_no_client(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    worker.send(PacketType.WORK_DATA, handle, b"x")
    worker.send(PacketType.WORK_COMPLETE, handle, b"x")
    assert client.take() == []


def test_a_worker_may_hold_several_jobs_and_end_them_in_any_order(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    first, second = client.submit(b"f"), client.submit(b"f")
    assert [worker.grab(), worker.grab()] == [first, second]
    worker.send(PacketType.WORK_COMPLETE, second, b"2")
    worker.send(PacketType.WORK_COMPLETE, first, b"1")
    assert [body for _, body in client.take()] == [second + b"\0002", first + b"\0001"]


def test_a_worker_can_be_its_own_client(broker: BrokerHarness) -> None:
    both = broker.worker(b"f")
    handle = both.submit(b"f")
    assert both.grab() == handle
    assert both.ask(PacketType.WORK_COMPLETE, handle, b"r") == [(PacketType.WORK_COMPLETE, handle + b"\0r")]


# --- questions


def test_get_status_distinguishes_unknown_queued_and_running_jobs(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")

    def status(handle: bytes) -> bytes:
        [(packet_type, body)] = client.ask(PacketType.GET_STATUS, handle)
        assert packet_type == PacketType.STATUS_RES
        return body.removeprefix(handle + b"\0")

    assert status(b"H:x:1") == b"0\0000\0000\0000"
    assert status(b"x" * 5000) == b"0\0000\0000\0000"
    handle = client.submit(b"f")
    assert status(handle) == b"1\0000\0000\0000"
    worker.grab()
    worker.send(PacketType.WORK_STATUS, handle, b"3", b"10")
    client.take()
    assert status(handle) == b"1\0001\0003\00010"
    worker.send(PacketType.WORK_STATUS, handle, b"half", b"9" * 15)
    client.take()
    assert status(handle) == b"1\0001\0000\0004294967295"


def test_get_status_unique_counts_the_clients(broker: BrokerHarness) -> None:
    one, two = broker.peer(), broker.peer()
    one.submit(b"f", unique=b"u")
    two.submit(b"f", unique=b"u")

    def ask(unique: bytes) -> list[tuple[int, bytes]]:
        return one.ask(PacketType.GET_STATUS_UNIQUE, unique)

    assert ask(b"u") == [(PacketType.STATUS_RES_UNIQUE, b"u\0001\0000\0000\0000\0002")]
    assert ask(b"nothing") == [(PacketType.STATUS_RES_UNIQUE, b"nothing\0000\0000\0000\0000\0000")]
    assert ask(b"x" * 100) == [(PacketType.STATUS_RES_UNIQUE, b"x" * 100 + b"\0000\0000\0000\0000\0000")]


def test_echo_gives_back_the_same_bytes(broker: BrokerHarness) -> None:
    data = bytes(range(256)) * 10
    assert broker.peer().ask(PacketType.ECHO_REQ, data) == [(PacketType.ECHO_RES, data)]


def test_an_unknown_option_is_refused_and_the_packet_all_yours_ignored(broker: BrokerHarness) -> None:
    peer = broker.peer()
    assert peer.ask(PacketType.OPTION_REQ, b"more") == [
        (PacketType.ERROR, b"UNKNOWN_OPTION\0Server does not recognize given option")
    ]
    assert peer.ask(PacketType.ALL_YOURS) == []


@pytest.mark.parametrize(
    ("packet_type", "code", "ends"),
    [
        (5, b"INVALID_COMMAND", False),
        (PacketType.JOB_CREATED, b"INVALID_COMMAND", False),
        (-PacketType.SUBMIT_JOB, b"INVALID_MAGIC", False),
        (43, b"INVALID_PACKET", True),
        (1000, b"INVALID_PACKET", True),
        (2**31, b"INVALID_PACKET", True),
        (2**32 - 1, b"INVALID_PACKET", True),
        (-43, b"INVALID_PACKET", True),
    ],
)
def test_a_packet_that_is_no_request_is_refused(
    broker: BrokerHarness, packet_type: int, code: bytes, ends: bool
) -> None:
    peer = broker.peer()
    [(answer, body)] = peer.ask(packet_type, b"f\0\0")
    assert (answer, body.split(b"\0")[0]) == (PacketType.ERROR, code)
    assert (peer.session.ending is not None) is ends
