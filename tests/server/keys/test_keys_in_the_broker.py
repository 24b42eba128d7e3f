"""Keys in the broker: who is woken and when, what is told of queues, sets, rules that change, and stored jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from gearman_client.extensions import GRAB_JOBS, JOBS_ASSIGNED, QUEUE_CHANGED, RETURN_JOBS, SUBMIT_JOB_WITH
from gearman_client.packet import PacketType
from gearman_server.jobs import wake_up
from gearman_server.jobs.policies import FunctionPolicy, KeyPolicy, Rate
from gearman_server.jobs.wake_up import PATIENCE_S
from gearman_server.keys.key_rules import table_of

from ..broker_harness import BatchStore, BrokerHarness, Peer, lines_run
from ..requests.replayed import Replayed, stored

NOOP = (PacketType.NOOP, b"")
FAIR = KeyPolicy(is_fair=True)

BrokerWith = Callable[..., BrokerHarness]


def submit(peer: Peer, key: bytes, *pairs: bytes, workload: bytes | None = None) -> bytes:
    """Submit a background job of `f`, with its key as its workload; its handle."""
    pairs += (b"key=" + key,) if key else ()
    workload = key if workload is None else workload
    [(packet_type, body)] = peer.ask(SUBMIT_JOB_WITH, b"f", b"", b"background=1", *pairs, b"", workload)
    assert packet_type == PacketType.JOB_CREATED
    return body


def run(worker: Peer) -> bytes | None:
    """A job from its start to its end; its workload."""
    [(packet_type, body)] = worker.ask(PacketType.GRAB_JOB)
    if packet_type == PacketType.NO_JOB:
        return None
    handle, _, workload = body.split(b"\0", 2)
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    return workload


def drain(worker: Peer) -> list[bytes]:
    return list(iter(lambda: run(worker), None))


def test_a_worker_is_given_jobs_by_the_turns_of_their_keys(broker_with: BrokerWith) -> None:
    broker = broker_with(keys=FAIR)
    client, worker = broker.peer(), broker.worker(b"f")
    for key in [b"a", b"a", b"a", b"b", b"", b"b"]:
        submit(client, key)
    client.submit(b"f", b"plain", kind="SUBMIT_JOB_BG")
    assert drain(worker) == [b"a", b"b", b"", b"a", b"b", b"plain", b"a"]


@pytest.mark.pure_core
@pytest.mark.parametrize(
    ("policy", "more"),
    [
        pytest.param(FAIR, 30, id="fair"),
        pytest.param(KeyPolicy(rate=Rate(1000, 60.0)), 45, id="rate"),
        pytest.param(KeyPolicy(max_running=5), 60, id="max_running"),
    ],
)
def test_a_job_with_a_key_costs_its_server_little_more_than_a_plain_one(
    broker_with: BrokerWith, policy: KeyPolicy, more: int
) -> None:
    """Lines of the server that are run from one job's start to the next one's."""

    def lines(broker: BrokerHarness, *keys: bytes) -> int:
        client, worker = broker.peer(), broker.worker(b"f")
        for key in [key for key in keys for _ in range(3)]:
            submit(client, key)
        run(worker)
        return lines_run(lambda: run(worker))

    names = [b"%d" % number for number in range(100)]
    assert lines(broker_with(keys=policy), *names) <= lines(broker_with(), *names) + more


def test_a_retry_keeps_its_key(broker_with: BrokerWith) -> None:
    broker = broker_with(keys=KeyPolicy(max_running=1), retries=1, backoff_s=5)
    client, worker = broker.peer(), broker.worker(b"f")
    handles = [submit(client, b"a"), submit(client, b"a")]
    assert worker.grab() == handles[0]
    assert worker.grab() is None
    worker.send(PacketType.WORK_FAIL, handles[0])
    assert worker.grab() == handles[1]
    broker.advance(5)
    assert worker.grab() is None
    worker.send(PacketType.WORK_COMPLETE, handles[1], b"")
    assert worker.grab() == handles[0]


def test_a_sleeper_is_woken_when_its_key_may_start_again(broker_with: BrokerWith) -> None:
    broker = broker_with(keys=KeyPolicy(max_running=1, rate=Rate(1, 10.0)))
    client, worker, sleeper = broker.peer(), broker.worker(b"f"), broker.worker(b"f")
    submit(client, b"a")
    handle = worker.grab_handle()
    submit(client, b"a")
    assert sleeper.ask(PacketType.PRE_SLEEP) == []
    assert sleeper.ask(PacketType.GRAB_JOB) == [(PacketType.NO_JOB, b"")]
    assert sleeper.ask(PacketType.PRE_SLEEP) == []
    submit(client, b"b")
    assert sleeper.take() == [NOOP]
    assert sleeper.grab() is not None
    sleeper.ask(PacketType.PRE_SLEEP)
    worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert sleeper.take() == []  # its rate holds it back
    broker.advance(9.9)
    assert sleeper.take() == []
    broker.advance(0.11)
    assert sleeper.take() == [NOOP]


def test_a_key_that_opens_while_woken_workers_are_on_their_way_is_not_late(broker_with: BrokerWith) -> None:
    broker = broker_with(keys=KeyPolicy(rate=Rate(1, 10.0)))
    client, sleepers = broker.peer(), [broker.worker(b"f") for _ in range(2)]
    submit(client, b"a")
    assert sleepers[0].grab() is not None
    submit(client, b"a")
    broker.advance(10.0 - PATIENCE_S / 2)
    for sleeper in sleepers:
        sleeper.ask(PacketType.PRE_SLEEP)
    submit(client, b"b")
    assert sum(sleeper.take() == [NOOP] for sleeper in sleepers) == 1
    broker.advance(PATIENCE_S / 2)
    assert sum(sleeper.take() == [NOOP] for sleeper in sleepers) == 1


def test_a_held_function_hides_no_other_from_a_worker_with_very_many(
    broker_with: BrokerWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake_up, "FEW_FUNCTIONS", 1)
    broker = broker_with(keys=KeyPolicy(max_running=1))
    client, worker = broker.peer(), broker.worker(b"f", b"g", b"h")
    submit(client, b"a", b"priority=9")
    first = worker.grab()
    submit(client, b"a", b"priority=9")
    submit(client, b"b", b"priority=0")
    other = client.submit(b"g")
    assert worker.grab() == other
    assert worker.grab() is not None  # of b: its queue has a job that may start, unlike that of the high ones
    assert worker.grab() is None
    worker.ask(PacketType.PRE_SLEEP)
    worker.send(PacketType.WORK_COMPLETE, first or b"", b"")
    assert worker.take() == [NOOP]
    assert worker.grab() is not None


def test_queue_events_count_the_jobs_that_could_start_now(broker_with: BrokerWith) -> None:
    broker = broker_with(keys=KeyPolicy(rate=Rate(2, 10.0)))
    client, worker, watcher = broker.peer(), broker.worker(b"f"), broker.peer()
    for key in [b"a"] * 5 + [b"b"]:
        submit(client, key)
    told = watcher.ask(PacketType.OPTION_REQ, b"queue-events")
    assert (QUEUE_CHANGED, b"f\x003\x000\x001\x006") in told
    broker.advance(0.05)
    watcher.take()
    for _ in range(3):
        run(worker)
    broker.advance(0.05)
    assert watcher.take()[-1] == (QUEUE_CHANGED, b"f\x000\x000\x001\x003")
    broker.advance(10.0)
    broker.advance(0.05)
    assert watcher.take()[-1] == (QUEUE_CHANGED, b"f\x002\x000\x001\x003")


# --- sets


def set_worker(broker: BrokerHarness) -> Peer:
    worker = broker.peer()
    worker.ask(PacketType.OPTION_REQ, b"grab-many")
    return worker.can_do(b"f")


def grab_set(worker: Peer, most: int) -> list[bytes]:
    """The handles of the jobs of one set."""
    packet_type = worker.ask(GRAB_JOBS, b"%d" % most)[0][0]
    if packet_type == PacketType.NO_JOB:
        return []
    assert packet_type == JOBS_ASSIGNED
    return list(worker.session.assigned)


def test_a_set_holds_jobs_of_several_keys_in_turn_and_gives_them_back(broker_with: BrokerWith) -> None:
    broker = broker_with(keys=FAIR)
    client, worker = broker.peer(), set_worker(broker)
    keys = {submit(client, key): key for key in [b"a"] * 5 + [b"b"] * 3}
    handles = grab_set(worker, 5)
    assert [keys[handle] for handle in handles] == [b"a", b"b", b"a", b"b", b"a"]
    worker.send(RETURN_JOBS, b"", *handles[1:])
    broker.do_chores()
    worker.send(PacketType.WORK_COMPLETE, handles[0], b"")
    again = grab_set(worker, 100)
    assert Counter(again) == Counter(keys.keys() - {handles[0]})
    assert set(again[:2]) == {handles[1], handles[2]}  # each key goes on with the first job that came back


def test_a_set_has_one_job_if_keys_have_limits(broker_with: BrokerWith) -> None:
    broker = broker_with(keys=KeyPolicy(max_running=2))
    client, worker = broker.peer(), set_worker(broker)
    for key in [b"a"] * 5:
        submit(client, key)
    assert len(grab_set(worker, 5)) == 1


# --- rules that change


def test_new_rules_sort_a_long_queue_in_steps_and_lose_nothing(broker_with: BrokerWith) -> None:
    broker = broker_with()
    client, worker = broker.peer(), broker.worker(b"f")
    for key in [b"a"] * 2000 + [b"b"] * 3:
        submit(client, key)
    running = worker.grab_handle()
    few = lines_run(lambda: broker.broker.use_policies({b"f": FunctionPolicy(keys=KeyPolicy(1, is_fair=True))}))
    assert few < 10_000
    assert broker.broker.chores
    assert worker.grab() is None  # the running job counts, and those of the other key are not sorted yet
    sleeper = broker.worker(b"f")
    sleeper.ask(PacketType.PRE_SLEEP)
    broker.do_chores()
    assert sleeper.take() == [NOOP]
    assert run(sleeper) == b"b"
    worker.send(PacketType.WORK_COMPLETE, running, b"")
    broker.broker.use_policies({b"f": FunctionPolicy(keys=FAIR)})
    assert drain(worker)[:6] == [b"a", b"b", b"a", b"b", b"a", b"a"]
    assert broker.status(b"f") == (0, 0, 2)


def test_without_rules_the_queue_becomes_a_plain_one_once_it_is_empty(broker_with: BrokerWith) -> None:
    broker = broker_with(keys=KeyPolicy(max_running=1, is_fair=True))
    client, worker = broker.peer(), broker.worker(b"f")
    for number in range(3):
        submit(client, b"a", workload=b"%d" % number)
    broker.broker.use_policies({})
    broker.do_chores()
    submit(client, b"", workload=b"3")
    assert [worker.grab() is not None for _ in range(3)] == [True] * 3
    function = broker.broker.functions.by_name[b"f"]
    broker.advance(2.0)
    assert table_of(function) is not None
    assert worker.grab() is not None
    broker.advance(2.0)
    assert table_of(function) is None
    submit(client, b"a")
    assert worker.grab() is not None


def test_a_purge_drops_jobs_of_all_keys(broker_with: BrokerWith) -> None:
    broker = broker_with(keys=FAIR)
    client = broker.peer()
    for number in range(500):
        submit(client, b"%d" % (number % 7))
    assert client.text(b"jobs purge function=f") == b"OK 500\n"
    assert broker.status(b"f") == (0, 0, 0)
    submit(client, b"a")
    assert run(broker.worker(b"f")) == b"a"


# --- stored jobs


@pytest.fixture
def replayed_fairly(make_broker: Callable[..., BrokerHarness], batch_store: BatchStore) -> Replayed:
    def make(**settings: Any) -> BrokerHarness:
        broker = make_broker(**settings)
        broker.broker.use_policies({b"f": FunctionPolicy(keys=FAIR)})
        return broker

    return Replayed(make, batch_store)


def of(key: bytes, number: int, **changes: Any) -> Any:
    return stored(number, workload=key + b"%d" % number, options=b"key=" + key, **changes)


def test_stored_jobs_come_back_with_their_keys_and_new_ones_stay_behind_them(replayed_fairly: Replayed) -> None:
    broker = replayed_fairly.harness
    client, worker = broker.peer(), broker.worker(b"f")
    client.send(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"key=a", b"", b"new")
    replayed_fairly.commit()
    replayed_fairly.read_to(1)
    replayed_fairly.load(of(b"a", 1), of(b"a", 2), of(b"a", 3), of(b"b", 4))
    assert [run(worker), run(worker)] == [b"a1", b"b4"]
    replayed_fairly.load(of(b"a", 5), of(b"c", 6))
    assert broker.status(b"f") == (5, 0, 1)
    assert run(worker) in (b"a2", b"c6")
    replayed_fairly.end()
    broker.do_chores()
    client.send(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"key=d", b"", b"newest")
    replayed_fairly.commit()
    left = drain(worker)
    assert Counter(left) + Counter([b"a2", b"c6"]) >= Counter([b"a3", b"a5", b"new", b"newest"])
    assert left.index(b"a3") < left.index(b"a5") < left.index(b"new")
    assert left.index(b"newest") < left.index(b"new")


def test_a_stored_job_that_was_cancelled_before_its_turn_leaves_no_trace(replayed_fairly: Replayed) -> None:
    broker = replayed_fairly.harness
    client, worker = broker.peer(), broker.worker(b"f")
    replayed_fairly.read_to(1)
    replayed_fairly.load(of(b"a", 1))
    client.send(PacketType.GET_STATUS, b"H:old:2")
    replayed_fairly.answer(of(b"a", 2))
    assert broker.status(b"f") == (2, 0, 1)
    client.text(b"cancel job H:old:2")  # the answer waits for the commit
    assert broker.status(b"f") == (1, 0, 1)
    replayed_fairly.load(of(b"a", 2), of(b"b", 3))
    replayed_fairly.end()
    assert drain(worker) == [b"a1", b"b3"]
    assert broker.status(b"f") == (0, 0, 1)


def test_rules_that_come_while_stored_jobs_come_back_apply_to_them(
    make_broker: Callable[..., BrokerHarness], batch_store: BatchStore
) -> None:
    replayed = Replayed(make_broker, batch_store)
    broker = replayed.harness
    client, worker = broker.peer(), broker.worker(b"f")
    replayed.read_to(1)
    replayed.load(of(b"a", 1), of(b"a", 2), of(b"b", 3))
    client.send(SUBMIT_JOB_WITH, b"f", b"", b"background=1", b"key=c", b"", b"new")
    broker.broker.use_policies({b"f": FunctionPolicy(keys=FAIR)})
    broker.do_chores()
    assert [run(worker), run(worker)] == [b"a1", b"b3"]
    replayed.end()
    broker.do_chores()
    replayed.commit()
    assert drain(worker) == [b"a2", b"new"]
