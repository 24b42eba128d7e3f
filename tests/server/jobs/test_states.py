"""The tables of states: a job's, and a connection's as a worker. A refused event changes nothing."""

from __future__ import annotations

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs import job as jobs
from gearman_server.jobs import session as sessions
from gearman_server.jobs.job import JobState
from gearman_server.jobs.session import WorkerState

from ..broker_harness import BrokerHarness

JOB_EVENTS = (jobs.ENQUEUE, jobs.DELAY, jobs.HOLD, jobs.ASSIGN, jobs.STOP, jobs.CANCEL, jobs.END)
WORKER_EVENTS = (sessions.ASK, sessions.ANSWER, sessions.SLEEP, sessions.ROUSE, sessions.WAKE)


def test_every_state_can_be_reached_and_left_except_the_end_of_a_job() -> None:
    reached = {following for event in JOB_EVENTS for following in event.values()}
    left = {state for event in JOB_EVENTS for state in event}
    assert reached == set(JobState)
    assert left == set(JobState) - {JobState.ENDED}
    assert {following for event in WORKER_EVENTS for following in event.values()} == set(WorkerState)
    assert {state for event in WORKER_EVENTS for state in event} == set(WorkerState)


@pytest.mark.parametrize("what", ["enqueue", "await_retry", "assign", "end"])
def test_a_job_that_has_ended_does_not_change(broker: BrokerHarness, what: str) -> None:
    handle = broker.peer().submit(b"f", b"w", b"u", "SUBMIT_JOB_BG")
    worker = broker.worker(b"f")
    [job] = broker.broker.table.jobs.values()
    assert worker.grab() == handle
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    more: dict[str, list[object]] = {"await_retry": [broker.now], "assign": [worker.session, broker.now]}
    with pytest.raises(KeyError):
        getattr(broker.broker._life, what)(job, *more.get(what, []))
    assert job.state is JobState.ENDED
    assert worker.session.assigned == {}
    assert broker.status(b"f") == (0, 0, 1)


def test_a_running_job_can_be_cancelled_only_once(broker: BrokerHarness) -> None:
    handle = broker.peer().submit(b"f", b"w", b"u", "SUBMIT_JOB_BG")
    assert broker.worker(b"f").grab() == handle
    job = broker.broker.table.jobs[handle]
    broker.broker._life.cancel(job)
    with pytest.raises(KeyError):
        broker.broker._life.cancel(job)
    assert job.state is JobState.CANCELLED
    assert broker.status(b"f") == (1, 1, 1)
