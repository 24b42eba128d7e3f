"""The broker against a simple model, by random histories: no job is lost, run twice at once, or answered twice."""

from __future__ import annotations

from collections.abc import Callable, Set

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from gearman_client.packet import PacketType
from gearman_server.jobs import wake_up
from gearman_server.jobs.policies import TIMEOUT_GRACE_S
from gearman_server.jobs.wake_up import FEW_FUNCTIONS, PATIENCE_S

from .broker_harness import BrokerHarness, Peer
from .broker_history import FUNCTIONS, MAX_RUNNING, PRIORITIES, RATE, TIMEOUT_S, UNIQUES, WAKING_S, KnownHistory
from .broker_model import ModelJob


def some_job_runs(history: BrokerHistory) -> bool:
    return any(job.worker for job in history.jobs.values())


class BrokerHistory(KnownHistory):
    """Clients submit and leave; workers grab, sleep, answer, give up and die; supervisors and operators step in."""

    # --- clients

    @rule()
    def client_comes(self) -> None:
        self.clients.append(self.harness.peer())

    @precondition(lambda self: self.clients)
    @rule(
        data=st.data(),
        function=st.sampled_from(FUNCTIONS),
        unique=st.sampled_from(UNIQUES),
        priority=st.sampled_from(sorted(PRIORITIES)),
        is_background=st.booleans(),
    )
    def submit(self, data: st.DataObject, function: bytes, unique: bytes, priority: str, is_background: bool) -> None:
        client = data.draw(st.sampled_from(self.clients))
        handle = client.submit(function, b"w", unique, f"SUBMIT_JOB{priority}{'_BG' if is_background else ''}")
        job = self.created(handle, function, unique, PRIORITIES[priority])
        if is_background:
            job.is_background = True
        else:
            job.listeners.append(client)

    @precondition(lambda self: self.clients)
    @rule(
        data=st.data(),
        function=st.sampled_from(FUNCTIONS),
        unique=st.sampled_from(UNIQUES),
        seconds=st.integers(min_value=-5, max_value=20),
    )
    def submit_for_later(self, data: st.DataObject, function: bytes, unique: bytes, seconds: float) -> None:
        client = data.draw(st.sampled_from(self.clients))
        run_at = int(self.harness.unix_time) + seconds
        [(_, handle)] = client.ask(PacketType.SUBMIT_JOB_EPOCH, function, unique, b"%d" % run_at, b"w")
        self.created(handle, function, unique, 1, run_at).is_background = True

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        client.leave()
        for job in self.jobs.values():
            job.listeners = [listener for listener in job.listeners if listener is not client]
        self.forget_unwanted()

    # --- workers

    @rule(functions=st.sets(st.sampled_from(FUNCTIONS), min_size=1))
    def worker_comes(self, functions: Set[bytes]) -> None:
        self.worker_comes_for(functions)

    def worker_comes_for(self, functions: Set[bytes]) -> None:
        self.workers[self.harness.worker(*sorted(functions))] = set(functions)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def grab(self, data: st.DataObject) -> None:
        self.have_grab(self.any_worker(data))

    def have_grab(self, worker: Peer) -> None:
        self.sleepers.discard(worker)
        handle = worker.grab()
        runnable = self.runnable(self.workers[worker])
        if handle is None:
            assert runnable == []
            return
        job = self.jobs[handle]
        assert job in runnable
        best = min(other.priority for other in runnable)
        assert job.priority == best
        same_queue = [other for other in runnable if (other.priority, other.function) == (best, job.function)]
        assert job.order == min(other.order for other in same_queue)
        job.worker = worker
        self.starts[job.function].append(self.harness.now)
        if job.function in TIMEOUT_S:
            job.deadline = self.harness.now + TIMEOUT_S[job.function] + TIMEOUT_GRACE_S

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def sleep(self, data: st.DataObject) -> None:
        self.put_to_sleep(self.any_worker(data))

    def put_to_sleep(self, worker: Peer) -> None:
        if self.runnable(self.workers[worker]):
            assert worker.ask(PacketType.PRE_SLEEP) == [(PacketType.NOOP, b"")]
            self.sleepers.discard(worker)
        else:
            assert worker.ask(PacketType.PRE_SLEEP) == []
            self.sleepers.add(worker)

    @precondition(some_job_runs)
    @rule(data=st.data(), how=st.sampled_from(["WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION"]))
    def end(self, data: st.DataObject, how: str) -> None:
        self.have_end(*self.running(data), how)

    def have_end(self, handle: bytes, job: ModelJob, how: str) -> None:
        result = [] if how == "WORK_FAIL" else [b"r"]
        assert job.worker is not None
        assert job.worker.ask(PacketType[how], handle, *result) == []
        if how == "WORK_COMPLETE":
            self.expect(job, (PacketType.WORK_COMPLETE, handle + b"\0r"))
            self.results.keep(handle, job, b"complete", b"r")
            del self.jobs[handle]
        else:
            self.failed(handle, job, *((b"failed",) if how == "WORK_FAIL" else (b"exception", b"r")))

    @precondition(some_job_runs)
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        self.have_report(*self.running(data))

    def have_report(self, handle: bytes, job: ModelJob) -> None:
        assert job.worker is not None
        job.worker.send(PacketType.WORK_DATA, handle, b"d")
        data = (PacketType.WORK_DATA, handle + b"\0d")
        self.expect(job, data)
        self.results.report(handle, job, data)

    @precondition(lambda self: self.workers)
    @rule(
        data=st.data(),
        reports=st.integers(min_value=0, max_value=2),
        how=st.sampled_from(["WORK_COMPLETE", "WORK_FAIL", "WORK_EXCEPTION", "a death"]),
    )
    def attempt(self, data: st.DataObject, reports: int, how: str) -> None:
        """All steps of a worker with a job; histories of single steps hardly ever reach a last attempt."""
        worker = self.any_worker(data)
        self.have_grab(worker)
        for handle, job in [(handle, job) for handle, job in self.jobs.items() if job.worker is worker][-1:]:
            for _ in range(reports):
                self.have_report(handle, job)
            if how == "a death":
                self.have_die(worker)
                self.worker_comes_for(set(FUNCTIONS))
            else:
                self.have_end(handle, job, how)

    @precondition(some_job_runs)
    @rule(data=st.data())
    def a_stranger_answers(self, data: st.DataObject) -> None:
        [(packet_type, _)] = self.operator.ask(PacketType.WORK_COMPLETE, self.running(data)[0], b"forged")
        assert packet_type == PacketType.ERROR

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        self.have_die(self.any_worker(data))

    def have_die(self, worker: Peer) -> None:
        functions = self.workers.pop(worker)
        self.sleepers.discard(worker)
        worker.leave()
        self.lost(worker, functions, has_left=True)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), function=st.sampled_from(FUNCTIONS))
    def worker_gives_up(self, data: st.DataObject, function: bytes) -> None:
        worker = self.any_worker(data)
        self.workers[worker].discard(function)
        assert worker.ask(PacketType.CANT_DO, function) == []
        self.lost(worker, {function}, has_left=False)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), function=st.sampled_from(FUNCTIONS))
    def worker_learns(self, data: st.DataObject, function: bytes) -> None:
        worker = self.any_worker(data)
        self.workers[worker].add(function)
        assert worker.ask(PacketType.CAN_DO, function) == []
        self.put_to_sleep(worker)  # CAN_DO itself wakes no worker for jobs that wait already

    # --- from outside

    @rule(seconds=st.sampled_from([0.01, 1, 3, 8]))
    def time_passes(self, seconds: float) -> None:
        self.harness.advance(seconds)
        self.harness.advance(0)
        for handle, job in list(self.jobs.items()):
            if job.deadline is not None and job.deadline <= self.harness.now:
                self.failed(handle, job, b"exception", b"timeout")
        self.read_order()

    @precondition(some_job_runs)
    @rule(data=st.data())
    def supervisor_fails_a_job(self, data: st.DataObject) -> None:
        handle, job = self.running(data)
        assert self.operator.text(b"fail job " + handle + b" timeout") == b"OK\r\n"
        worker = job.worker
        assert worker is not None
        self.failed(handle, job, b"exception", b"timeout")
        self.take_noops()  # this made room for another job, and the worker may sleep beside its job
        [(packet_type, _)] = worker.ask(PacketType.WORK_COMPLETE, handle, b"late")
        assert packet_type == PacketType.ERROR

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def operator_cancels(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[handle]
        expected = b"ERR UNKNOWN_JOB\r\n" if job.is_cancelled else b"OK\r\n"
        assert self.operator.text(b"cancel job " + handle) == expected
        self.expect(job, (PacketType.WORK_FAIL, handle))
        self.results.keep(handle, job, b"failed", b"cancelled" if job.worker is None else b"cancelled while it ran")
        if job.worker is None:
            del self.jobs[handle]
        job.is_cancelled, job.listeners = True, []

    @rule(function=st.sampled_from(FUNCTIONS))
    def operator_purges(self, function: bytes) -> None:
        waiting = {h: job for h, job in self.jobs.items() if job.worker is None and job.function == function}
        assert self.operator.text(b"jobs purge function=" + function) == b"OK %d\n" % len(waiting)
        told = [client.take() for client in self.clients]
        for client, packets in zip(self.clients, told, strict=True):
            expected = [handle for handle, job in waiting.items() for one in job.listeners if one is client]
            assert sorted(packets) == sorted((PacketType.WORK_FAIL, handle) for handle in expected)
        for handle in waiting:
            self.results.keep(handle, self.jobs.pop(handle), b"failed", b"purged")

    # --- results

    @rule(data=st.data(), waits=st.booleans())
    def somebody_asks_for_a_result(self, data: st.DataObject, waits: bool) -> None:
        handle = data.draw(st.sampled_from([b"H:never:1", *sorted(self.jobs), *self.results.known]))
        self.results.ask(handle, self.jobs.get(handle), waits=waits)

    # --- dead letters

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def operator_retries_a_dead_job(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from(sorted(self.dead)))
        job = self.dead[handle]
        taken = any(
            job.unique and (other.function, other.unique) == (job.function, job.unique) and not other.is_cancelled
            for other in self.jobs.values()
        )
        assert self.operator.text(b"dead retry " + handle) == b"OK %d\n" % (not taken)
        if not taken:
            del self.dead[handle]
            self.order += 1
            self.jobs[handle] = ModelJob(job.function, job.unique, job.priority, self.order, is_background=True)

    # --- invariants

    @invariant()
    def a_noop_goes_to_sleepers_only_and_once(self) -> None:
        self.take_noops()

    @invariant()
    def nobody_sleeps_for_long_beside_work(self) -> None:
        idle = [worker for worker in self.sleepers if self.runnable(self.workers[worker])]
        if not idle or self.something_is_due_within(2 * (WAKING_S + PATIENCE_S * len(idle))):
            return
        unlimited = [worker for worker in idle if self.runnable(self.workers[worker] - RATE.keys())]
        for _ in range(10):
            self.harness.advance(WAKING_S / 10)
        self.a_noop_goes_to_sleepers_only_and_once()
        assert not any(worker in self.sleepers for worker in unlimited)
        for _ in idle:  # where jobs may start one by one, workers are woken one by one
            self.harness.advance(PATIENCE_S)
            self.a_noop_goes_to_sleepers_only_and_once()
        assert not any(worker in self.sleepers for worker in idle)

    @invariant()
    def status_agrees(self) -> None:
        for function in FUNCTIONS:
            jobs = [job for job in self.jobs.values() if job.function == function]
            running = sum(job.worker is not None for job in jobs)
            workers = sum(function in functions for functions in self.workers.values())
            assert self.harness.status(function) == (len(jobs), running, workers)

    @invariant()
    def limits_are_kept(self) -> None:
        for function, limit in MAX_RUNNING.items():
            assert sum(job.worker is not None for job in self.jobs.values() if job.function == function) <= limit
        for function, rate in RATE.items():
            recent = [start for start in self.starts[function] if self.harness.now < start + rate.per_s]
            assert len(recent) <= rate.count

    @invariant()
    def nobody_is_told_anything_else(self) -> None:
        assert all(client.session.out == [] for client in self.clients)
        assert all(asker.session.out == [] for asker in self.results.askers)

    @invariant()
    def every_background_job_that_has_ended_has_one_result_until_its_time_is_over(self) -> None:
        self.results.compare()

    @invariant()
    def indexes_agree(self) -> None:
        broker = self.harness.broker
        assert broker.table.jobs.keys() == self.jobs.keys()
        assert broker.dead_letters.by_handle.keys() == self.dead.keys()
        for function in broker.functions.by_name.values():
            keyed = {job.handle for key in UNIQUES if (job := broker.table.find_by_key(function, key)) is not None}
            assert keyed == {
                handle
                for handle, job in self.jobs.items()
                if job.function == function.name and job.unique and not job.is_cancelled
            }
            assert all(len(queue) <= 2 * queue.waiting + 1 for queue in function.queues)

    def teardown(self) -> None:
        """In the end, every listener to the queues has been told their state."""
        if not hasattr(self, "harness"):
            return
        self.harness.advance(0.001)
        self.harness.advance(WAKING_S)
        for _, body in self.watcher.take():
            name, _, numbers = body.partition(b"\0")
            self.told[name] = numbers
        for name, function in self.harness.broker.functions.by_name.items():
            counts = (function.startable(self.harness.now), function.running, len(function.workers), function.waiting)
            expected = b"\0".join(b"%d" % count for count in counts)
            assert self.told[name] == expected


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("few_functions", "histories"),
    [
        pytest.param(FEW_FUNCTIONS, 800, id="few functions"),
        pytest.param(1, 300, id="very many functions", marks=pytest.mark.pure_core),
    ],
)
def test_the_broker_keeps_every_promise_in_random_histories(
    make_broker: Callable[..., BrokerHarness], monkeypatch: pytest.MonkeyPatch, few_functions: int, histories: int
) -> None:
    """Once more with workers whose two functions count as very many."""
    monkeypatch.setattr(wake_up, "FEW_FUNCTIONS", few_functions)
    BrokerHistory.new_broker = make_broker
    case = BrokerHistory.TestCase
    case.settings = settings(
        max_examples=histories,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()
