"""The extension `held-jobs`: a supervisor hears of jobs in a worker's hands for which another worker is idle."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gearman_client.extensions import GRAB_JOBS, JOBS_HELD, RETURN_JOBS, SET_RETURN_KEY
from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness, Peer

KEY = b"k" * 16
#: Nobody is told before a worker has been quiet for so long.
QUIET_S = 0.0101


@pytest.fixture
def supervisor(broker: BrokerHarness) -> Peer:
    peer = broker.peer()
    peer.send(PacketType.SET_CLIENT_ID, b"gm:box")
    assert peer.ask(PacketType.OPTION_REQ, b"held-jobs") == [(PacketType.OPTION_RES, b"held-jobs")]
    return peer


def holder_of(broker: BrokerHarness, *functions: bytes, jobs: int, name: bytes = b"gm:box/pool/1") -> Peer:
    """A worker that holds so many jobs of each function."""
    worker = broker.worker(*functions)
    worker.send(PacketType.SET_CLIENT_ID, name)
    worker.ask(PacketType.OPTION_REQ, b"grab-many")
    worker.send(SET_RETURN_KEY, KEY)
    for function in functions:
        for _ in range(jobs):
            broker.peer().submit(function, kind="SUBMIT_JOB_BG")
    assert len(worker.ask(GRAB_JOBS, b"100")) == 1 + jobs * len(functions)
    return worker


def idle(broker: BrokerHarness, *functions: bytes) -> Peer:
    worker = broker.worker(*functions)
    assert worker.ask(PacketType.PRE_SLEEP) == []
    return worker


def told(count: int, function: bytes = b"f") -> tuple[int, bytes]:
    return (JOBS_HELD, b"gm:box/pool/1\0%b\0%d" % (function, count))


def test_it_hears_at_once_of_a_quiet_worker_when_another_becomes_idle(broker: BrokerHarness, supervisor: Peer) -> None:
    holder_of(broker, b"f", jobs=3)
    broker.advance(QUIET_S)
    assert supervisor.take() == []
    idle(broker, b"f")
    broker.advance(0)
    assert supervisor.take() == [told(2)]


def test_it_hears_of_it_when_the_worker_has_been_quiet_for_a_while(broker: BrokerHarness, supervisor: Peer) -> None:
    worker = holder_of(broker, b"f", jobs=4)
    idle(broker, b"f")
    handles = list(broker.broker.table.jobs)
    broker.advance(0.006)
    worker.send(PacketType.WORK_COMPLETE, handles[0], b"")
    broker.advance(0.006)
    assert supervisor.take() == []
    broker.advance(0.006)
    assert supervisor.take() == [told(2)]


def test_it_hears_of_a_worker_that_ends_jobs_all_the_time_but_not_its_set(
    broker: BrokerHarness, supervisor: Peer
) -> None:
    worker = holder_of(broker, b"f", jobs=20)
    idle(broker, b"f")
    told_after = 0
    for handle in list(broker.broker.table.jobs):
        broker.advance(0.005)
        if supervisor.take():
            break
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
        told_after += 1
    assert 4 <= told_after <= 6  # jobs of 5 ms: after 30 ms


def test_the_worker_whose_jobs_are_given_back_gets_its_share_of_them(broker: BrokerHarness, supervisor: Peer) -> None:
    holder, other = holder_of(broker, b"f", jobs=11), idle(broker, b"f")
    other.ask(PacketType.OPTION_REQ, b"grab-many")
    first, *handles = list(broker.broker.table.jobs)
    supervisor.send(RETURN_JOBS, KEY, *handles)
    assert other.take() == [(PacketType.NOOP, b"")]
    assert len(other.ask(GRAB_JOBS, b"100")) == 1 + 5
    holder.send(PacketType.WORK_COMPLETE, first, b"")
    assert len(holder.ask(GRAB_JOBS, b"100")) == 1 + 5


def test_a_worker_that_left_without_its_jobs_has_no_share(broker: BrokerHarness, supervisor: Peer) -> None:
    holder, other = holder_of(broker, b"f", jobs=11), idle(broker, b"f")
    other.ask(PacketType.OPTION_REQ, b"grab-many")
    supervisor.send(RETURN_JOBS, KEY, *list(broker.broker.table.jobs)[1:])
    holder.leave()
    assert len(other.ask(GRAB_JOBS, b"100")) == 1 + 10  # the eleventh, which its worker lost, comes alone


def test_it_hears_again_every_20_ms_as_long_as_that_lasts(broker: BrokerHarness, supervisor: Peer) -> None:
    holder_of(broker, b"f", jobs=3)
    idle(broker, b"f")
    told_at = []
    for millisecond in range(100):
        broker.advance(0.001)
        told_at += [millisecond for _ in supervisor.take()]
    assert 4 <= len(told_at) <= 5
    assert min(later - earlier for earlier, later in pairwise(told_at)) >= 20


def test_jobs_that_it_gives_back_go_to_the_idle_worker_and_it_hears_no_more(
    broker: BrokerHarness, supervisor: Peer
) -> None:
    holder_of(broker, b"f", jobs=3)
    worker = idle(broker, b"f")
    broker.advance(QUIET_S)
    assert supervisor.take() == [told(2)]
    handles = list(broker.broker.table.jobs)
    supervisor.send(RETURN_JOBS, KEY, *handles[1:])
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert [worker.grab(), worker.grab()] == handles[1:]
    worker.send(PacketType.PRE_SLEEP)
    broker.advance(0.1)
    assert supervisor.take() == []
    assert broker.broker.next_due is None


def test_it_does_not_hear_of_jobs_that_the_idle_worker_can_not_do(broker: BrokerHarness, supervisor: Peer) -> None:
    holder_of(broker, b"f", b"g", jobs=3)
    idle(broker, b"other")
    broker.advance(0.1)
    assert supervisor.take() == []
    idle(broker, b"g")
    broker.advance(0)
    assert supervisor.take() == [told(3, b"g")]


def test_it_does_not_hear_of_a_worker_of_another_manager(broker: BrokerHarness, supervisor: Peer) -> None:
    holder_of(broker, b"f", jobs=3, name=b"gm:box2/pool/1")
    idle(broker, b"f")
    broker.advance(0.1)
    assert supervisor.take() == []


def test_it_does_not_hear_of_the_job_that_runs(broker: BrokerHarness, supervisor: Peer) -> None:
    holder_of(broker, b"f", jobs=1)
    idle(broker, b"f")
    broker.advance(0.1)
    assert supervisor.take() == []


def test_it_hears_of_jobs_that_were_held_before_it_came(broker: BrokerHarness) -> None:
    holder_of(broker, b"f", jobs=3)
    idle(broker, b"f")
    broker.advance(0.1)
    peer = broker.peer()
    peer.send(PacketType.SET_CLIENT_ID, b"gm:box")
    peer.send(PacketType.OPTION_REQ, b"held-jobs")
    broker.advance(0)
    assert peer.take() == [(PacketType.OPTION_RES, b"held-jobs"), told(2)]


@pytest.mark.parametrize("who", ["worker", "supervisor"])
def test_who_is_gone_is_forgotten(broker: BrokerHarness, supervisor: Peer, who: str) -> None:
    worker = holder_of(broker, b"f", jobs=3)
    idle(broker, b"f")
    (worker if who == "worker" else supervisor).leave()
    broker.advance(0.1)
    broker.advance(0.1)
    assert supervisor.take() == []
    assert broker.broker.next_due is None


def test_nobody_looks_while_nobody_is_idle(broker: BrokerHarness, supervisor: Peer) -> None:
    holder_of(broker, b"f", jobs=3)
    broker.advance(QUIET_S)
    assert broker.broker.next_due is None
