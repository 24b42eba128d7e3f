"""gearmand's known defects, by their number in the reference's list: for each, a test of the right behaviour.

Here are the defects that the broker alone shows; test_defects_of_the_process has those that need a real server. The
stores' (18 to 22, 24) are tested with the stores, those of HTTP (29) and TLS (30) with their edges, those of the
command-line tools and client libraries (34, 36) with the client. The test of the accepted sockets' options shows that
dead peers are noticed (37).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType

from .broker_harness import BrokerHarness, Peer

NOOP = [(PacketType.NOOP, b"")]
LATE = [(PacketType.ERROR, b"JOB_NOT_FOUND\0Job given in work result not found")]


def status_of(peer: Peer, handle: bytes) -> list[bytes]:
    """Known, running, numerator and denominator."""
    [(packet_type, body)] = peer.ask(PacketType.GET_STATUS, handle)
    assert packet_type == PacketType.STATUS_RES
    return body.removeprefix(handle + b"\0").split(b"\0")


@pytest.mark.parametrize("digits", [b"9" * 18, b"9" * 20, b"9" * 5000, b"18446744073709551616"])
def test_02_a_timeout_that_overflows_is_a_very_long_one(broker: BrokerHarness, digits: bytes) -> None:
    worker = broker.peer()
    assert worker.ask(PacketType.CAN_DO_TIMEOUT, b"f", digits) == []
    handle = broker.peer().submit(b"f")
    assert worker.grab() == handle
    broker.advance(86400)
    assert broker.status(b"f") == (1, 1, 1)


def test_04_the_timer_of_a_job_ends_with_the_job(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
    first = client.submit(b"f", kind="SUBMIT_JOB_BG")
    worker.grab()
    worker.send(PacketType.WORK_COMPLETE, first, b"")
    broker.advance(5)
    assert broker.status(b"f") == (0, 0, 1)
    second = client.submit(b"f")
    assert [worker.grab(), worker.grab()] == [second, None]


def test_05_every_job_of_a_connection_has_a_timer_of_its_own(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"2000")
    worker.send(PacketType.CAN_DO_TIMEOUT, b"g", b"9000")
    early, late = client.submit(b"f"), client.submit(b"g")
    assert {worker.grab(), worker.grab()} == {early, late}
    broker.advance(2.1)
    assert list(worker.session.assigned) == [late]
    broker.advance(7)
    assert list(worker.session.assigned) == []


@pytest.mark.parametrize("kinds", [("SUBMIT_JOB_BG", "SUBMIT_JOB"), ("SUBMIT_JOB", "SUBMIT_JOB_BG")])
def test_06_a_background_job_outlives_the_foreground_clients_that_joined_it(
    broker: BrokerHarness, kinds: tuple[str, str]
) -> None:
    clients = [broker.peer() for _ in kinds]
    handles = {client.submit(b"f", unique=b"u", kind=kind) for client, kind in zip(clients, kinds, strict=True)}
    for client in clients:
        client.leave()
    assert {broker.worker(b"f").grab()} == handles


def test_07_a_client_that_submits_an_abandoned_job_again_gets_an_answer(broker: BrokerHarness) -> None:
    gone, client, worker = broker.peer(), broker.peer(), broker.worker(b"f")
    gone.submit(b"f", unique=b"u")
    gone.leave()
    handle = client.submit(b"f", unique=b"u")
    assert worker.grab() == handle
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0r")]


def test_08_a_client_without_the_exceptions_option_gets_a_plain_failure_with_the_bare_handle(
    broker: BrokerHarness,
) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    worker.send(PacketType.WORK_EXCEPTION, handle, b"why")
    assert client.take() == [(PacketType.WORK_FAIL, handle)]


def test_08_an_exception_after_the_end_of_the_job_is_refused(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert worker.ask(PacketType.WORK_EXCEPTION, handle, b"why") == [
        (PacketType.ERROR, b"JOB_NOT_FOUND\0An exception was received for a job that does not exist")
    ]
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0r")]


def test_09_the_clients_of_a_cancelled_running_job_are_told_of_its_end_once(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f", unique=b"u")
    worker.grab()
    assert (
        client.text(b"cancel job " + handle) == b"\0RES\0\0\0\x0e" + struct.pack(">I", len(handle)) + handle + b"OK\r\n"
    )
    assert client.text(b"cancel job " + handle) == b"ERR UNKNOWN_JOB\r\n"
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert client.take() == []
    assert client.submit(b"f", unique=b"u") != handle


def test_10_dropping_a_function_fails_its_waiting_jobs(broker: BrokerHarness) -> None:
    client = broker.peer()
    handle = client.submit(b"f", unique=b"u")
    operator = broker.peer()
    assert operator.text(b"drop function F") == b"ERR function not found\r\n"
    assert operator.text(b"drop function f") == b"OK\r\n"
    assert client.take() == [(PacketType.WORK_FAIL, handle)]
    assert operator.text(b"show jobs") == b".\n"
    assert broker.worker(b"f").grab() is None


def test_11_create_function_takes_the_whole_name_and_refuses_an_empty_one(broker: BrokerHarness) -> None:
    operator = broker.peer()
    assert operator.text(b"create function abcdef") == b"OK\r\n"
    assert operator.text(b"create function a") == b"OK\r\n"
    assert operator.text(b"create function \0") == b"ERR CREATE_FUNCTION \r\n"
    assert operator.text(b"status") == b"abcdef\t0\t0\t0\na\t0\t0\t0\n.\n"


def test_12_priorities_hold_across_functions_and_no_function_starves(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"a", b"b", b"c")
    client.ask(PacketType.SUBMIT_JOB_EPOCH, b"a", b"", b"%d" % (broker.unix_time + 60), b"a later")
    for name in (b"a", b"b", b"c"):
        for number in (b"1", b"2"):
            client.submit(name, name + number)
    client.submit(b"a", b"a low", kind="SUBMIT_JOB_LOW")
    client.submit(b"b", b"b high", kind="SUBMIT_JOB_HIGH")
    given = list(iter(worker.grab_workload, None))
    assert given[0] == b"b high"
    assert {workload[:1] for workload in given[1:4]} == {b"a", b"b", b"c"}
    assert {workload[:1] for workload in given[4:7]} == {b"a", b"b", b"c"}
    assert given[7] == b"a low"


def test_13_a_delayed_job_that_becomes_due_wakes_a_sleeper_without_other_traffic(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f")
    worker.send(PacketType.PRE_SLEEP)
    broker.peer().ask(PacketType.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (broker.unix_time + 5), b"w")
    assert worker.take() == []
    broker.advance(5)
    assert worker.take() == NOOP
    assert worker.grab_workload() == b"w"


def test_14_job_retries_0_gives_a_job_no_second_attempt(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(job_retries=0)
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    worker.leave()
    assert client.take() == [(PacketType.WORK_FAIL, handle)]


@pytest.mark.parametrize(
    ("packet", "arguments", "answer"),
    [
        ("GET_STATUS", (b"h" * 64,), PacketType.STATUS_RES),
        ("GET_STATUS", (b"h" * 9000,), PacketType.STATUS_RES),
        ("GET_STATUS_UNIQUE", (b"u" * 64,), PacketType.STATUS_RES_UNIQUE),
        ("GET_STATUS_UNIQUE", (b"u" * 9000,), PacketType.STATUS_RES_UNIQUE),
        ("SUBMIT_JOB_EPOCH", (b"f", b"", b"9" * 30, b"w"), PacketType.ERROR),
        ("WORK_FAIL", (b"h" * 64,), PacketType.ERROR),
    ],
)
def test_15_a_request_with_a_very_long_argument_is_answered(
    broker: BrokerHarness, packet: str, arguments: tuple[bytes, ...], answer: int
) -> None:
    [(packet_type, _)] = broker.peer().ask(PacketType[packet], *arguments)
    assert packet_type == answer


def test_15_a_progress_with_a_long_denominator_is_forwarded(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    worker.send(PacketType.WORK_STATUS, handle, b"1", b"1" * 40)
    assert client.take() == [(PacketType.WORK_STATUS, handle + b"\0001\0" + b"1" * 40)]


def test_16_unique_keys_of_64_bytes_are_kept_whole(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    keys = [b"u" * 63 + b"1", b"u" * 63 + b"2"]
    handles = [client.submit(b"f", unique=key) for key in keys]
    assert handles[0] != handles[1]
    for handle, key in zip(handles, keys, strict=True):
        assert worker.ask(PacketType.GRAB_JOB_UNIQ) == [(PacketType.JOB_ASSIGN_UNIQ, handle + b"\0f\0" + key + b"\0")]


def test_16_the_length_of_a_reduce_jobs_unique_key_is_checked_too(broker: BrokerHarness) -> None:
    too_long = [(PacketType.ERROR, b"ARGUMENT_TOO_LARGE\0Unique value too large")]
    arguments = (b"f", b"u" * 65, b"sum", b"", b"w")
    assert broker.peer().ask(PacketType.SUBMIT_REDUCE_JOB, *arguments) == too_long


def test_26_abandoned_and_cancelled_jobs_are_no_longer_counted(broker: BrokerHarness) -> None:
    client = broker.peer()
    keeper = broker.worker(b"f")
    keeper.text(b"maxqueue f 2")
    client.submit(b"f")
    cancelled = client.submit(b"f")
    keeper.text(b"cancel job " + cancelled)
    client.leave()
    assert broker.status(b"f") == (0, 0, 1)
    assert keeper.text(b"show jobs") == b".\n"
    newcomer = broker.peer()
    newcomer.submit(b"f")
    newcomer.submit(b"f")


def test_27_a_worker_that_ignored_a_noop_and_sleeps_again_is_woken_again(broker: BrokerHarness) -> None:
    client, worker, other = broker.peer(), broker.worker(b"f"), broker.worker(b"f")
    worker.send(PacketType.PRE_SLEEP)
    client.submit(b"f")
    assert worker.take() == NOOP
    assert other.grab() is not None
    assert worker.ask(PacketType.PRE_SLEEP) == []
    client.submit(b"f")
    assert worker.take() == NOOP


def test_31_registering_twice_counts_once(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f", b"f")
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
    assert broker.status(b"f") == (0, 0, 1)
    assert worker.text(b"workers").startswith(b"1 192.0.2.1 - : f\n")


def test_33_the_limits_of_maxqueue_can_be_read_back(broker: BrokerHarness) -> None:
    operator = broker.worker(b"f")
    operator.text(b"maxqueue f 5 3 2")
    assert operator.text(b"show maxqueue f") == operator.text(b"show maxqueue f") == b"f\t5\t3\t2\n.\n"


def test_35_a_late_answer_costs_a_worker_one_error_and_its_next_job_follows(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.peer()
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"1000")
    handle = client.submit(b"f")
    worker.grab()
    broker.advance(2)
    requests = [(PacketType.WORK_COMPLETE, handle + b"\0late"), (PacketType.GRAB_JOB, b"")]
    broker.broker.receive(worker.session, requests, broker.now)
    assert worker.take() == [*LATE, (PacketType.JOB_ASSIGN, handle + b"\0f\0")]


def test_38_a_foreground_job_is_not_run_once_its_client_has_left(broker: BrokerHarness) -> None:
    client = broker.peer()
    client.submit(b"f")
    client.leave()
    assert broker.worker(b"f").grab() is None


def test_38_a_result_is_taken_only_from_the_worker_of_the_job(broker: BrokerHarness) -> None:
    client, worker, other = broker.peer(), broker.worker(b"f"), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    assert other.ask(PacketType.WORK_COMPLETE, handle, b"forged") == LATE
    assert client.take() == []
    assert status_of(client, handle) == [b"1", b"1", b"0", b"0"]


def test_38_a_sleeper_gets_one_noop_however_many_jobs_come(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f", b"g")
    worker.send(PacketType.PRE_SLEEP)
    for name in (b"f", b"g", b"f"):
        client.submit(name)
    assert worker.take() == NOOP


def test_38_the_job_of_a_worker_that_dies_is_tried_again(broker: BrokerHarness) -> None:
    client, worker, other = broker.peer(), broker.worker(b"f"), broker.worker(b"f")
    handle = client.submit(b"f")
    worker.grab()
    worker.leave()
    assert client.take() == []
    assert other.grab() == handle
