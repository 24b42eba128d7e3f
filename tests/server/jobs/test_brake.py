"""`brake`: too many failures hold a function's jobs back, then a probe decides whether they are started again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import WORK_FAILURE
from gearman_client.packet import PacketType
from gearman_server.jobs.events import FunctionHeld, FunctionReleased
from gearman_server.jobs.policies import BrakeRule, FunctionPolicy, Rate

from ..broker_harness import UNIX_TIME, BrokerHarness, Peer

F = b"f"
#: More than two failures in ten seconds hold the function for thirty.
RULE = BrakeRule(Rate(2, 10.0), hold_s=30.0)

Make = Callable[..., BrokerHarness]


@pytest.fixture
def braked(broker_with: Make) -> BrokerHarness:
    broker = broker_with(brake=RULE)
    client = broker.peer()
    for _ in range(20):
        client.submit(F, kind="SUBMIT_JOB_BG")
    return broker


def fail(worker: Peer, times: int = 1) -> None:
    for _ in range(times):
        worker.send(PacketType.WORK_FAIL, worker.grab_handle())


def succeed(worker: Peer) -> None:
    worker.send(PacketType.WORK_COMPLETE, worker.grab_handle(), b"")


def hold(broker: BrokerHarness) -> Peer:
    """Put the brake on; a worker that may grab."""
    worker = broker.worker(F)
    fail(worker, 3)
    return worker


def test_more_failures_than_allowed_hold_the_function_and_the_first_success_of_a_probe_releases_it(
    braked: BrokerHarness,
) -> None:
    heard: list[object] = []
    braked.broker.events.subscribe(heard.append, FunctionHeld, FunctionReleased)
    worker, other = braked.worker(F), braked.worker(F)
    fail(worker, 2)
    braked.advance(9.9)
    fail(worker)
    assert heard == [FunctionHeld(F, 30.0, "more than 2 attempts have failed within 10 s")]
    assert worker.grab() is None
    braked.advance(29.9)
    assert worker.grab() is None
    braked.advance(0.2)
    probe = worker.grab_handle()
    assert other.grab() is None
    worker.send(PacketType.WORK_COMPLETE, probe, b"")
    assert heard[1:] == [FunctionReleased(F, 30.1)]
    fail(worker, 2)  # they are counted anew
    assert other.grab() is not None


def test_a_probe_that_fails_holds_it_again(braked: BrokerHarness) -> None:
    heard: list[object] = []
    worker = hold(braked)
    braked.broker.events.subscribe(heard.append, FunctionHeld)
    for _ in range(2):
        braked.advance(30.0)
        fail(worker)
        assert worker.grab() is None
    assert heard == [FunctionHeld(F, 30.0, "a job that probed it has failed")] * 2


def test_failures_that_are_too_far_apart_hold_nothing(braked: BrokerHarness) -> None:
    worker = braked.worker(F)
    for _ in range(6):
        fail(worker)
        braked.advance(5.0)
    assert worker.grab() is not None


def answered(worker: Peer, handle: bytes, verdict: bytes) -> None:
    worker.send(WORK_FAILURE, handle, verdict, b"", b"", b"why", b"")


@pytest.mark.parametrize(
    ("end", "counts"),
    [
        pytest.param(lambda worker, handle: worker.send(PacketType.WORK_EXCEPTION, handle, b"e"), True, id="exception"),
        pytest.param(lambda worker, handle: answered(worker, handle, b"retry"), True, id="retry"),
        pytest.param(lambda worker, handle: answered(worker, handle, b"reject"), False, id="reject"),
        pytest.param(lambda worker, _handle: worker.leave(), True, id="lost worker"),
        pytest.param(lambda worker, handle: worker.text(b"fail job " + handle + b" why"), True, id="its supervisor"),
        pytest.param(lambda worker, handle: worker.send(PacketType.WORK_COMPLETE, handle, b""), False, id="success"),
    ],
)
def test_what_counts_as_a_failure(braked: BrokerHarness, end: Callable[[Peer, bytes], object], counts: bool) -> None:
    for _ in range(3):
        worker = braked.worker(F)
        end(worker, worker.grab_handle())
    assert (braked.worker(F).grab() is None) is counts


def test_an_attempt_that_overruns_its_timeout_counts(broker_with: Make) -> None:
    broker = broker_with(brake=RULE, timeout_s=1.0)
    for _ in range(4):
        broker.peer().submit(F, kind="SUBMIT_JOB_BG")
    workers = [broker.worker(F) for _ in range(3)]
    assert all(worker.grab() for worker in workers)
    broker.advance(5.0)
    assert workers[0].grab() is None


def test_how_jobs_end_that_were_started_before_says_nothing_while_it_is_held(braked: BrokerHarness) -> None:
    early = [braked.worker(F) for _ in range(3)]
    handles = [worker.grab_handle() for worker in early]
    worker = hold(braked)
    early[0].send(PacketType.WORK_COMPLETE, handles[0], b"")
    assert worker.grab() is None
    early[1].send(PacketType.WORK_FAIL, handles[1])  # the hold does not become longer
    braked.advance(30.0)
    probe = worker.grab_handle()
    early[2].send(PacketType.WORK_FAIL, handles[2])
    assert early[2].grab() is None  # its place was no probe's
    worker.send(PacketType.WORK_COMPLETE, probe, b"")
    assert early[2].grab() is not None


def test_so_many_probes_run_at_once_and_one_success_is_enough(broker_with: Make) -> None:
    broker = broker_with(brake=BrakeRule(Rate(2, 10.0), hold_s=30.0, probe=2))
    for _ in range(10):
        broker.peer().submit(F, kind="SUBMIT_JOB_BG")
    hold(broker)
    broker.advance(30.0)
    workers = [broker.worker(F) for _ in range(3)]
    first, second = workers[0].grab_handle(), workers[1].grab_handle()
    assert workers[2].grab() is None
    answered(workers[0], first, b"reject")  # that says nothing: another may probe
    third = workers[2].grab_handle()
    workers[1].send(PacketType.WORK_FAIL, second)
    braked_again = workers[1].grab() is None
    workers[2].send(PacketType.WORK_COMPLETE, third, b"")  # it was started before the function was held again
    assert braked_again
    assert workers[2].grab() is None
    broker.advance(30.0)
    succeed(workers[0])
    assert all(worker.grab() for worker in workers)


def test_a_probe_that_goes_back_unbegun_leaves_its_place_to_another(braked: BrokerHarness) -> None:
    worker = hold(braked)
    braked.advance(30.0)
    assert worker.grab() is not None
    worker.send(0, b"worker return 192.0.2.1:50000")
    worker.have_turns()
    braked.do_chores()
    assert braked.worker(F).grab() is not None


def test_sleepers_are_woken_for_the_probe_and_after_its_success(braked: BrokerHarness) -> None:
    worker, sleepers = braked.worker(F), [braked.worker(F) for _ in range(2)]
    fail(worker, 2)
    handle = worker.grab_handle()
    worker.send(PacketType.WORK_FAIL, handle)
    for sleeper in (worker, *sleepers):
        assert sleeper.ask(PacketType.PRE_SLEEP) == []
    braked.advance(29.0)
    assert [one.take() for one in (worker, *sleepers)] == [[], [], []]
    braked.advance(1.0)
    noop = [(PacketType.NOOP, b"")]
    assert [one.take() for one in (worker, *sleepers)] == [noop, [], []]
    succeed(worker)
    assert [one.take() for one in sleepers] == [noop, noop]


def test_watchers_of_the_queues_hear_how_many_jobs_can_start(braked: BrokerHarness) -> None:
    watcher = braked.peer()
    watcher.ask(PacketType.OPTION_REQ, b"queue-events")
    worker = hold(braked)

    def told() -> list[int]:
        """The startable jobs; not since when it is paused, but since when it is held, and until when; no wish."""
        braked.advance(0.1)
        braked.do_chores()
        _, queued, _, _, _, *hold = watcher.take()[-1][1].split(b"\0")
        return [int(queued), *map(int, hold)]

    held = [0, 1000 * int(UNIX_TIME), 1000 * int(UNIX_TIME + 30), 0]
    assert told() == [0, *held]
    braked.advance(30.0)
    assert told() == [1, *held]
    succeed(worker)
    assert told() == [16]


def test_it_is_listed_and_an_operator_can_resume_it(braked: BrokerHarness) -> None:
    operator, worker = braked.peer(), hold(braked)
    line = b"f\t%s\t" + b"%.3f\t%.3f\n.\n" % (UNIX_TIME, UNIX_TIME + 30)
    assert operator.text(b"holds") == line % b"held"
    braked.advance(30.0)
    assert operator.text(b"holds") == line % b"probed"
    fail(worker)
    assert operator.text(b"resume function f") == b"OK\r\n"
    assert operator.text(b"holds") == b".\n"
    assert worker.grab() is not None


def test_a_file_that_is_read_again_keeps_it_on_unless_its_rule_has_changed(braked: BrokerHarness) -> None:
    worker = hold(braked)
    braked.broker.use_policies({F: FunctionPolicy(brake=BrakeRule(Rate(2, 10.0), hold_s=30.0), max_running=5)})
    assert worker.grab() is None
    braked.broker.use_policies({F: FunctionPolicy(brake=BrakeRule(Rate(3, 10.0)))})
    assert worker.grab() is not None


def test_other_functions_are_served_meanwhile(braked: BrokerHarness) -> None:
    hold(braked)
    worker = braked.worker(F, b"g")
    handle = braked.peer().submit(b"g")
    assert worker.grab() == handle
