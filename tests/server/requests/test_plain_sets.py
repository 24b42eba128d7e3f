"""The extension `plain-sets`: sets of plain jobs in one packet, and the ends of many jobs in one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearman_client.extensions import (
    CAN_DO_MANY,
    GRAB_JOBS,
    JOB_ASSIGN_ATTEMPT,
    JOBS_ASSIGNED,
    JOBS_COMPLETE,
    PLAIN_JOBS_ASSIGNED,
    PLAIN_SETS_OPTION,
    SUBMIT_JOB_WITH,
)
from gearman_client.packet import PacketType, encode_workloads
from gearman_server.jobs.events import JobEnded, RequestRefused

from ..broker_harness import BrokerHarness, DurableBroker, Peer, Received

T = PacketType
NOT_FOUND = (T.ERROR, b"JOB_NOT_FOUND\0Job given in work result not found")
JOBS = 3


def set_worker(broker: BrokerHarness, *functions: bytes) -> Peer:
    worker = broker.worker(*functions)
    for option in (b"job-attempt", b"grab-many", PLAIN_SETS_OPTION):
        assert worker.ask(T.OPTION_REQ, option) == [(T.OPTION_RES, option)]
    return worker


def grab(worker: Peer, at_most: int = 10) -> list[Received]:
    return worker.ask(GRAB_JOBS, b"%d" % at_most)


def holding(broker: BrokerHarness, kind: str = "SUBMIT_JOB_BG", jobs: int = JOBS) -> tuple[Peer, Peer, list[bytes]]:
    """A client, a worker that has so many of its jobs, and their handles."""
    client, worker = broker.peer(), set_worker(broker, b"f")
    handles = [client.submit(b"f", kind=kind) for _ in range(jobs)]
    grab(worker)
    assert list(worker.session.assigned) == handles
    return client, worker, handles


def test_a_set_of_plain_jobs_is_one_packet(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), set_worker(broker, b"f")
    handles = [client.submit(b"f", b"a\0b", b"u", "SUBMIT_JOB_BG"), client.submit(b"f"), client.submit(b"f", b"c")]
    workloads = encode_workloads([b"a\0b", b"", b"c"])
    body = b"\0".join((b"f", b"3", *handles, b"u", b"", b"", workloads))
    assert grab(worker) == [(PLAIN_JOBS_ASSIGNED, body)]
    assert grab(worker, 1) == [
        (PLAIN_JOBS_ASSIGNED, b"\0".join((b"f", b"1", handles[0], b"u", encode_workloads([b"a\0b"]))))
    ]


def test_without_the_option_each_job_has_its_packet(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), broker.worker(b"f")
    worker.ask(T.OPTION_REQ, b"grab-many")
    client.submit(b"f")
    assert [kind for kind, _ in grab(worker)] == [JOBS_ASSIGNED, JOB_ASSIGN_ATTEMPT]


def test_a_batch_of_plain_jobs_is_one_packet_too(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), set_worker(broker)
    worker.send(CAN_DO_MANY, b"f", b"2", b"0")
    handles = [client.submit(b"f") for _ in range(2)]
    body = b"\0".join((b"f", b"2", *handles, b"", b"", encode_workloads([b"", b""])))
    assert grab(worker) == [(PLAIN_JOBS_ASSIGNED, body)]


@pytest.mark.parametrize("at", [0, 1])
def test_a_set_with_a_job_that_has_something_to_tell_comes_in_packets(broker: BrokerHarness, at: int) -> None:
    client, worker = broker.peer(), set_worker(broker, b"f")
    for number in range(2):
        if number == at:
            client.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"tag=t", b"", b"w")
        else:
            client.submit(b"f")
    assert [kind for kind, _ in grab(worker)] == [JOBS_ASSIGNED, *[JOB_ASSIGN_ATTEMPT] * 2]


def test_jobs_of_several_functions_come_in_packets(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), set_worker(broker, b"f", b"g")
    client.submit(b"f")
    client.submit(b"g")
    assert [kind for kind, _ in grab(worker)] == [JOBS_ASSIGNED, *[JOB_ASSIGN_ATTEMPT] * 2]


def test_a_later_attempt_is_told(broker: BrokerHarness) -> None:
    _, worker, handles = holding(broker, jobs=1)
    worker.leave()
    [_, (kind, body)] = grab(set_worker(broker, b"f"))
    assert (kind, body) == (JOB_ASSIGN_ATTEMPT, b"\0".join((handles[0], b"f", b"", b"2", b"")))


@pytest.mark.parametrize("kind", ["SUBMIT_JOB", "SUBMIT_JOB_BG"])
def test_one_packet_ends_many_jobs(broker: BrokerHarness, kind: str) -> None:
    client, worker, handles = holding(broker, kind)
    assert worker.ask(JOBS_COMPLETE, *handles) == []
    told = [(T.WORK_COMPLETE, handle + b"\0") for handle in handles]
    assert client.take() == (told if kind == "SUBMIT_JOB" else [])
    assert broker.status(b"f") == (0, 0, 1)
    assert not broker.broker.table.jobs
    assert not worker.session.assigned
    assert worker.ask(JOBS_COMPLETE, *handles) == [NOT_FOUND] * JOBS


def test_jobs_of_others_are_refused_one_by_one_and_the_rest_ends(broker: BrokerHarness) -> None:
    refused: list[object] = []
    broker.broker.events.subscribe(refused.append, RequestRefused)
    _, worker, handles = holding(broker)
    stranger = broker.worker(b"f")
    assert stranger.ask(JOBS_COMPLETE, *handles) == [NOT_FOUND] * JOBS
    assert worker.ask(JOBS_COMPLETE, b"", handles[0], b"H:test:99", handles[2], handles[2]) == [NOT_FOUND] * 3
    assert list(broker.broker.table.jobs) == [handles[1]]
    assert len(refused) == 2 * JOBS


def test_ends_are_counted_and_free_unique_keys_as_others(broker: BrokerHarness) -> None:
    broker.broker.functions.count_jobs()
    client, worker = broker.peer(), set_worker(broker, b"f")
    handles = [client.submit(b"f"), client.submit(b"f", unique=b"u")]
    grab(worker)
    worker.send(JOBS_COMPLETE, *handles)
    counts = broker.broker.functions.by_name[b"f"].counts
    assert counts is not None
    assert (counts[1].completed, counts[1].started) == (2, 2)
    client.take()
    assert client.submit(b"f", unique=b"u") not in handles


def test_events_tell_of_each_end(broker: BrokerHarness) -> None:
    ended: list[object] = []
    _, worker, handles = holding(broker)
    broker.broker.events.subscribe(ended.append, JobEnded)
    worker.send(JOBS_COMPLETE, *handles)
    assert ended == [JobEnded(handle, b"f", "WORK_COMPLETE") for handle in handles]


def test_those_who_keep_ends_hear_of_each(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(finished_jobs=10)
    _, worker, handles = holding(broker)
    worker.send(JOBS_COMPLETE, b"\0".join(handles))
    lines = broker.peer("127.0.0.1").text(b"jobs finished").split(b"\n")[:JOBS]
    columns = [line.split(b"\t") for line in lines]
    assert [(row[2], row[7]) for row in columns] == [(handle, b"complete") for handle in handles]


def test_a_job_that_was_stopped_or_cancelled_ends_as_by_a_packet_of_its_own(broker: BrokerHarness) -> None:
    client, worker, handles = holding(broker, "SUBMIT_JOB")
    admin = broker.peer("127.0.0.1")
    assert admin.text(b"cancel job " + handles[0]) == b"OK\r\n"
    assert client.take() == [(T.WORK_FAIL, handles[0])]
    broker.broker._stops.stop_unasked(broker.broker.table.jobs[handles[1]])
    assert worker.ask(JOBS_COMPLETE, *handles) == []
    assert client.take() == [(T.WORK_FAIL, handles[1]), (T.WORK_COMPLETE, handles[2] + b"\0")]
    assert not broker.broker.table.jobs


def test_kept_results_and_freed_places(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(keep_result_s=60.0, max_running=1)
    client, worker = broker.peer(), set_worker(broker, b"f")
    handles = [client.submit(b"f", kind="SUBMIT_JOB_BG") for _ in range(2)]
    grab(worker)
    sleeper = broker.worker(b"f")
    sleeper.send(T.PRE_SLEEP)
    worker.send(JOBS_COMPLETE, handles[0])
    assert sleeper.take() == [(T.NOOP, b"")]
    assert broker.broker.results.kept.get(handles[0]) is not None


def test_the_rows_of_durable_jobs_go(durable: DurableBroker) -> None:
    client, worker = durable.peer(), set_worker(durable, b"f")
    for _ in range(JOBS):
        client.send(T.SUBMIT_JOB_BG, b"f", b"", b"w")
    durable.commit()
    handles = [body for _, body in client.take()]
    grab(worker)
    assert worker.ask(JOBS_COMPLETE, *handles) == []
    durable.commit()
    assert durable.store.rows == {}


def test_more_handles_than_a_worker_can_hold_end_the_connection(broker: BrokerHarness) -> None:
    _, worker, handles = holding(broker)
    [(kind, text)] = worker.ask(JOBS_COMPLETE, *handles, *[b"H:test:99"] * 998)
    assert (kind, text.partition(b"\0")[0]) == (T.ERROR, b"INVALID_PACKET")
    assert worker.session.ending is not None
    assert list(broker.broker.table.jobs) == handles


def test_others_have_their_turn_behind_many_ends(broker: BrokerHarness) -> None:
    _, worker, _ = holding(broker)
    worker.begin((JOBS_COMPLETE, b"\0".join([b"H:test:99"] * 1000)), (T.ECHO_REQ, b"later"))
    assert (T.ECHO_RES, b"later") not in worker.take()
    worker.have_turns()
    assert worker.take() == [(T.ECHO_RES, b"later")]


@settings(
    max_examples=200, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.lists(st.sampled_from([b"H:test:1", b"H:test:2", b"H:test:3", b"\0", b"x"]), max_size=12).map(b"".join))
def test_any_body_ends_the_jobs_that_it_names_and_no_other(
    make_broker: Callable[..., BrokerHarness], body: bytes
) -> None:
    broker = make_broker()
    _, worker, handles = holding(broker)
    named = body.split(b"\0")
    answers = worker.ask(JOBS_COMPLETE, body)
    assert list(broker.broker.table.jobs) == [handle for handle in handles if handle not in named]
    assert answers == [NOT_FOUND] * (len(named) - len(set(named) & set(handles)))
    assert list(worker.session.assigned) == list(broker.broker.table.jobs)
