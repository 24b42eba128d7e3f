"""The broker against a simple model, by random histories: no job is lost, run twice at once, or answered twice."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gearman_client.packet import PacketType

FUNCTIONS = [b"f", b"g"]
UNIQUES = [b"", b"u", b"v"]
PRIORITIES = {"": 1, "_HIGH": 0, "_LOW": 2}


@dataclass(eq=False)
class ModelJob:
    """What the model knows of a job that the broker must know too."""

    function: bytes
    unique: bytes
    priority: int
    is_background: bool = False
    listeners: list = field(default_factory=list)
    worker: object = None
    order: int = 0


class BrokerHistory(RuleBasedStateMachine):
    """Clients submit and leave, workers grab, finish, fail and die, an operator cancels."""

    new_broker = None  # set by the test: a function that makes a broker harness

    @initialize()
    def start(self):
        self.harness = type(self).new_broker()
        self.jobs: dict[bytes, ModelJob] = {}
        self.clients: list = []
        self.workers: dict = {}
        self.order = 0

    # --- rules

    @rule()
    def client_comes(self):
        self.clients.append(self.harness.peer())

    @rule(functions=st.sets(st.sampled_from(FUNCTIONS), min_size=1))
    def worker_comes(self, functions):
        self.workers[self.harness.worker(*sorted(functions))] = functions

    @precondition(lambda self: self.clients)
    @rule(
        data=st.data(),
        function=st.sampled_from(FUNCTIONS),
        unique=st.sampled_from(UNIQUES),
        priority=st.sampled_from(sorted(PRIORITIES)),
        is_background=st.booleans(),
    )
    def submit(self, data, function, unique, priority, is_background):
        client = data.draw(st.sampled_from(self.clients))
        handle = client.submit(function, b"w", unique, f"SUBMIT_JOB{priority}{'_BG' if is_background else ''}")
        known = [
            (name, job)
            for name, job in self.jobs.items()
            if unique and (job.function, job.unique) == (function, unique)
        ]
        if known:
            [(expected, job)] = known
            assert handle == expected
        else:
            assert handle not in self.jobs
            self.order += 1
            job = self.jobs[handle] = ModelJob(function, unique, PRIORITIES[priority], order=self.order)
        if is_background:
            job.is_background = True
        else:
            job.listeners.append(client)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def grab(self, data):
        worker = data.draw(st.sampled_from(list(self.workers)))
        handle = worker.grab()
        waiting = [job for job in self.jobs.values() if job.worker is None and job.function in self.workers[worker]]
        if handle is None:
            assert waiting == []
            return
        job = self.jobs[handle]
        assert job in waiting
        best = min(other.priority for other in waiting)
        assert job.priority == best
        same_queue = [other for other in waiting if (other.priority, other.function) == (best, job.function)]
        assert job.order == min(other.order for other in same_queue)
        job.worker = worker

    def running(self, data):
        """Any running job: handle and job."""
        running = [(handle, job) for handle, job in self.jobs.items() if job.worker is not None]
        return data.draw(st.sampled_from(running)) if running else None

    @rule(data=st.data(), how=st.sampled_from(["WORK_COMPLETE", "WORK_FAIL"]))
    def end(self, data, how):
        found = self.running(data)
        if found is None:
            return
        handle, job = found
        result = [b"r"] if how == "WORK_COMPLETE" else []
        assert job.worker.ask(PacketType[how], handle, *result) == []
        self.expect(job, (PacketType[how], b"\0".join([handle, *result])))
        del self.jobs[handle]

    @rule(data=st.data())
    def report(self, data):
        found = self.running(data)
        if found is None:
            return
        handle, job = found
        job.worker.send(PacketType.WORK_DATA, handle, b"d")
        self.expect(job, (PacketType.WORK_DATA, handle + b"\0d"))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_dies(self, data):
        worker = data.draw(st.sampled_from(list(self.workers)))
        del self.workers[worker]
        lost = [job for job in self.jobs.values() if job.worker is worker]
        worker.leave()
        # Newest assignment first to the tail: within one queue the model can't tell them apart, so it asks.
        for job in lost:
            job.worker = None
        self.forget_unwanted()
        self.read_order()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def client_leaves(self, data):
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        client.leave()
        for job in self.jobs.values():
            job.listeners = [listener for listener in job.listeners if listener is not client]
        self.forget_unwanted()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel_queued(self, data):
        queued = [handle for handle, job in self.jobs.items() if job.worker is None]
        if not queued:
            return
        handle = data.draw(st.sampled_from(queued))
        assert self.harness.peer().text(b"cancel job " + handle) == b"OK\r\n"
        self.expect(self.jobs.pop(handle), (PacketType.WORK_FAIL, handle))

    # --- the model

    def forget_unwanted(self):
        """Queued jobs that nobody waits for and nobody was promised are gone."""
        for handle, job in list(self.jobs.items()):
            if job.worker is None and not job.is_background and not job.listeners:
                del self.jobs[handle]

    def read_order(self):
        """Take over the order in which requeued jobs wait."""
        for function in self.harness.broker.table.functions.values():
            for queue in function.queues:
                for job in queue:
                    if job.handle in self.jobs:
                        self.order += 1
                        self.jobs[job.handle].order = self.order

    def expect(self, job, packet):
        """Every listener got this packet, once per submission, and nothing else."""
        for client in set(job.listeners):
            assert client.take() == [packet] * job.listeners.count(client)

    # --- invariants

    @invariant()
    def status_agrees(self):
        for function in FUNCTIONS:
            jobs = [job for job in self.jobs.values() if job.function == function]
            running = sum(job.worker is not None for job in jobs)
            workers = sum(function in functions for functions in self.workers.values())
            assert self.harness.status(function) == (len(jobs), running, workers)

    @invariant()
    def nobody_is_told_anything_else(self):
        assert all(client.session.out == [] for client in self.clients)

    @invariant()
    def indexes_agree(self):
        table = self.harness.broker.table
        assert table.jobs.keys() == self.jobs.keys()
        for function in table.functions.values():
            keyed = {job.handle for job in function.by_key.values()}
            assert keyed == {
                handle for handle, job in self.jobs.items() if job.function == function.name and job.unique
            }
            assert all(len(queue) <= 2 * queue.waiting + 1 for queue in function.queues)


@pytest.mark.timeout(300)
def test_the_broker_keeps_every_promise_in_random_histories(make_broker):
    BrokerHistory.new_broker = staticmethod(make_broker)
    case = BrokerHistory.TestCase
    case.settings = settings(
        max_examples=150,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()
