"""The extension `grab-many`: several jobs at once for one worker, one after the other or as a batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import (
    CAN_DO_MANY,
    GRAB_JOBS,
    JOB_ASSIGN_ATTEMPT,
    JOBS_ASSIGNED,
    RETURN_JOBS,
    SET_RETURN_KEY,
)
from gearman_client.packet import PacketType
from gearman_server.jobs.policies import Rate
from gearman_server.jobs.wake_up import FEW_FUNCTIONS
from gearman_server.requests import sets

from ..broker_harness import BatchStore, BrokerHarness, DurableBroker, Peer

KEY = b"k" * 16
NO_JOB, NOOP = [(PacketType.NO_JOB, b"")], [(PacketType.NOOP, b"")]


def set_worker(broker: BrokerHarness, *functions: bytes, **batches: tuple[int, int]) -> Peer:
    """A worker with the extension: `f=(100, 50)` wants batches of 100, and lingers for 50 ms."""
    worker = broker.worker(*functions)
    assert worker.ask(PacketType.OPTION_REQ, b"grab-many") == [(PacketType.OPTION_RES, b"grab-many")]
    for function, (at_most, linger_ms) in batches.items():
        worker.send(CAN_DO_MANY, function.encode(), b"%d" % at_most, b"%d" % linger_ms)
    worker.send(SET_RETURN_KEY, KEY)
    return worker


def grab(worker: Peer, at_most: int = 10) -> list[bytes]:
    """The handles of one answer to GRAB_JOBS."""
    packets = worker.ask(GRAB_JOBS, b"%d" % at_most)
    if packets == NO_JOB:
        return []
    (first, count), *jobs = packets
    assert first == JOBS_ASSIGNED
    assert int(count) == len(jobs) > 0
    assert all(packet_type == JOB_ASSIGN_ATTEMPT for packet_type, _ in jobs)
    return [body.split(b"\0")[0] for _, body in jobs]


def submit(broker: BrokerHarness, function: bytes, jobs: int, kind: str = "SUBMIT_JOB_BG") -> list[bytes]:
    client = broker.peer()
    return [client.submit(function, kind=kind) for _ in range(jobs)]


def complete(worker: Peer, *handles: bytes) -> None:
    for handle in handles:
        assert worker.ask(PacketType.WORK_COMPLETE, handle, b"") == []


def give_back(broker: BrokerHarness, *handles: bytes, key: bytes = KEY) -> None:
    assert broker.peer().ask(RETURN_JOBS, key, *handles) == []


def test_a_set_is_in_the_order_of_grab_job(make_broker: Callable[..., BrokerHarness]) -> None:
    orders = []
    for at_once in (False, True):
        broker = make_broker()
        for name, kind in ((b"a", ""), (b"b", ""), (b"a", ""), (b"c", "_HIGH"), (b"b", ""), (b"a", "_LOW"), (b"c", "")):
            submit(broker, name, 2, f"SUBMIT_JOB{kind}_BG")
        worker = set_worker(broker, b"a", b"b", b"c") if at_once else broker.worker(b"a", b"b", b"c")
        orders.append(grab(worker, 99) if at_once else list(iter(worker.grab, None)))
    assert len(orders[0]) == 14
    assert orders[0] == orders[1]


def test_no_more_jobs_than_asked_for(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 5)
    worker = set_worker(broker, b"f")
    assert grab(worker, 3) == handles[:3]
    complete(worker, *handles[:3])
    assert grab(worker, 3) == handles[3:]
    assert broker.status(b"f") == (2, 2, 1)


def test_plain_grab_job_still_gives_one(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 3)
    worker = set_worker(broker, b"f")
    assert worker.grab() == handles[0]
    assert broker.status(b"f") == (3, 1, 1)
    complete(worker, handles[0])
    assert grab(worker, 2) == handles[1:]


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_answer_that_had_to_wait_has_all_jobs_that_have_come(
    make_broker: Callable[..., BrokerHarness], at_once: int
) -> None:
    broker = make_broker(grab_patience_s=0.001)
    worker = set_worker(broker, b"f")
    [handle] = submit(broker, b"f", 1)
    assert grab(worker) == [handle]
    complete(worker, handle)
    assert worker.ask(GRAB_JOBS, b"%d" % at_once) == []
    broker.peer().begin(*2 * [(PacketType.SUBMIT_JOB_BG, b"f\0\0")])
    packets = worker.take()
    assert packets[0] == (JOBS_ASSIGNED, b"%d" % at_once)
    assert len(packets) == 1 + at_once
    assert broker.status(b"f") == (2, at_once, 1)


def test_jobs_without_an_answer_go_back_with_the_next_grab_and_do_not_count(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 4)
    worker = set_worker(broker, b"f")
    assert grab(worker, 3) == handles[:3]
    complete(worker, handles[0])
    assert grab(worker, 3) == handles[1:]
    assert all(job.attempt == 1 for job in broker.broker.table.jobs.values())


def test_without_the_option_the_packets_are_refused(broker: BrokerHarness) -> None:
    worker = broker.worker(b"f")
    for packet in ((GRAB_JOBS, b"5"), (CAN_DO_MANY, b"f", b"5", b"0"), (SET_RETURN_KEY, KEY)):
        [(packet_type, body)] = worker.ask(*packet)
        assert (packet_type, body.split(b"\0")[0]) == (PacketType.ERROR, b"INVALID_COMMAND")


@pytest.mark.parametrize(
    "packet",
    [
        (GRAB_JOBS, b""),
        (GRAB_JOBS, b"0"),
        (GRAB_JOBS, b"-1"),
        (GRAB_JOBS, b"9" * 30),
        (CAN_DO_MANY, b"f", b"5"),
        (CAN_DO_MANY, b"f", b"0", b"5"),
        (CAN_DO_MANY, b"f", b"5", b"soon"),
        (SET_RETURN_KEY, b"short"),
        (SET_RETURN_KEY, b"k" * 65),
        (SET_RETURN_KEY, b"k" * 15, b"k"),
        (RETURN_JOBS, KEY, *[b"H:test:1"] * 1001),
    ],
)
def test_a_malformed_packet_ends_the_connection(broker: BrokerHarness, packet: tuple[int, bytes]) -> None:
    worker = set_worker(broker, b"f")
    [(packet_type, body)] = worker.ask(*packet)
    assert (packet_type, body.split(b"\0")[0]) == (PacketType.ERROR, b"INVALID_PACKET")
    assert worker.session.ending is not None


def test_a_worker_with_very_many_functions_gets_sets(broker: BrokerHarness) -> None:
    names = [b"f%d" % number for number in range(FEW_FUNCTIONS + 10)]
    handles = submit(broker, names[3], 2) + submit(broker, names[50], 2)
    worker = set_worker(broker, *names)
    assert sorted(grab(worker)) == sorted(handles)
    assert grab(worker) != []
    broker.broker.stop_assigning()
    assert grab(worker) == []


@pytest.mark.pure_core
def test_workloads_of_one_set_are_bounded(broker: BrokerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "SET_BYTES", 10)
    client, worker = broker.peer(), set_worker(broker, b"f")
    handles = [client.submit(b"f", b"x" * size) for size in (20, 4, 6, 1)]
    taken = []
    for _ in range(3):
        taken.append(grab(worker))
        complete(worker, *taken[-1])
    assert taken == [handles[:1], handles[1:3], handles[3:]]


def test_workers_that_sleep_get_their_share(broker: BrokerHarness) -> None:
    worker, other = set_worker(broker, b"f"), set_worker(broker, b"f")
    assert other.ask(PacketType.PRE_SLEEP) == []
    handles = submit(broker, b"f", 5)
    assert grab(worker) == handles[:3]
    assert other.take() == NOOP
    assert grab(other) == handles[3:]


# --- limits


def test_a_function_with_max_running_has_no_jobs_that_wait_in_a_workers_hands(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(max_running=3)
    limited, others = submit(broker, b"f", 5), submit(broker, b"g", 2)
    worker = set_worker(broker, b"f", b"g")
    assert grab(worker) == [limited[0], others[0]]
    complete(worker, limited[0], others[0])
    assert grab(worker) == [limited[1], others[1]]


def test_a_batch_keeps_max_running(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(max_running=3)
    handles = submit(broker, b"f", 5)
    worker, other = set_worker(broker, f=(4, 0)), set_worker(broker, f=(4, 0))
    assert grab(worker) == handles[:3]
    assert grab(other) == []
    complete(worker, handles[0])
    assert grab(other) == handles[3:4]


def test_a_batch_keeps_the_rate_and_jobs_that_come_back_give_their_tokens_back(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(rate=Rate(3, 10.0))
    handles = submit(broker, b"f", 5)
    worker, other = set_worker(broker, f=(4, 0)), set_worker(broker, f=(4, 0))
    assert grab(worker) == handles[:3]
    assert grab(other) == []
    give_back(broker, *handles[1:3])
    assert grab(other) == handles[1:3]


def test_the_limit_of_a_job_begins_when_the_one_before_it_is_answered(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(timeout_s=60)
    handles = submit(broker, b"f", 4)
    worker = set_worker(broker, b"f")
    assert grab(worker) == handles
    broker.advance(50)
    complete(worker, handles[0])
    broker.advance(50)
    assert broker.status(b"f") == (3, 3, 1)
    complete(worker, handles[1])
    broker.advance(59)
    assert broker.status(b"f") == (2, 2, 1)
    broker.advance(20)
    # The job that ran has failed; the one behind it is back in its queue, and has had no attempt.
    assert broker.status(b"f") == (1, 0, 1)
    assert broker.broker.dead_letters.by_handle.keys() == {handles[2]}
    assert broker.broker.table.jobs[handles[3]].history is None


def test_the_limit_of_a_batch_begins_for_all_jobs_at_once(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(timeout_s=60)
    handles = submit(broker, b"f", 3)
    worker = set_worker(broker, f=(3, 0))
    assert grab(worker) == handles
    broker.advance(50)
    complete(worker, handles[0])
    broker.advance(50)
    assert broker.broker.dead_letters.by_handle.keys() == {*handles[1:]}


def test_an_announced_limit_counts_as_the_loss_of_the_worker(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 3)
    worker = set_worker(broker)
    worker.send(PacketType.CAN_DO_TIMEOUT, b"f", b"5000")
    assert grab(worker) == handles
    broker.advance(5.1)
    assert broker.status(b"f") == (3, 0, 1)
    assert [broker.broker.table.jobs[handle].requeues for handle in handles] == [1, 0, 0]


# --- batches


def test_a_batch_has_jobs_of_one_function_up_to_its_size(broker: BrokerHarness) -> None:
    plain, batch = submit(broker, b"g", 1), submit(broker, b"f", 5)
    worker = set_worker(broker, b"g", f=(3, 0))
    taken = [grab(worker, 1)]
    for _ in range(2):
        complete(worker, *taken[-1])
        taken.append(grab(worker, 1))
    assert sorted(taken, key=len) == sorted([plain, batch[:3], batch[3:]], key=len)


def test_high_jobs_of_the_function_are_the_first_of_the_batch(broker: BrokerHarness) -> None:
    normal, high = submit(broker, b"f", 2), submit(broker, b"f", 2, "SUBMIT_JOB_HIGH_BG")
    assert grab(set_worker(broker, f=(3, 0))) == [*high, normal[0]]


def test_a_batch_that_is_not_full_waits_for_linger_and_no_longer(broker: BrokerHarness) -> None:
    worker = set_worker(broker, f=(3, 50))
    assert worker.ask(PacketType.PRE_SLEEP) == []
    handles = submit(broker, b"f", 2)
    broker.advance(0.049)
    assert worker.take() == []
    assert grab(worker) == []
    assert worker.ask(PacketType.PRE_SLEEP) == []
    assert broker.status(b"f") == (2, 0, 1)
    broker.advance(0.002)
    assert worker.take() == NOOP
    assert grab(worker) == handles


def test_a_full_batch_wakes_a_worker_at_once_and_only_one(broker: BrokerHarness) -> None:
    workers = [set_worker(broker, f=(3, 60_000)) for _ in range(2)]
    for worker in workers:
        assert worker.ask(PacketType.PRE_SLEEP) == []
    submit(broker, b"f", 2)
    assert [worker.take() for worker in workers] == [[], []]
    submit(broker, b"f", 2)
    assert [worker.take() for worker in workers] == [NOOP, []]
    submit(broker, b"f", 2)
    assert workers[1].take() == NOOP


def test_a_sleeper_that_was_woken_and_never_grabs_does_not_keep_the_batch(broker: BrokerHarness) -> None:
    dead, worker = set_worker(broker, f=(3, 50)), set_worker(broker, f=(3, 50))
    for each in (dead, worker):
        each.send(PacketType.PRE_SLEEP)
    submit(broker, b"f", 2)
    broker.advance(0.051)
    assert (dead.take(), worker.take()) == (NOOP, [])
    broker.advance(0.006)
    assert worker.take() == NOOP


def test_a_worker_without_batches_is_woken_for_the_first_job(broker: BrokerHarness) -> None:
    batch_worker, plain = set_worker(broker, f=(3, 60_000)), broker.worker(b"f")
    for each in (batch_worker, plain):
        each.send(PacketType.PRE_SLEEP)
    [handle] = submit(broker, b"f", 1)
    assert (batch_worker.take(), plain.take()) == ([], NOOP)
    assert plain.grab() == handle


def test_other_functions_do_not_wait_for_a_batch(broker: BrokerHarness) -> None:
    submit(broker, b"f", 1)
    worker = set_worker(broker, b"g", f=(3, 60_000))
    assert worker.ask(PacketType.PRE_SLEEP) == []
    [handle] = submit(broker, b"g", 1)
    assert worker.take() == NOOP
    assert grab(worker) == [handle]


def test_a_broad_worker_waits_for_a_batch_too(broker: BrokerHarness) -> None:
    names = [b"f%d" % number for number in range(FEW_FUNCTIONS + 10)]
    worker = set_worker(broker, *names, f=(3, 50))
    submit(broker, b"f", 2)
    assert worker.ask(PacketType.PRE_SLEEP) == []
    [handle] = submit(broker, names[7], 1)
    assert worker.take() == NOOP
    assert grab(worker) == [handle]
    assert worker.ask(PacketType.PRE_SLEEP) == []
    broker.advance(0.051)
    assert worker.take() == NOOP
    assert len(grab(worker)) == 2


def test_can_do_ends_the_batches_of_a_function(broker: BrokerHarness) -> None:
    worker = set_worker(broker, f=(3, 60_000))
    handles = submit(broker, b"f", 2)
    assert grab(worker) == []
    worker.send(PacketType.CAN_DO, b"f")
    assert grab(worker) == handles
    assert broker.status(b"f") == (2, 2, 1)


# --- giving back


def test_jobs_come_back_to_the_head_of_their_queue_and_have_waited_all_the_time(broker: BrokerHarness) -> None:
    client = broker.peer()
    handles = []
    for _ in range(5):
        handles.append(client.submit(b"f", kind="SUBMIT_JOB_BG"))
        broker.advance(1)
    since = {handle: broker.broker.table.jobs[handle].since for handle in handles}
    worker, other = set_worker(broker, b"f"), broker.worker(b"f")
    other.send(PacketType.PRE_SLEEP)
    other.take()
    assert grab(worker, 4) == handles[:3]  # the last ones are for the other, which was woken
    give_back(broker, *handles[1:3], b"H:test:99")
    assert broker.broker.table.jobs[handles[1]].since == since[handles[1]]
    assert [other.grab() for _ in range(5)] == [*handles[1:], None]
    [(packet_type, body)] = worker.ask(PacketType.WORK_COMPLETE, handles[1], b"late")
    assert (packet_type, body.split(b"\0")[0]) == (PacketType.ERROR, b"JOB_NOT_FOUND")
    assert all(job.attempt == 1 for job in broker.broker.table.jobs.values())


def test_jobs_that_come_back_wake_a_sleeper(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 2)
    worker, other = set_worker(broker, b"f"), broker.worker(b"f")
    assert grab(worker) == handles
    assert other.ask(PacketType.PRE_SLEEP) == []
    give_back(broker, handles[1])
    assert other.take() == NOOP


@pytest.mark.parametrize("key", [b"", b"x" * 16, KEY[:-1]])
def test_only_who_knows_the_key_can_give_jobs_back(broker: BrokerHarness, key: bytes) -> None:
    handles = submit(broker, b"f", 2)
    worker = set_worker(broker, b"f")
    assert grab(worker) == handles
    give_back(broker, *handles, key=key)
    assert broker.status(b"f") == (2, 2, 1)


def test_jobs_of_a_worker_without_a_key_can_not_be_given_back_by_others(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 2)
    worker = broker.worker(b"f")
    assert worker.grab() == handles[0]
    many = broker.worker(b"f")
    many.ask(PacketType.OPTION_REQ, b"grab-many")
    assert grab(many) == handles[1:]
    give_back(broker, *handles, key=b"")
    assert broker.status(b"f") == (2, 2, 2)


def test_a_worker_gives_its_own_jobs_back(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 3)
    worker = set_worker(broker, b"f")
    assert grab(worker) == handles
    assert worker.ask(RETURN_JOBS, b"", *handles[1:]) == []
    assert broker.status(b"f") == (3, 1, 1)


def test_nobody_gets_a_job_back_that_its_client_has_left_or_that_was_cancelled(broker: BrokerHarness) -> None:
    client, operator = broker.peer(), broker.peer()
    left, cancelled = client.submit(b"f"), operator.submit(b"f", kind="SUBMIT_JOB_BG")
    worker = set_worker(broker, b"f")
    assert grab(worker) == [left, cancelled]
    assert operator.text(b"cancel job " + cancelled) == b"OK\r\n"
    client.leave()
    give_back(broker, left, cancelled)
    assert broker.status(b"f") == (0, 0, 1)
    assert broker.broker.table.jobs == {}


def test_very_many_jobs_come_back_in_order(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 450)
    worker = set_worker(broker, b"f")
    assert grab(worker, 400) == handles[:400]
    give_back(broker, *handles[1:400])
    broker.do_chores()
    other = broker.worker(b"f")
    assert list(iter(other.grab, None)) == handles[1:]


def test_a_return_in_steps_takes_nothing_of_the_next_set(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 400)
    worker = set_worker(broker, b"f")
    assert grab(worker, 400) == handles
    give_back(broker, *handles[1:])  # its first step
    complete(worker, handles[0])
    worker.send(SET_RETURN_KEY, b"n" * 16)
    assert grab(worker, 400) == handles[1:]
    broker.do_chores()
    assert broker.status(b"f") == (399, 399, 1)


# --- the loss of a worker


def test_of_a_lost_worker_only_the_job_that_ran_counts(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(crash_retries=0)
    handles = submit(broker, b"f", 4)
    worker = set_worker(broker, b"f")
    assert grab(worker) == handles
    complete(worker, handles[0])
    worker.leave()
    assert broker.broker.dead_letters.by_handle.keys() == {handles[1]}
    assert [broker.broker.table.jobs[handle].attempt for handle in handles[2:]] == [1, 1]
    # The other two are given out alone, so that the next loss shows which of them it is.
    other = set_worker(broker, b"f")
    later = submit(broker, b"f", 2)
    assert [grab(other), grab(other)] == [handles[2:3], handles[2:3]]
    complete(other, handles[2])
    assert grab(other) == handles[3:]
    complete(other, handles[3])
    assert grab(other) == later


def test_of_a_lost_worker_all_jobs_of_a_batch_count_and_are_given_out_alone(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(crash_retries=1)
    handles = submit(broker, b"f", 3)
    worker = set_worker(broker, f=(3, 0))
    assert grab(worker) == handles
    worker.leave()
    assert [broker.broker.table.jobs[handle].attempt for handle in handles] == [2, 2, 2]
    for handle in reversed(handles):
        worker = set_worker(broker, f=(3, 0))
        assert grab(worker) == [handle]
        complete(worker, handle)


def test_a_job_that_kills_its_worker_is_found_among_others(broker_with: Callable[..., BrokerHarness]) -> None:
    broker = broker_with(crash_retries=0)
    handles = submit(broker, b"f", 20)
    bad, done, losses = handles[7], set[bytes](), 0
    while broker.status(b"f")[0]:
        worker = set_worker(broker, b"f")
        while taken := grab(worker):
            for handle in taken:
                if handle == bad:
                    losses += 1
                    worker.leave()
                    break
                complete(worker, handle)
                done.add(handle)
            else:
                continue
            break
    assert losses == 1
    assert done == set(handles) - {bad}
    assert broker.broker.dead_letters.by_handle.keys() == {bad}


def test_cant_do_gives_the_jobs_back_that_were_not_begun(broker: BrokerHarness) -> None:
    handles = submit(broker, b"f", 3)
    worker, other = set_worker(broker, b"f"), broker.worker(b"f")
    assert grab(worker) == handles
    worker.send(PacketType.CANT_DO, b"f")
    assert [other.grab() for _ in range(3)] == [*handles[1:], handles[0]]
    assert [broker.broker.table.jobs[handle].attempt for handle in handles] == [2, 1, 1]


# --- the store


def test_the_store_hears_only_of_the_job_that_is_begun(durable: DurableBroker, batch_store: BatchStore) -> None:
    client = durable.peer()
    for _ in range(3):
        client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"")
    durable.commit()
    handles = [body for _, body in client.take()]
    worker = set_worker(durable, b"f")
    assert grab(worker) == handles
    assert batch_store.updates == [(handles[0], 1)]
    complete(worker, *handles)
    assert durable.broker.table.jobs == {}
