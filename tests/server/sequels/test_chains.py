"""Chains of jobs in a broker without sockets."""

from __future__ import annotations

import json

from gearman_client.job_pairs import MAX_HANDED_ON_BYTES, encode_link
from gearman_client.packet import PacketType
from gearman_server.jobs.batch_rows import ChainBroken
from gearman_server.jobs.events import Event

from ..broker_harness import BrokerHarness, DurableBroker, Peer
from .batch_peer import close_batch, get_batch, open_batch, submit, submitted_callbacks

COMPLETE, FAIL, EXCEPTION = PacketType.WORK_COMPLETE, PacketType.WORK_FAIL, PacketType.WORK_EXCEPTION
CHAIN = (b"then=" + encode_link(b"g", b"", None, [(b"tag", b"t")]), b"then=" + encode_link(b"h"))


def run(broker: BrokerHarness, function: bytes, result: bytes) -> bytes:
    """Have the next job of a function done; its workload."""
    worker = broker.worker(function)
    [(packet_type, body)] = worker.ask(PacketType.GRAB_JOB)
    assert packet_type == PacketType.JOB_ASSIGN
    handle, _, workload = body.split(b"\0", 2)
    worker.send(COMPLETE, handle, result)
    worker.leave()
    return workload


def test_each_job_of_a_chain_gets_the_result_of_the_one_before(broker: BrokerHarness) -> None:
    submit(broker.peer(), *CHAIN, workload=b"0")
    assert run(broker, b"f", b"1\0") == b"0"
    [job] = broker.broker.table.jobs.values()
    assert job.rare.options is not None
    assert job.rare.options.tags == (b"t",)
    assert run(broker, b"g", b"2") == b"1\0"
    assert run(broker, b"h", b"3") == b"2"
    assert broker.broker.table.jobs == {}


def test_a_failed_job_ends_the_chain_and_the_one_for_failures_hears_why(broker: BrokerHarness) -> None:
    handle = submit(broker.peer(), *CHAIN, b"on_failure=function=mend")
    run(broker, b"f", b"1")
    worker = broker.worker(b"g")
    failed = worker.grab_handle()
    assert failed != handle
    worker.send(EXCEPTION, failed, b"no disk")
    facts = json.loads(run(broker, b"mend", b""))
    assert facts == {
        "handle": failed.decode(),
        "function": "g",
        "unique": "",
        "outcome": "failed",
        "error": "no disk",
    }
    assert broker.broker.table.jobs == {}


def test_a_chain_without_one_for_failures_just_ends(broker: BrokerHarness) -> None:
    submit(broker.peer(), *CHAIN)
    worker = broker.worker(b"f")
    worker.send(FAIL, worker.grab_handle())
    assert broker.broker.table.jobs == {}


def test_a_revived_job_goes_on_with_its_chain(broker: BrokerHarness) -> None:
    handle = submit(broker.peer(), *CHAIN)
    worker = broker.worker(b"f")
    worker.send(FAIL, worker.grab_handle())
    assert broker.peer(address="127.0.0.1").text(b"dead retry " + handle) == b"OK 1\n"
    run(broker, b"f", b"1")
    assert run(broker, b"g", b"") == b"1"


def test_a_result_that_is_too_large_is_not_handed_on(broker: BrokerHarness) -> None:
    told: list[Event] = []
    broker.broker.events.subscribe(told.append, ChainBroken)
    submit(broker.peer(), *CHAIN)
    run(broker, b"f", bytes(MAX_HANDED_ON_BYTES + 1))
    assert broker.broker.table.jobs == {}
    assert len(told) == 1
    submit(broker.peer(), *CHAIN, b"on_failure=function=mend")
    run(broker, b"f", bytes(MAX_HANDED_ON_BYTES + 1))
    assert json.loads(run(broker, b"mend", b""))["outcome"] == "too large"


def test_all_jobs_of_a_chain_belong_to_the_batch_of_the_first(broker: BrokerHarness) -> None:
    client = broker.peer()
    open_batch(client, b"b")
    submit(client, *CHAIN, b"batch=b")
    close_batch(client, b"b")
    run(broker, b"f", b"1")
    assert (get_batch(client, b"b")["jobs"], get_batch(client, b"b")["waiting"]) == ("2", "1")
    run(broker, b"g", b"2")
    run(broker, b"h", b"3")
    assert get_batch(client, b"b")["complete"] == "3"
    assert set(submitted_callbacks(broker)) == {b"on_complete", b"on_success"}


def grab_from(durable: DurableBroker, function: bytes) -> tuple[Peer, bytes | None]:
    worker = durable.worker(function)
    return worker, worker.grab()


def test_the_next_job_is_not_given_out_before_it_is_written(durable: DurableBroker) -> None:
    client = durable.peer()
    client.send(1012, b"f", b"", b"background=1", *CHAIN, b"", b"w")
    worker = durable.worker(b"f")
    assert worker.grab() is None
    durable.commit()
    worker.send(COMPLETE, worker.grab_handle(), b"1")
    assert grab_from(durable, b"g")[1] is None
    durable.fail()
    assert grab_from(durable, b"g")[1] is None
    durable.commit()
    assert grab_from(durable, b"g")[1] is not None
