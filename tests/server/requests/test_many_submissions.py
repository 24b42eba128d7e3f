"""Many submissions in one packet: the same jobs as in a packet for each, and an answer for each whatever happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearman_client.extensions import JOBS_CREATED, SUBMIT_JOBS, SUBMIT_MANY_OPTION
from gearman_client.packet import PacketType, encode_workloads
from gearman_server.jobs.events import JobQueued, RequestRefused
from gearman_server.jobs.policies import FunctionPolicy, KeyPolicy

from ..broker_harness import BrokerHarness, DurableBroker, Peer, Received

T = PacketType
CREATED, ERROR = T.JOB_CREATED, T.ERROR
FULL = b"QUEUE_ERROR\0Job queue is full"
ENDING = b"QUEUE_ERROR\0The server is shutting down"


def submit_many(client: Peer, *workloads: bytes, function: bytes = b"f", priority: bytes = b"5") -> list[Received]:
    return client.ask(SUBMIT_JOBS, function, priority, b"%d" % len(workloads), encode_workloads(workloads))


def handles_of(received: list[Received]) -> list[bytes]:
    """The handles of accepted jobs, however they came."""
    assert {kind for kind, _ in received} <= {CREATED, JOBS_CREATED}
    return [handle for _, body in received for handle in body.split(b"\0")]


def registered(broker: BrokerHarness, *functions: bytes) -> Peer:
    """A client; the functions are known."""
    for function in functions or (b"f",):
        broker.broker.functions.create(function)
    return broker.peer()


def test_the_option_is_known(broker: BrokerHarness) -> None:
    assert broker.peer().ask(T.OPTION_REQ, SUBMIT_MANY_OPTION) == [(T.OPTION_RES, SUBMIT_MANY_OPTION)]


def test_one_packet_answers_all_jobs_in_their_order(broker: BrokerHarness) -> None:
    client = registered(broker)
    workloads = [b"", b"a\0b", b"c" * 1000]
    assert submit_many(client, *workloads) == [(JOBS_CREATED, b"H:test:1\0H:test:2\0H:test:3")]
    worker = broker.worker(b"f")
    for number, workload in enumerate(workloads, 1):
        body = b"\0".join((b"H:test:%d" % number, b"f", workload))
        assert worker.ask(T.GRAB_JOB) == [(T.JOB_ASSIGN, body)]
        worker.send(T.WORK_COMPLETE, b"H:test:%d" % number, b"")
    assert broker.status(b"f") == (0, 0, 1)
    assert not broker.broker.table.jobs


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([b"f", b"g"]),
            st.integers(0, 9),
            st.lists(st.binary(max_size=5), min_size=1, max_size=120),
        ),
        max_size=6,
    )
)
def test_the_jobs_are_those_of_a_packet_for_each(
    make_broker: Callable[..., BrokerHarness], steps: list[tuple[bytes, int, list[bytes]]]
) -> None:
    kinds = [T.SUBMIT_JOB_LOW_BG] * 4 + [T.SUBMIT_JOB_BG] * 3 + [T.SUBMIT_JOB_HIGH_BG] * 3
    together, one_by_one = make_broker(), make_broker()
    client, other = together.peer(), one_by_one.peer()
    for function, priority, workloads in steps:
        handles = handles_of(submit_many(client, *workloads, function=function, priority=b"%d" % priority))
        assert handles == [other.submit(function, each, kind=kinds[priority].name) for each in workloads]
    assert client.text(b"jobs list limit=1000") == other.text(b"jobs list limit=1000")
    assert client.text(b"prioritystatus") == other.text(b"prioritystatus")
    workers = [broker.worker(b"f", b"g") for broker in (together, one_by_one)]
    while (grabbed := workers[0].ask(T.GRAB_JOB)) == workers[1].ask(T.GRAB_JOB) and grabbed[0][0] == T.JOB_ASSIGN:
        for worker in workers:
            worker.send(T.WORK_COMPLETE, grabbed[0][1].split(b"\0")[0], b"")
    assert grabbed == [(T.NO_JOB, b"")]
    assert not together.broker.table.jobs


def test_they_count_and_wake_sleepers_as_others_do(broker: BrokerHarness) -> None:
    client = registered(broker)
    broker.broker.functions.count_jobs()
    sleepers = [broker.worker(b"f") for _ in range(3)]
    for sleeper in sleepers:
        sleeper.send(T.PRE_SLEEP)
    submit_many(client, b"1", b"2")
    broker.broker.settle()
    assert [sleeper.take() for sleeper in sleepers] == [[(T.NOOP, b"")], [(T.NOOP, b"")], []]
    counts = broker.broker.functions.by_name[b"f"].counts
    assert counts is not None
    assert [each.submitted for each in counts] == [0, 2, 0]


def test_a_queue_with_keys_takes_them(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(keys=KeyPolicy(is_fair=True))
    client = registered(broker)
    assert handles_of(submit_many(client, b"1", b"2")) == [b"H:test:1", b"H:test:2"]
    worker = broker.worker(b"f")
    assert [worker.grab_workload(), worker.grab_workload(), worker.grab_workload()] == [b"1", b"2", None]


def test_beyond_a_limit_each_job_is_refused_by_itself(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(max_queue=2)
    refused: list[object] = []
    broker.broker.events.subscribe(refused.append, RequestRefused)
    client = broker.peer()
    answers = submit_many(client, b"1", b"2", b"3", b"4")
    assert answers == [(CREATED, b"H:test:1"), (CREATED, b"H:test:2"), (ERROR, FULL), (ERROR, FULL)]
    assert len(refused) == 2
    assert client.ask(T.ECHO_REQ, b"on") == [(T.ECHO_RES, b"on")]


def test_a_name_that_no_function_can_have_is_refused_for_each(broker: BrokerHarness) -> None:
    answers = submit_many(broker.peer(), b"1", b"2", function=b"")
    assert [(kind, body.partition(b"\0")[0]) for kind, body in answers] == [(ERROR, b"INVALID_FUNCTION_NAME")] * 2


def test_events_are_told_of_each_job(broker: BrokerHarness) -> None:
    told: list[object] = []
    client = registered(broker)
    broker.broker.events.subscribe(told.append, JobQueued)
    submit_many(client, b"1", b"2")
    assert told == [JobQueued(b"H:test:1", b"f"), JobQueued(b"H:test:2", b"f")]


def test_each_durable_job_is_acknowledged_once_it_is_stored(durable: DurableBroker) -> None:
    client = registered(durable)
    assert submit_many(client, b"1", b"2") == []
    durable.commit()
    assert client.take() == [(CREATED, b"H:test:1"), (CREATED, b"H:test:2")]
    assert list(durable.store.rows.values()) == [b"1", b"2"]


def test_each_durable_job_is_refused_if_it_could_not_be_stored(durable: DurableBroker) -> None:
    client = registered(durable)
    submit_many(client, b"1", b"2")
    durable.fail()
    assert [(kind, body.partition(b"\0")[0]) for kind, body in client.take()] == [(ERROR, b"QUEUE_ERROR")] * 2


def test_a_server_that_is_ending_refuses_each(broker: BrokerHarness) -> None:
    client = registered(broker)
    broker.broker.stop_assigning()
    assert submit_many(client, b"1", b"2") == [(ERROR, ENDING), (ERROR, ENDING)]
    assert not broker.broker.table.jobs


@pytest.mark.parametrize("is_ending", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"f",
        b"f\x005",
        b"f\x005\x001",
        b"f\x005\x000\x00",
        b"f\x005\x00201\x00" + bytes(4 * 201),
        b"f\x005\x001\x00\0\0\0\2w",
        b"f\x005\x001\x00\0\0\0\1ww",
        b"f\x005\x001\x00\xff\xff\xff\xffw",
        b"f\x005\x0099999999999999999999\x00",
        b"f\x005\x00-1\x00\0\0\0\0",
        b"f\x0010\x001\x00\0\0\0\0",
        b"f\x00high\x001\x00\0\0\0\0",
        b"f\x00\x001\x00\0\0\0\0",
        b"f\x00\xb2\x001\x00\0\0\0\0",
    ],
)
def test_another_body_ends_the_connection_and_creates_no_job(
    broker: BrokerHarness, body: bytes, is_ending: bool
) -> None:
    client = registered(broker)
    if is_ending:
        broker.broker.stop_assigning()
    [(kind, text)] = client.ask(SUBMIT_JOBS, body)
    assert (kind, text.partition(b"\0")[0]) == (ERROR, b"INVALID_PACKET")
    assert client.session.ending is not None
    assert not broker.broker.table.jobs


@settings(
    max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.lists(st.sampled_from([b"f", b"\0", b"5", b"1", b"2", b"\1", b"\xff", b"w"]), max_size=25).map(b"".join))
def test_any_body_is_answered_for_each_job_or_ends_the_connection(
    make_broker: Callable[..., BrokerHarness], body: bytes
) -> None:
    broker = make_broker()
    client = registered(broker)
    received = client.ask(SUBMIT_JOBS, body)
    if client.session.ending is None:
        created = [handle for kind, answer in received if kind != ERROR for handle in answer.split(b"\0")]
        assert created == list(broker.broker.table.jobs)
    else:
        assert not broker.broker.table.jobs


def test_others_have_their_turn_between_two_packets(broker: BrokerHarness) -> None:
    client = registered(broker)
    body = b"\0".join((b"f", b"5", b"200", encode_workloads([b""] * 200)))
    client.begin((SUBMIT_JOBS, body), (SUBMIT_JOBS, body))
    assert len(broker.broker.table.jobs) == 200
    client.have_turns()
    assert len(broker.broker.table.jobs) == 400


def test_a_policy_that_comes_later_holds_for_the_next_packet(broker: BrokerHarness) -> None:
    client = registered(broker)
    submit_many(client, b"1")
    broker.broker.use_policies({b"f": FunctionPolicy(max_queue=1)})
    assert submit_many(client, b"2") == [(ERROR, FULL)]
