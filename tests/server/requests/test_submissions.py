"""Submissions: the jobs that are created, those that coalesce, and those that are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness, Peer, lines_run

CREATED = PacketType.JOB_CREATED


@pytest.mark.parametrize(
    "kind",
    [
        "SUBMIT_JOB",
        "SUBMIT_JOB_BG",
        "SUBMIT_JOB_HIGH",
        "SUBMIT_JOB_HIGH_BG",
        "SUBMIT_JOB_LOW",
        "SUBMIT_JOB_LOW_BG",
    ],
)
def test_every_submission_is_answered_with_its_handle(broker: BrokerHarness, kind: str) -> None:
    client = broker.peer()
    assert client.ask(PacketType[kind], b"f", b"", b"work") == [(CREATED, b"H:test:1")]
    assert client.ask(PacketType[kind], b"f", b"", b"work") == [(CREATED, b"H:test:2")]
    assert broker.status(b"f") == (2, 0, 0)


def test_a_workload_may_hold_zero_bytes(broker: BrokerHarness) -> None:
    broker.peer().submit(b"f", b"a\0b\0\0c")
    assert broker.worker(b"f").grab_workload() == b"a\0b\0\0c"


def test_handles_stay_below_64_bytes_however_long_the_host_name_is(make_broker: Callable[..., BrokerHarness]) -> None:
    client = make_broker(handle_prefix=b"H:" + b"x" * 300).peer()
    handle = client.submit(b"f")
    assert handle.startswith(b"H:xxx")
    assert handle.endswith(b":1")
    assert len(handle) + len(str(2**63)) - 1 < 64


def test_a_percent_sign_in_the_handle_prefix_is_taken_literally(make_broker: Callable[..., BrokerHarness]) -> None:
    assert make_broker(handle_prefix=b"100%d").peer().submit(b"f") == b"100%d:1"


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ((b"u", b"a"), (b"u", b"b"), True),
        ((b"u", b"a"), (b"v", b"a"), False),
        ((b"", b"a"), (b"", b"a"), False),
        ((b"-", b"a"), (b"-", b"a"), True),
        ((b"-", b"a"), (b"-", b"b"), False),
        ((b"-", b""), (b"-", b""), False),
        ((b"-", b"u"), (b"u", b"u"), False),
        ((b"#", b"a"), (b"#", b"b"), True),
    ],
)
def test_submissions_with_the_same_unique_key_are_one_job(
    broker: BrokerHarness, first: tuple[bytes, bytes], second: tuple[bytes, bytes], is_same: bool
) -> None:
    client = broker.peer()
    handles = [client.submit(b"f", workload, unique) for unique, workload in (first, second)]
    assert (handles[0] == handles[1]) is is_same
    assert broker.worker(b"f").grab_workload() == first[1]


def test_different_functions_never_coalesce(broker: BrokerHarness) -> None:
    client = broker.peer()
    assert client.submit(b"f", unique=b"u") != client.submit(b"g", unique=b"u")


def test_a_unique_key_is_free_again_after_its_job_has_ended(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    first = client.submit(b"f", unique=b"u")
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")
    assert client.take() == [(PacketType.WORK_COMPLETE, first + b"\0")]
    assert client.submit(b"f", unique=b"u") != first


def test_a_coalesced_submission_does_not_raise_the_priority(broker: BrokerHarness) -> None:
    client = broker.peer()
    low = client.submit(b"f", unique=b"u", kind="SUBMIT_JOB_LOW")
    normal = client.submit(b"f")
    assert client.submit(b"f", unique=b"u", kind="SUBMIT_JOB_HIGH") == low
    worker = broker.worker(b"f")
    assert [worker.grab(), worker.grab()] == [normal, low]


def test_every_coalesced_client_gets_the_result_once_for_each_submission(broker: BrokerHarness) -> None:
    one, two, worker = broker.peer(), broker.peer(), broker.worker(b"f")
    handle = one.submit(b"f", unique=b"u")
    assert two.submit(b"f", unique=b"u") == one.submit(b"f", unique=b"u") == handle
    worker.grab()
    worker.send(PacketType.WORK_COMPLETE, handle, b"done")
    assert one.take() == [(PacketType.WORK_COMPLETE, handle + b"\0done")] * 2
    assert two.take() == [(PacketType.WORK_COMPLETE, handle + b"\0done")]


def test_a_client_that_joins_a_running_job_gets_its_later_data(broker: BrokerHarness) -> None:
    early, late, worker = broker.peer(), broker.peer(), broker.worker(b"f")
    handle = early.submit(b"f", unique=b"u")
    worker.grab()
    worker.send(PacketType.WORK_DATA, handle, b"1")
    assert late.submit(b"f", unique=b"u") == handle
    worker.send(PacketType.WORK_DATA, handle, b"2")
    assert [body for _, body in early.take()] == [handle + b"\0001", handle + b"\0002"]
    assert [body for _, body in late.take()] == [handle + b"\0002"]


def test_a_unique_key_of_65_bytes_is_refused_and_one_of_64_is_kept_whole(broker: BrokerHarness) -> None:
    client = broker.peer()
    refusal = [(PacketType.ERROR, b"ARGUMENT_TOO_LARGE\0Unique value too large")]
    assert client.ask(PacketType.SUBMIT_JOB, b"f", b"u" * 65, b"") == refusal
    assert client.submit(b"f", unique=b"u" * 63 + b"1") != client.submit(b"f", unique=b"u" * 63 + b"2")


@pytest.mark.parametrize("name", [b"", b"a\nb", b"a\x1bb", b"f" * 8193])
def test_a_function_name_that_would_break_the_status_table_is_refused(broker: BrokerHarness, name: bytes) -> None:
    client = broker.peer()
    [(packet_type, _)] = client.ask(PacketType.SUBMIT_JOB, name, b"", b"")
    assert packet_type == PacketType.ERROR
    assert client.session.ending is None
    assert client.text(b"status") == b".\n"


def test_a_name_may_hold_the_tab_that_perl_puts_behind_its_prefix(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"shop\tmail", b"shop\t7\t7\t7")
    handle = client.submit(b"shop\tmail", b"w")
    assert worker.grab_handle() == handle
    assert client.text(b"status") == b"shop\tmail\t1\t1\t1\nshop\t7\t7\t7\t0\t0\t1\n.\n"
    assert client.text(b"prioritystatus").startswith(b"shop\tmail\t0\t0\t0\t1\n")
    assert b" : shop\t7\t7\t7 shop\tmail\n" in client.text(b"workers")
    [line, _] = client.text(b"jobs list function=shop%09mail").split(b"\n", 1)
    assert line.split(b"\t")[:3] == [handle, rb"shop\x09mail", b"running"]


@pytest.mark.parametrize("body", [b"", b"f", b"f\0u"])
def test_a_submission_with_too_few_arguments_is_answered_and_ends_the_connection(
    broker: BrokerHarness, body: bytes
) -> None:
    client = broker.peer()
    client.send(PacketType.SUBMIT_JOB, body)
    [(packet_type, error)] = client.take()
    assert (packet_type, error.split(b"\0")[0]) == (PacketType.ERROR, b"INVALID_PACKET")
    assert client.session.ending is not None


def test_packets_of_a_read_after_a_malformed_one_are_not_carried_out(broker: BrokerHarness) -> None:
    client = broker.peer()
    packets = [(PacketType.SUBMIT_JOB, b"f"), (PacketType.SUBMIT_JOB_BG, b"f\0\0")]
    broker.broker.receive(client.session, packets, 0.0)
    broker.broker.receive(client.session, packets, 0.0)
    assert len(client.take()) == 1
    assert broker.status(b"f") == (0, 0, 0)


@pytest.mark.parametrize(
    ("command", "accepted"),
    [
        (b"maxqueue f 3", {"LOW": 3, "NORMAL": 3, "HIGH": 3}),
        (b"maxqueue f 5 3 2", {"LOW": 2, "NORMAL": 3, "HIGH": 5}),
        (b"maxqueue f 2 0 1", {"LOW": 1, "NORMAL": 9, "HIGH": 2}),
    ],
)
def test_a_full_queue_refuses_by_priority(
    make_broker: Callable[..., BrokerHarness], command: bytes, accepted: dict[str, int]
) -> None:
    for priority, limit in accepted.items():
        client = make_broker().worker(b"f")
        client.text(command)
        kind = PacketType["SUBMIT_JOB_BG" if priority == "NORMAL" else f"SUBMIT_JOB_{priority}_BG"]
        answers = [client.ask(kind, b"f", b"", b"")[0] for _ in range(9)]
        assert [packet_type for packet_type, _ in answers].count(CREATED) == limit
        if limit < 9:
            assert answers[limit] == (PacketType.ERROR, b"QUEUE_ERROR\0Job queue is full")


def test_a_full_queue_accepts_submissions_that_coalesce(broker: BrokerHarness) -> None:
    client = broker.worker(b"f")
    client.text(b"maxqueue f 1")
    handle = client.submit(b"f", unique=b"u")
    assert client.submit(b"f", unique=b"u") == handle


def test_the_reducer_of_a_reduce_job_reaches_workers_that_grab_all(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    for kind in (PacketType.SUBMIT_REDUCE_JOB, PacketType.SUBMIT_REDUCE_JOB_BACKGROUND):
        [(_, handle)] = client.ask(kind, b"f", b"", b"sum", b"", b"work")
        assert worker.ask(PacketType.GRAB_JOB_ALL) == [
            (PacketType.JOB_ASSIGN_ALL, b"\0".join((handle, b"f", b"", b"sum", b"work")))
        ]


def test_a_reduce_job_in_the_form_of_the_protocols_text_is_understood_too(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    [(_, handle)] = client.ask(PacketType.SUBMIT_REDUCE_JOB, b"f", b"u", b"sum", b"work")
    assert worker.ask(PacketType.GRAB_JOB_ALL) == [
        (PacketType.JOB_ASSIGN_ALL, b"\0".join((handle, b"f", b"u", b"sum", b"work")))
    ]


@pytest.mark.parametrize("kind", [PacketType.SUBMIT_REDUCE_JOB, PacketType.SUBMIT_REDUCE_JOB_BACKGROUND])
def test_a_reduce_job_is_checked_like_any_other(broker: BrokerHarness, kind: int) -> None:
    client = broker.peer()
    too_long = [(PacketType.ERROR, b"ARGUMENT_TOO_LARGE\0Unique value too large")]
    assert client.ask(kind, b"f", b"u" * 65, b"sum", b"", b"work") == too_long
    assert client.ask(kind, b"f", b"u", b"s" * 65, b"", b"work") == [
        (PacketType.ERROR, b"ARGUMENT_TOO_LARGE\0Reducer value too large")
    ]
    assert client.ask(kind, b"f", b"u", b"sum")[0][1].startswith(b"INVALID_PACKET\0")
    assert client.session.ending is not None


def test_a_submission_of_a_documented_kind_that_no_server_supports_is_answered(broker: BrokerHarness) -> None:
    [(packet_type, body)] = broker.peer().ask(PacketType.SUBMIT_JOB_SCHED, b"f")
    assert (packet_type, body) == (PacketType.ERROR, b"INVALID_COMMAND\0Command not expected")


# --- one unique key, several functions


def unique_status(peer: Peer, unique: bytes) -> tuple[bytes, ...]:
    [(_, body)] = peer.ask(PacketType.GET_STATUS_UNIQUE, unique)
    return tuple(body.split(b"\0")[1:3])


def test_functions_may_share_a_unique_key_and_each_frees_its_own(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f", b"g", b"h")
    handles = {name: client.submit(name, b"w", b"u", "SUBMIT_JOB_BG") for name in (b"f", b"g", b"h")}
    assert len(set(handles.values())) == 3
    assert {name: client.submit(name, b"w", b"u", "SUBMIT_JOB_BG") for name in handles} == handles
    for _ in handles:
        assert unique_status(client, b"u")[0] == b"1"
        worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")
    assert unique_status(client, b"u")[0] == b"0"
    assert broker.broker.table.by_key == {}
    assert client.submit(b"f", b"w", b"u", "SUBMIT_JOB_BG") not in handles.values()


def test_a_question_about_a_unique_key_asks_no_function(broker: BrokerHarness) -> None:
    client = broker.peer()
    for number in range(1000):
        client.submit(b"f%d" % number, unique=b"u%d" % number, kind="SUBMIT_JOB_BG")
    assert lines_run(lambda: unique_status(client, b"u999")) < 100
    assert lines_run(lambda: unique_status(client, b"none")) < 100
