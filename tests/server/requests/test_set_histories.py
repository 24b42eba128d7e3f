"""Random histories of workers that hold several jobs: each job is in one place, and only attempts that began count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gearman_client.extensions import (
    CAN_DO_MANY,
    GRAB_JOBS,
    JOBS_COMPLETE,
    PLAIN_JOBS_ASSIGNED,
    RETURN_JOBS,
    SET_RETURN_KEY,
)
from gearman_client.packet import PacketType
from gearman_server.jobs.policies import FunctionPolicy

from ..broker_harness import BrokerHarness, Peer, Received

#: `f` and `g` have no limits, of `h` two jobs may run, `b` comes in batches of three, or after 50 ms.
FUNCTIONS = [b"f", b"g", b"h", b"b"]
MAX_RUNNING, BATCH, LINGER_S = 2, 3, 0.05
PRIORITIES = ["_HIGH", "", "_LOW"]
KEY = b"k" * 16
#: Within this time every sleeper with work to do has been woken.
WAKING_S = 0.15


@dataclass(eq=False)
class ModelJob:
    """What is known of a job."""

    handle: bytes
    function: bytes
    priority: int
    losses: int = 0
    is_alone: bool = False


@dataclass(eq=False)
class ModelWorker:
    """A worker, and the jobs that it has not answered, in order."""

    peer: Peer
    jobs: list[ModelJob] = field(default_factory=list)
    is_batch: bool = False
    sleeps: bool = False


def jobs_of(packets: list[Received]) -> list[tuple[bytes, bytes, bytes]]:
    """Handle, function and attempt of each job in the answer to a GRAB_JOBS."""
    if packets[0][0] == PLAIN_JOBS_ASSIGNED:
        function, count, rest = packets[0][1].split(b"\0", 2)
        return [(handle, function, b"1") for handle in rest.split(b"\0")[: int(count)]]
    jobs = [body.split(b"\0", 4) for _, body in packets[1:]]
    return [(handle, function, attempt) for handle, function, _, attempt, _ in jobs]


class SetHistory(RuleBasedStateMachine):
    """A broker, and what must be true of it."""

    new_broker: ClassVar[Callable[[], BrokerHarness]]

    @initialize(in_use=st.lists(st.sampled_from(FUNCTIONS), min_size=1, unique=True))
    def start(self, in_use: list[bytes]) -> None:
        self.made = 0
        self.in_use = in_use  # with few functions, workers are idle more often
        self.harness = type(self).new_broker()
        self.harness.broker.use_policies({b"h": FunctionPolicy(max_running=MAX_RUNNING)})
        self.client, self.supervisor = self.harness.peer(), self.harness.peer()
        self.queues: dict[tuple[bytes, int], list[ModelJob]] = {(f, p): [] for f in FUNCTIONS for p in range(3)}
        self.since: dict[bytes, float] = {}
        self.workers = [self.new_worker() for _ in range(3)]

    def new_worker(self) -> ModelWorker:
        peer = self.harness.worker(*FUNCTIONS)
        self.made += 1
        if self.made % 2:  # the others get a packet for each job
            peer.ask(PacketType.OPTION_REQ, b"plain-sets")
        peer.ask(PacketType.OPTION_REQ, b"grab-many")
        peer.send(CAN_DO_MANY, b"b", b"%d" % BATCH, b"%d" % round(LINGER_S * 1000))
        peer.send(SET_RETURN_KEY, KEY)
        return ModelWorker(peer)

    # --- the model

    def holders(self, least: int) -> list[ModelWorker]:
        """The workers with so many unanswered jobs at least."""
        return [worker for worker in self.workers if len(worker.jobs) >= least]

    def put_first(self, jobs: list[ModelJob]) -> None:
        for job in reversed(jobs):
            self.queues[job.function, job.priority].insert(0, job)

    def put_last(self, job: ModelJob) -> None:
        self.queues[job.function, job.priority].append(job)
        self.since[job.handle] = self.harness.now

    def waiting(self, function: bytes) -> list[ModelJob]:
        return [job for priority in range(3) for job in self.queues[function, priority]]

    def running(self, function: bytes) -> int:
        return sum(job.function == function for worker in self.workers for job in worker.jobs)

    def can_start(self, function: bytes) -> bool:
        """Whether some worker would be given a job of the function now."""
        jobs = self.waiting(function)
        if function == b"h" and self.running(b"h") >= MAX_RUNNING:
            return False
        heads = [queue[0] for priority in range(3) if (queue := self.queues[function, priority])]
        oldest = min((self.since[job.handle] for job in heads), default=0.0)
        return bool(jobs) and (function != b"b" or len(jobs) >= BATCH or oldest + LINGER_S <= self.harness.now)

    def ended(self, worker: ModelWorker) -> None:
        """The worker was lost: what it had begun counts, and the rest is given out alone."""
        begun = worker.jobs if worker.is_batch else worker.jobs[:1]
        unbegun = worker.jobs[len(begun) :]
        for job in unbegun:
            job.is_alone = True
        self.put_first(unbegun)
        for job in reversed(begun):
            job.losses += 1
            self.put_last(job)
        worker.jobs = []

    # --- steps

    @rule(data=st.data(), priority=st.sampled_from([0, 1, 1, 2]), count=st.sampled_from([1, 1, 2, 5]))
    def submit(self, data: st.DataObject, priority: int, count: int) -> None:
        function = data.draw(st.sampled_from(self.in_use))
        for _ in range(count):
            handle = self.client.submit(function, kind=f"SUBMIT_JOB{PRIORITIES[priority]}_BG")
            self.put_last(ModelJob(handle, function, priority))

    @rule(index=st.integers(0, 2), at_most=st.integers(1, 8))
    def grab(self, index: int, at_most: int) -> None:
        self.grabs(self.workers[index], at_most)

    @rule(data=st.data(), index=st.integers(0, 2), at_most=st.integers(2, 8), count=st.integers(2, 5))
    def submit_and_grab(self, data: st.DataObject, index: int, at_most: int, count: int) -> None:
        self.submit(data, 1, count)
        self.take_noops()
        self.grabs(self.workers[index], at_most)

    @rule(data=st.data(), milliseconds=st.sampled_from([1, 60]))
    def idle_workers_and_few_jobs(self, data: st.DataObject, milliseconds: int) -> None:
        for worker in self.workers:
            self.grabs(worker, 8)
        self.submit(data, 1, 1)
        self.harness.advance(milliseconds / 1000)

    def grabs(self, worker: ModelWorker, at_most: int) -> None:
        self.put_first(worker.jobs)
        worker.jobs, worker.sleeps = [], False
        startable = {function for function in FUNCTIONS if self.can_start(function)}
        packets = worker.peer.ask(GRAB_JOBS, b"%d" % at_most)
        packets = [packet for packet in packets if packet[0] != PacketType.NOOP]
        if packets[0][0] == PacketType.NO_JOB:
            assert startable == set()
            worker.peer.send(PacketType.PRE_SLEEP)
            worker.sleeps = True
            return
        for handle, function, attempt in jobs_of(packets):
            queue = next(queue for p in range(3) if (queue := self.queues[function, p]))
            job = queue.pop(0)  # the first of its function, in any case
            assert job.handle == handle
            assert int(attempt) == job.losses + 1
            worker.jobs.append(job)
        functions = [job.function for job in worker.jobs]
        assert functions[0] in startable
        worker.is_batch = functions[0] == b"b"
        if len(functions) > 1:
            assert not any(job.losses or job.is_alone for job in worker.jobs)
            assert b"h" not in functions[1:]
            assert (set(functions) == {b"b"}) if worker.is_batch else (b"b" not in functions)
        assert len(functions) <= (BATCH if worker.is_batch else at_most)

    @precondition(lambda self: self.holders(1))
    @rule(data=st.data(), count=st.integers(1, 4), fails=st.booleans())
    def answer(self, data: st.DataObject, count: int, fails: bool) -> None:
        worker = data.draw(st.sampled_from(self.holders(1)))
        if not fails and count > 2:
            ended, worker.jobs = worker.jobs[:count], worker.jobs[count:]
            worker.peer.send(JOBS_COMPLETE, *(job.handle for job in ended))
            self.take_noops()
            return
        for _ in range(min(count, len(worker.jobs))):
            handle = worker.jobs.pop(0).handle
            answer = (PacketType.WORK_FAIL, handle) if fails else (PacketType.WORK_COMPLETE, handle, b"")
            worker.peer.send(*answer)
            self.take_noops()

    @precondition(lambda self: self.holders(2))
    @rule(data=st.data(), by_itself=st.booleans())
    def give_back(self, data: st.DataObject, by_itself: bool) -> None:
        worker = data.draw(st.sampled_from(self.holders(2)))
        first = data.draw(st.integers(1, len(worker.jobs) - 1))
        returned, worker.jobs = worker.jobs[first:], worker.jobs[:first]
        handles = [job.handle for job in returned]
        if by_itself:
            worker.peer.send(RETURN_JOBS, b"", *handles)
        else:
            self.supervisor.send(RETURN_JOBS, KEY, b"H:test:0", *handles)
        self.put_first(returned)

    @precondition(lambda self: self.holders(1))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.holders(1)))
        worker.peer.leave()
        self.ended(worker)
        self.workers[self.workers.index(worker)] = self.new_worker()

    @rule(index=st.integers(0, 2))
    def sleep(self, index: int) -> None:
        worker = self.workers[index]
        worker.peer.send(PacketType.PRE_SLEEP)
        worker.sleeps = True

    @precondition(lambda self: any(self.queues.values()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        queue = data.draw(st.sampled_from([queue for queue in self.queues.values() if queue]))
        job = queue.pop(data.draw(st.integers(0, len(queue) - 1)))
        assert self.supervisor.text(b"cancel job " + job.handle) == b"OK\r\n"

    @rule(milliseconds=st.sampled_from([1, 5, 20, 60]))
    def time_passes(self, milliseconds: int) -> None:
        self.harness.advance(milliseconds / 1000)

    # --- invariants

    def take_noops(self) -> None:
        for worker in self.workers:
            for packet_type, _ in worker.peer.take():
                assert packet_type == PacketType.NOOP
                assert worker.sleeps
                worker.sleeps = False

    @invariant()
    def nobody_sleeps_for_long_beside_work(self) -> None:
        self.take_noops()
        startable = [function for function in FUNCTIONS if self.can_start(function)]
        if startable and any(worker.sleeps for worker in self.workers):
            for _ in range(30):
                self.harness.advance(WAKING_S / 30)
            self.take_noops()
            assert not any(worker.sleeps for worker in self.workers)

    @invariant()
    def every_job_is_in_one_place(self) -> None:
        broker = self.harness.broker
        for function in FUNCTIONS:
            counted = broker.functions.by_name[function]
            assert (counted.running, counted.waiting) == (self.running(function), len(self.waiting(function)))
        jobs = broker.table.jobs
        assert {h: job.requeues for h, job in jobs.items()} == {
            job.handle: job.losses
            for job in [j for q in self.queues.values() for j in q] + [j for w in self.workers for j in w.jobs]
        }

    @invariant()
    def limits_are_kept(self) -> None:
        assert self.running(b"h") <= MAX_RUNNING


def test_no_history_of_sets_loses_a_job_or_counts_one_that_was_not_begun(
    make_broker: Callable[..., BrokerHarness],
) -> None:
    SetHistory.new_broker = make_broker
    case = SetHistory.TestCase
    case.settings = settings(
        max_examples=100,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()
