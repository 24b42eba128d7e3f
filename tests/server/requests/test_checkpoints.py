"""CHECKPOINT: how far a job has come is kept with it, and the next attempt is told; the verdict `yield`."""

from __future__ import annotations

from collections.abc import Callable

from gearman_client.extensions import (
    CHECKPOINT,
    JOB_ASSIGN_ATTEMPT,
    JOB_ASSIGN_WITH,
    MAX_CURSOR_BYTES,
    SUBMIT_JOB_WITH,
    WORK_FAILURE,
)
from gearman_client.packet import PacketType
from gearman_server.jobs.policies import FunctionPolicy

from ..broker_harness import BrokerHarness, DurableBroker, Peer
from ..dead_jobs import shown
from .replayed import Replayed, stored

ERROR = PacketType.ERROR


def our_worker(broker: BrokerHarness, function: bytes = b"f") -> Peer:
    worker = broker.worker(function)
    for option in (b"job-attempt", b"job-options", b"checkpoints"):
        assert worker.ask(PacketType.OPTION_REQ, option) == [(PacketType.OPTION_RES, option)]
    return worker


def told(worker: Peer, handle: bytes) -> bytes:
    """Take the job: its attempt and its pairs."""
    [(packet_type, body)] = worker.ask(PacketType.GRAB_JOB_UNIQ)
    assert packet_type == JOB_ASSIGN_WITH, packet_type
    start = handle + b"\0f\0\0"
    assert body.startswith(start)
    assert body.endswith(b"\0\0w")
    return body[len(start) : -3]


def give_back(worker: Peer, handle: bytes) -> None:
    worker.send(WORK_FAILURE, handle, b"yield", b"", b"", b"", b"")


def test_the_next_attempt_is_told_of_the_last_checkpoint(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(retries=5, backoff_s=0.0)
    client, worker = broker.peer(), our_worker(broker)
    handle = client.submit(b"f", b"w", kind="SUBMIT_JOB_BG")
    assert worker.ask(PacketType.GRAB_JOB_UNIQ) == [(JOB_ASSIGN_ATTEMPT, handle + b"\0f\0\x001\0w")]
    assert worker.ask(CHECKPOINT, handle, b"1") == []
    worker.send(CHECKPOINT, handle, b'{"at": 2}')
    worker.send(PacketType.WORK_FAIL, handle)
    assert told(worker, handle) == b'2\0cursor={"at": 2}'
    worker.leave()
    foreign = broker.worker(b"f")
    assert foreign.ask(PacketType.GRAB_JOB_UNIQ) == [(PacketType.JOB_ASSIGN_UNIQ, handle + b"\0f\0\0w")]
    foreign.leave()
    again = our_worker(broker)
    assert told(again, handle) == b'4\0cursor={"at": 2}'
    again.send(CHECKPOINT, handle, b"")  # forgets it
    again.send(PacketType.WORK_FAIL, handle)
    assert again.ask(PacketType.GRAB_JOB_UNIQ) == [(JOB_ASSIGN_ATTEMPT, handle + b"\0f\0\x005\0w")]


def test_a_cursor_comes_with_the_options_of_the_job_and_in_a_set(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), our_worker(broker)
    worker.ask(PacketType.OPTION_REQ, b"grab-many")
    [(_, handle)] = client.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"tag=a", b"", b"w")
    worker.ask(1007, b"5")
    worker.send(CHECKPOINT, handle, b"7")
    give_back(worker, handle)
    assert worker.ask(1007, b"5")[1] == (JOB_ASSIGN_WITH, handle + b"\0f\0\x001\0tag=a\0cursor=7\0\0w")


def test_a_job_that_yields_goes_to_the_head_and_has_lost_nothing(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), our_worker(broker)
    client.ask(PacketType.OPTION_REQ, b"exceptions")
    handle = client.submit(b"f", b"w")
    other = client.submit(b"f", b"w")
    client.take()
    worker.ask(PacketType.GRAB_JOB_UNIQ)
    worker.send(CHECKPOINT, handle, b"7")
    give_back(worker, handle)
    assert client.take() == []
    assert broker.status(b"f") == (2, 0, 1)
    assert told(worker, handle) == b"1\0cursor=7"
    worker.send(PacketType.WORK_COMPLETE, handle, b"done")
    assert client.take() == [(PacketType.WORK_COMPLETE, handle + b"\0done")]
    assert worker.ask(PacketType.GRAB_JOB_UNIQ)[0][1].startswith(other)


def test_a_yield_of_a_job_that_nobody_wants_any_more_ends_it(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), our_worker(broker)
    handle = client.submit(b"f", b"w")
    worker.grab()
    client.leave()
    give_back(worker, handle)
    assert broker.status(b"f") == (0, 0, 1)


def test_wrong_checkpoints_are_refused(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), our_worker(broker)
    handle = client.submit(b"f", b"w", kind="SUBMIT_JOB_BG")
    worker.grab()
    worker.send(CHECKPOINT, handle, bytes(MAX_CURSOR_BYTES).replace(b"\0", b"x"))
    [(packet_type, body)] = worker.ask(CHECKPOINT, handle, b"x" * (MAX_CURSOR_BYTES + 1))
    assert packet_type == ERROR
    assert body == b"INVALID_ARGUMENT\0%s: a cursor of 65537 bytes, at most 65536 are allowed" % handle
    assert our_worker(broker).ask(CHECKPOINT, handle, b"1")[0][1].startswith(b"JOB_NOT_FOUND\0")
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert worker.ask(CHECKPOINT, handle, b"1")[0][1].startswith(b"JOB_NOT_FOUND\0")
    assert our_worker(broker).ask(CHECKPOINT, handle)[0][1].startswith(b"INVALID_PACKET\0CHECKPOINT takes")
    assert our_worker(broker).ask(CHECKPOINT, handle, b"a", b"b")[0][1].startswith(b"INVALID_PACKET\0CHECKPOINT takes")
    assert client.ask(SUBMIT_JOB_WITH, b"f", b"", b"cursor=1", b"", b"w")[0][1].startswith(b"INVALID_OPTION\0unknown")


def test_a_dead_letter_keeps_the_cursor_and_a_retry_goes_on_there(broker: BrokerHarness) -> None:
    client, worker = broker.peer(), our_worker(broker)
    [(_, handle)] = client.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"tag=a", b"", b"w")
    plain = client.submit(b"f", b"w", kind="SUBMIT_JOB_BG")
    for each in (handle, plain):
        worker.ask(PacketType.GRAB_JOB_UNIQ)
        worker.send(CHECKPOINT, each, b"[1, 2]")
        assert b"cursor\t[1, 2]\n" in client.text(b"jobs show " + each)
        worker.send(PacketType.WORK_FAIL, each)
    fields = shown(broker, handle)
    assert (fields[b"cursor"], fields[b"tags"], fields[b"options"]) == (b"[1, 2]", b"a", b"")
    assert client.text(b"dead retry all") == b"OK 2\n"
    assert told(worker, handle) == b"1\0tag=a\0cursor=[1, 2]"
    assert told(worker, plain) == b"1\0cursor=[1, 2]"


def test_a_cursor_is_written_and_comes_back_from_the_store(
    make_broker: Callable[..., BrokerHarness], batch_store: object, durable: DurableBroker
) -> None:
    worker = our_worker(durable)
    client = durable.peer()
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    worker.ask(PacketType.GRAB_JOB_UNIQ)
    [handle] = [job.handle for job in durable.store.batch]
    worker.send(CHECKPOINT, handle, b"1")
    worker.send(CHECKPOINT, handle, b"2")
    assert durable.store.cursors == {handle: b"2"}

    replayed = Replayed(make_broker, durable.store)
    replayed.harness.broker.use_policies({b"f": FunctionPolicy()})
    replayed.load(stored(1, cursor=b"2", workload=b"w"), stored(2, options=b"tag=a", cursor=b"3", workload=b"w"))
    worker = our_worker(replayed.harness)
    assert told(worker, b"H:old:1") == b"1\0cursor=2"
    assert told(worker, b"H:old:2") == b"1\0tag=a\0cursor=3"
