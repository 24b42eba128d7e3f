"""The broker against a simple model, by random histories: no job is lost, run twice at once, or answered twice."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from gearman_client.extensions import CHECKPOINT, SUBMIT_JOB_WITH, WORK_FAILURE
from gearman_client.packet import PacketType
from gearman_server.jobs import wake_up
from gearman_server.jobs.policies import TIMEOUT_GRACE_S
from gearman_server.jobs.wake_up import FEW_FUNCTIONS, PATIENCE_S
from gearman_server.options.job_options import cut_cursor

from .broker_harness import BrokerHarness, Peer
from .broker_history import (
    FUNCTIONS,
    LIMITED,
    MAX_OF_KEY,
    MAX_RUNNING,
    PRIORITIES,
    RATE,
    TIMEOUT_S,
    UNIQUES,
    WAKING_S,
    KnownHistory,
)
from .broker_model import BatchModel, ModelJob


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
    @rule(
        data=st.data(),
        function=st.sampled_from(FUNCTIONS),
        unique=st.sampled_from(UNIQUES),
        is_background=st.booleans(),
        options=st.fixed_dictionaries(
            {},
            optional={
                b"retries": st.sampled_from([0, 1]),
                b"delay": st.just(1500),
                b"expires_in": st.sampled_from([2000, 6250]),
                b"unique_until": st.just("start"),
                b"key": st.sampled_from(["a", "b"]),
            },
        ),
    )
    def submit_with_options(
        self, data: st.DataObject, function: bytes, unique: bytes, is_background: bool, options: dict[bytes, Any]
    ) -> None:
        if not unique:
            options.pop(b"unique_until", None)
        client = data.draw(st.sampled_from(self.clients))
        pairs = [b"%s=%s" % (key, str(value).encode()) for key, value in options.items()]
        [(_, handle)] = client.ask(
            SUBMIT_JOB_WITH, function, unique, b"background=%d" % is_background, *pairs, b"", b"w"
        )
        is_new, unix_time = handle not in self.jobs, self.harness.unix_time
        job = self.created(handle, function, unique, 1, unix_time + options.get(b"delay", 0) / 1000)
        if is_new:
            job.retries, job.is_unique_until_start = options.get(b"retries"), b"unique_until" in options
            job.expires_at = unix_time + options[b"expires_in"] / 1000 if b"expires_in" in options else None
            job.key = options.get(b"key", "").encode()
        if is_background:
            job.is_background = True
        else:
            job.listeners.append(client)

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
        job.worker, job.started, job.has_begun = worker, self.harness.now, True
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
        self.is_told_nothing(job.worker, PacketType[how], handle, *result)
        if job.is_stopping:
            self.stopped(handle)
        elif how == "WORK_COMPLETE":
            self.note_end(job, is_success=True)
            self.expect(job, (PacketType.WORK_COMPLETE, handle + b"\0r"))
            self.results.keep(handle, job, b"complete", b"r")
            self.batches.note_end(handle, "complete")
            del self.jobs[handle]
        else:
            self.failed(handle, job, *((b"failed",) if how == "WORK_FAIL" else (b"exception", b"r")))

    def is_told_nothing(self, worker: Peer, packet_type: int, *arguments: bytes) -> None:
        """The request has no answer. But a worker that sleeps beside its job may be woken for what that makes room for,
        the job itself if it goes back."""
        told = worker.ask(packet_type, *arguments)
        if told:
            assert told == [(PacketType.NOOP, b"")]
            assert worker in self.sleepers
            self.sleepers.discard(worker)

    @precondition(some_job_runs)
    @rule(data=st.data(), cursor=st.sampled_from([b"1", b"2", b""]))
    def checkpoint(self, data: st.DataObject, cursor: bytes) -> None:
        handle, job = self.running(data)
        assert job.worker is not None
        assert job.worker.ask(CHECKPOINT, handle, cursor) == []
        job.cursor = cursor

    @precondition(some_job_runs)
    @rule(data=st.data())
    def a_worker_has_to_leave(self, data: st.DataObject) -> None:
        """The job goes back to the head of its queue, and nobody hears of it."""
        handle, job = self.running(data)
        assert job.worker is not None
        self.is_told_nothing(job.worker, WORK_FAILURE, handle, b"yield", b"", b"", b"", b"")
        job.worker = job.deadline = None
        if job.is_stopping:
            self.stopped(handle)  # its result keeps what it has reported
        else:
            job.reports = 0
            job.order = min(other.order for other in self.jobs.values()) - 1
        self.forget_unwanted()

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
        self.is_told_nothing(worker, PacketType.CANT_DO, function)
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
            if job.deadline is None or job.deadline > self.harness.now:
                continue
            if job.is_stopping and job.function not in TIMEOUT_S:
                self.left_to_its_worker(handle, b"stopped")
            else:
                self.failed(handle, job, b"exception", b"timeout")
        for handle, job in list(self.jobs.items()):
            if job.worker is None:
                self.expired(handle, job)
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
        if job.is_cancelled:
            return
        self.have_cancelled(handle)

    def have_cancelled(self, handle: bytes) -> None:
        job = self.jobs[handle]
        self.left_to_its_worker(handle, b"cancelled" if job.worker is None else b"cancelled while it ran")
        if job.worker is None:
            del self.jobs[handle]

    @rule()
    def supervisor_comes(self) -> None:
        """Only for the workers' stops, of which nobody has heard before."""
        if self.supervisor is None:
            self.supervisor = self.harness.peer()
            self.supervisor.ask(PacketType.OPTION_REQ, b"job-stopping")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def operator_stops(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[handle]
        assert self.operator.text(b"stop job " + handle) == b"OK %d\n" % (not job.is_cancelled)
        self.left_to_stop(handle)

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
            self.batches.note_end(handle, "cancelled")

    @rule(function=st.sampled_from(FUNCTIONS))
    def operator_pauses(self, function: bytes) -> None:
        assert self.operator.text(b"pause function " + function) == b"OK\r\n"
        self.paused.add(function)

    @precondition(lambda self: self.paused or any(brake.until for brake in self.brakes.values()))
    @rule(data=st.data())
    def operator_resumes(self, data: st.DataObject) -> None:
        held = {function for function, brake in self.brakes.items() if brake.until}
        function = data.draw(st.sampled_from(sorted(self.paused | held)))
        assert self.operator.text(b"resume function " + function) == b"OK\r\n"
        self.paused.discard(function)
        if function in self.brakes:
            self.brakes[function].take_off()

    # --- batches of jobs

    @precondition(lambda self: len(self.batches.open_ones) < 3)
    @rule()
    def a_batch_is_opened(self) -> None:
        self.batches.open()

    @precondition(lambda self: self.clients and self.batches.open_ones)
    @rule(data=st.data(), function=st.sampled_from(FUNCTIONS), unique=st.sampled_from(UNIQUES), expires=st.booleans())
    def a_job_is_added(self, data: st.DataObject, function: bytes, unique: bytes, expires: bool) -> None:
        client = data.draw(st.sampled_from(self.clients))
        name = data.draw(st.sampled_from(self.batches.open_ones))
        pairs = [b"background=1", b"batch=" + name, *([b"expires_in=2000"] if expires else [])]
        [(_, handle)] = client.ask(SUBMIT_JOB_WITH, function, unique, *pairs, b"", b"w")
        is_new = handle not in self.jobs
        job = self.created(handle, function, unique, 1)
        job.is_background = True
        if is_new:
            job.expires_at = self.harness.unix_time + 2 if expires else None
            self.batches.by_name[name].outcomes[handle] = None

    @precondition(lambda self: self.batches.open_ones)
    @rule(data=st.data())
    def a_batch_is_closed(self, data: st.DataObject) -> None:
        self.batches.close(data.draw(st.sampled_from(self.batches.open_ones)))

    @precondition(lambda self: self.batches.by_name)
    @rule(data=st.data(), how=st.sampled_from([b"cancel", b"stop"]))
    def a_batch_is_ended(self, data: st.DataObject, how: bytes) -> None:
        for handle in self.batches.end(data.draw(st.sampled_from(sorted(self.batches.by_name))), how):
            if how == b"cancel":
                self.have_cancelled(handle)
            else:
                self.left_to_stop(handle)

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
            job.unique and other.has_key and (other.function, other.unique) == (job.function, job.unique)
            for other in self.jobs.values()
        )
        assert self.operator.text(b"dead retry " + handle) == b"OK %d\n" % (not taken)
        if not taken:
            del self.dead[handle]
            self.order += 1
            again = self.jobs[handle] = ModelJob(job.function, job.unique, job.priority, self.order, is_background=True)
            again.retries, again.is_unique_until_start = job.retries, job.is_unique_until_start
            again.cursor, again.key = job.cursor, job.key

    # --- invariants

    @invariant()
    def a_noop_goes_to_sleepers_only_and_once(self) -> None:
        self.take_noops()

    @invariant()
    def nobody_sleeps_for_long_beside_work(self) -> None:
        idle = [worker for worker in self.sleepers if self.runnable(self.workers[worker])]
        if not idle or self.something_is_due_within(2 * (WAKING_S + PATIENCE_S * len(idle))):
            return
        unlimited = [worker for worker in idle if self.runnable(self.workers[worker] - LIMITED)]
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
        for function, limit in MAX_OF_KEY.items():
            assert all(self.running_of_key(job) <= limit for job in self.jobs.values() if job.function == function)

    @invariant()
    def what_is_held_is_listed(self) -> None:
        lines = [line.split(b"\t")[:2] for line in self.operator.text(b"holds").splitlines()[:-1]]
        paused = [[function, b"paused"] for function in self.paused]
        now = self.harness.now
        held = [
            [function, b"held" if now < brake.until else b"probed"]
            for function, brake in self.brakes.items()
            if brake.until
        ]
        assert sorted(lines) == sorted(paused + held)

    @invariant()
    def nobody_is_told_anything_else(self) -> None:
        assert all(client.session.out == [] for client in self.clients)
        assert not any(self.told_clients.values())
        assert all(asker.session.out == [] for asker in self.results.askers)
        assert self.supervisor is None or self.supervisor.session.out == self.told_supervisor == []

    @invariant()
    def every_background_job_that_has_ended_has_one_result_until_its_time_is_over(self) -> None:
        self.results.compare()

    @invariant()
    def every_end_is_counted_once_and_callbacks_follow_the_last(self) -> None:
        self.batches.compare()

    @invariant()
    def nothing_of_the_way_is_lost(self) -> None:
        for handle, job in self.jobs.items():
            assert (self.harness.broker.table.jobs[handle].rare.cursor or b"") == job.cursor
        for handle, job in self.dead.items():
            letter = self.harness.broker.dead_letters.by_handle[handle]
            assert (cut_cursor(letter.options)[1] or b"") == job.cursor

    @invariant()
    def indexes_agree(self) -> None:
        broker = self.harness.broker
        callbacks = broker.functions.by_name.get(BatchModel.FUNCTION)
        others = {handle for handle, job in broker.table.jobs.items() if job.function is not callbacks}
        assert others == self.jobs.keys()
        assert broker.dead_letters.by_handle.keys() == self.dead.keys()
        for function in broker.functions.by_name.values():
            keyed = {job.handle for key in UNIQUES if (job := broker.table.find_by_key(function, key)) is not None}
            assert keyed == {
                handle for handle, job in self.jobs.items() if job.function == function.name and job.has_key
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
            brake = self.brakes.get(name)
            assert self.told[name].split(b"\0")[:4] == [b"%d" % count for count in counts]
            is_held = name in self.paused or (brake is not None and brake.until is not None)
            assert len(self.told[name].split(b"\0")) == (8 if is_held else 4)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("few_functions", "histories"),
    [
        pytest.param(FEW_FUNCTIONS, 200, id="few functions"),
        pytest.param(1, 75, id="very many functions", marks=pytest.mark.pure_core),
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
