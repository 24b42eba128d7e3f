"""The knowledge about a broker in a random history, and the necessary effects of each step."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from gearman_client.extensions import JOB_STOPPING
from gearman_client.packet import PacketType
from gearman_server.ending.expiry import EXPIRED
from gearman_server.jobs.policies import (
    DEFAULT_BACKOFF_S,
    STOP_GRACE_S,
    BrakeRule,
    FunctionPolicy,
    KeyPolicy,
    Rate,
)

from .broker_harness import BrokerHarness, Peer, Received
from .broker_model import BatchModel, ModelBrake, ModelJob, ResultModel

FUNCTIONS = [b"f", b"g", b"h", b"k"]
UNIQUES = [b"", b"u", b"v"]
PRIORITIES = {"": 1, "_HIGH": 0, "_LOW": 2}
#: A job of `f` has any number of attempts after lost workers, and none after a failure. A job of `g` has one further
#: attempt after a loss and two after failures, the latter after a wait, and five seconds for each attempt.
TIMEOUT_S = {b"g": 5}
CRASH_RETRIES = {b"g": 1}
RETRIES = {b"g": 2}
BACKOFF_S = 2
#: Results of background jobs of these functions are kept for this time.
KEEP_S = {b"f": 20, b"g": 7}
#: Within this time every sleeper with work to do has been woken.
WAKING_S = 0.1
#: Of `h` two jobs may run at once, and three may start within ten seconds.
MAX_RUNNING = {b"h": 2}
RATE = {b"h": Rate(3, 10.0)}
#: After three failures within twenty seconds, no job of `g` starts for four seconds, then one does, as a probe.
BRAKE = {b"g": BrakeRule(Rate(2, 20.0), hold_s=4.0, probe=1)}
#: Of `k` one job of each key may run at once, those without a key being of one more.
MAX_OF_KEY = {b"k": 1}
#: These do not always start the jobs that wait.
LIMITED = RATE.keys() | BRAKE.keys() | MAX_OF_KEY.keys()
POLICIES = {
    b"f": FunctionPolicy(keep_result_s=KEEP_S[b"f"]),
    b"g": FunctionPolicy(
        timeout_s=TIMEOUT_S[b"g"],
        retries=RETRIES[b"g"],
        crash_retries=CRASH_RETRIES[b"g"],
        backoff_s=BACKOFF_S,
        keep_result_s=KEEP_S[b"g"],
        brake=BRAKE[b"g"],
    ),
    b"h": FunctionPolicy(max_running=MAX_RUNNING[b"h"], rate=RATE[b"h"]),
    b"k": FunctionPolicy(keys=KeyPolicy(max_running=MAX_OF_KEY[b"k"])),
}


class KnownHistory(RuleBasedStateMachine):
    """Jobs, workers and clients as the model knows them. The steps and the invariants are in the test."""

    new_broker: ClassVar[Callable[[], BrokerHarness]]  # set by the test

    @initialize()
    def start(self) -> None:
        self.harness = type(self).new_broker()
        self.harness.broker.use_policies(POLICIES)
        self.starts: dict[bytes, list[float]] = {function: [] for function in FUNCTIONS}
        self.brakes = {function: ModelBrake(rule) for function, rule in BRAKE.items()}
        self.paused: set[bytes] = set()
        self.operator = self.harness.peer()
        self.watcher = self.harness.peer()
        self.watcher.ask(PacketType.OPTION_REQ, b"queue-events")
        self.supervisor: Peer | None = None
        self.told_supervisor: list[Received] = []
        #: Whether a job has expired in the last step, perhaps at the moment at which somebody was woken for it.
        self.has_expired = False
        self.told: dict[bytes, bytes] = {}
        #: Packets that clients have got, and that are not accounted for yet.
        self.told_clients: dict[Peer, list[Received]] = {}
        self.jobs: dict[bytes, ModelJob] = {}
        self.dead: dict[bytes, ModelJob] = {}
        self.results = ResultModel(self.harness, KEEP_S)
        self.batches = BatchModel(self.harness)
        self.clients = [self.harness.peer() for _ in range(2)]
        self.workers = {self.harness.worker(*FUNCTIONS): set(FUNCTIONS) for _ in range(2)}
        self.sleepers: set[Peer] = set()
        self.order = 0

    def created(self, handle: bytes, function: bytes, unique: bytes, priority: int, run_at: float = 0.0) -> ModelJob:
        """The submitted job: a new one, or the one that has its unique key."""
        known = [
            (name, job)
            for name, job in self.jobs.items()
            if job.has_key and (job.function, job.unique) == (function, unique)
        ]
        if known:
            [(expected, job)] = known
            assert handle == expected
            return job
        assert handle not in self.jobs
        self.order += 1
        job = self.jobs[handle] = ModelJob(function, unique, priority, self.order, run_at=run_at)
        return job

    def failed(self, handle: bytes, job: ModelJob, state: bytes, reason: bytes = b"") -> None:
        """The job has another attempt after a wait, or its listeners are told of the failure."""
        if not job.is_stopping:
            self.note_end(job, is_success=False)
        job.worker = job.deadline = None
        job.failures += 1
        retries = RETRIES.get(job.function, 0) if job.retries is None else job.retries
        if job.is_stopping:
            self.stopped(handle)
        elif job.is_wanted and job.failures <= retries:
            if self.expired(handle, job):
                return
            backoff_s = BACKOFF_S if job.function in RETRIES else DEFAULT_BACKOFF_S
            job.not_before = self.harness.now + backoff_s * 2 ** (job.failures - 1)
            job.reports = 0
        else:
            self.expect(job, (PacketType.WORK_FAIL, handle))
            self.gone_for_good(handle, state, reason)

    def expired(self, handle: bytes, job: ModelJob) -> bool:
        """Whether a job that no worker has was to begin before now: its listeners are told then, and it is gone."""
        if job.expires_at is None or job.expires_at > self.harness.unix_time:
            return False
        self.has_expired = True
        self.expect(job, (PacketType.WORK_FAIL, handle))
        self.results.keep(handle, self.jobs.pop(handle), b"failed", EXPIRED.encode())
        self.batches.note_end(handle, "expired")
        return True

    def note_end(self, job: ModelJob, *, is_success: bool) -> None:
        """An attempt of the job has ended, which its function's brake may have to know."""
        if job.function in self.brakes:
            self.brakes[job.function].note_end(job, self.harness.now, is_success=is_success)

    def stopped(self, handle: bytes) -> None:
        """A job that was to be stopped is over, however its attempt ended: no further one, no dead letter."""
        job = self.jobs.pop(handle)
        self.expect(job, (PacketType.WORK_FAIL, handle))
        self.results.keep(handle, job, b"failed", b"stopped")
        self.batches.note_end(handle, "stopped")

    def left_to_its_worker(self, handle: bytes, reason: bytes) -> None:
        """A running job is over for its clients; its worker goes on for nothing."""
        job = self.jobs[handle]
        self.expect(job, (PacketType.WORK_FAIL, handle))
        self.results.keep(handle, job, b"failed", reason)
        self.batches.note_end(handle, "stopped" if reason == b"stopped" else "cancelled")
        job.is_cancelled, job.is_stopping, job.listeners = True, False, []
        if job.function not in TIMEOUT_S:
            job.deadline = None

    def gone_for_good(self, handle: bytes, state: bytes, reason: bytes) -> None:
        """A job has no further attempt: a background job that was not cancelled is kept as a dead letter."""
        job = self.jobs.pop(handle)
        self.results.keep(handle, job, state, reason)
        self.batches.note_end(handle, "failed")
        if job.is_background and not job.is_cancelled:
            self.dead[handle] = job

    def lost(self, worker: Peer, functions: Set[bytes], *, has_left: bool) -> None:
        """The worker's jobs of these functions go back to their queues, or have used up their attempts."""
        for handle, job in list(self.jobs.items()):
            if job.worker is worker and job.function in functions:
                self.requeue(handle, job, has_left=has_left)
        self.forget_unwanted()
        self.read_order()

    def requeue(self, handle: bytes, job: ModelJob, *, has_left: bool) -> None:
        if not job.is_stopping:
            self.note_end(job, is_success=False)
        job.worker = job.deadline = None
        job.crashes += 1
        if job.is_stopping:
            self.stopped(handle)
            return
        if job.crashes > CRASH_RETRIES.get(job.function, 10**9) and job.is_wanted:
            self.expect(job, (PacketType.WORK_FAIL, handle))
            reason = b"its worker's connection ended" if has_left else b"its worker gave the function up"
            reason += b", and it has had its %d attempts" % job.crashes
            self.gone_for_good(handle, b"failed", reason)
        elif job.is_wanted:
            self.expired(handle, job)
        job.reports = 0

    def left_to_stop(self, handle: bytes) -> None:
        """A job is stopped: one that waits is cancelled; the worker of a running one is told, if that is possible."""
        job = self.jobs[handle]
        if job.worker is None:
            self.left_to_its_worker(handle, b"cancelled")
            del self.jobs[handle]
        elif self.supervisor is None:
            self.left_to_its_worker(handle, b"stopped")
        elif not job.is_cancelled and not job.is_stopping:
            told = (JOB_STOPPING, b"-\x00192.0.2.1:50000\x00" + handle)
            self.told_supervisor += self.supervisor.take()
            self.told_supervisor.remove(told)
            job.is_stopping = True
            job.deadline = min(job.deadline or 1e9, self.harness.now + STOP_GRACE_S)

    def any_worker(self, data: st.DataObject) -> Peer:
        worker: Peer = data.draw(st.sampled_from(list(self.workers)))
        return worker

    def running(self, data: st.DataObject) -> tuple[bytes, ModelJob]:
        """Any running job: handle and job."""
        return data.draw(st.sampled_from([(handle, job) for handle, job in self.jobs.items() if job.worker]))

    def runnable(self, functions: Set[bytes]) -> list[ModelJob]:
        """The jobs that a worker with these functions could get."""
        admitted = {function for function in functions if self.admits(function)}
        now, unix_time = self.harness.now, self.harness.unix_time
        return [
            job
            for job in self.waiting()
            if job.function in admitted and job.run_at <= unix_time and job.not_before <= now and self.admits_key(job)
        ]

    def admits_key(self, job: ModelJob) -> bool:
        """Whether the limit for the job's key allows it to start."""
        return self.running_of_key(job) < MAX_OF_KEY.get(job.function, 10**9)

    def running_of_key(self, job: ModelJob) -> int:
        same = (other for other in self.jobs.values() if (other.function, other.key) == (job.function, job.key))
        return sum(other.worker is not None for other in same)

    def admits(self, function: bytes) -> bool:
        """Whether the limits of the function allow one more job to start."""
        running = [job for job in self.jobs.values() if job.worker is not None and job.function == function]
        rate, brake = RATE.get(function), self.brakes.get(function)
        if function in self.paused or (brake is not None and not brake.admits(running, self.harness.now)):
            return False
        return len(running) < MAX_RUNNING.get(function, 10**9) and (
            rate is None or sum(self.harness.now < start + rate.per_s for start in self.starts[function]) < rate.count
        )

    def waiting(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.worker is None]

    def forget_unwanted(self) -> None:
        """Queued jobs without a waiting client and without a promise to anyone are gone."""
        for handle, job in list(self.jobs.items()):
            if job.worker is None and not job.is_wanted:
                del self.jobs[handle]

    def read_order(self) -> None:
        """Take over the order of the waiting jobs that came to their queues together."""
        for function in self.harness.broker.functions.by_name.values():
            for queue in function.queues:
                for job in queue:
                    if job.handle in self.jobs:
                        self.order += 1
                        self.jobs[job.handle].order = self.order

    def expect(self, job: ModelJob, packet: Received) -> None:
        """Every listener got this packet, once per submission. What came with it is of other jobs: expected later."""
        for client in set(job.listeners):
            told = self.told_clients[client] = self.told_clients.get(client, []) + client.take()
            for _ in range(job.listeners.count(client)):
                told.remove(packet)

    def take_noops(self) -> None:
        for worker in self.workers:
            packets = worker.take()
            assert packets in ([], [(PacketType.NOOP, b"")])
            if packets:
                assert worker in self.sleepers
                # Of several jobs that go back together, the first may wake somebody, and the last put a brake on.
                are_held = any(self.brakes[name].until for name in self.workers[worker] & self.brakes.keys())
                is_excused = are_held or self.has_expired
                assert is_excused or self.runnable(self.workers[worker]), "woken for nothing"
                self.sleepers.discard(worker)
        self.has_expired = False

    def something_is_due_within(self, seconds: float) -> bool:
        """Whether time alone will change which jobs can run, or on which workers."""
        now, unix_time = self.harness.now, self.harness.unix_time
        times = [job.deadline for job in self.jobs.values() if job.deadline is not None]
        times += [job.not_before for job in self.jobs.values()]
        times += [start + RATE[function].per_s for function in RATE for start in self.starts[function]]
        times += [brake.until for brake in self.brakes.values() if brake.until is not None]
        times += [job.run_at - unix_time + now for job in self.jobs.values()]
        times += [job.expires_at - unix_time + now for job in self.jobs.values() if job.expires_at is not None]
        return any(now < time <= now + seconds for time in times)
