"""The knowledge about a broker in a random history, and the necessary effects of each step."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from gearman_client.packet import PacketType
from gearman_server.jobs.policies import FunctionPolicy, Rate

from .broker_harness import BrokerHarness, Peer, Received
from .broker_model import ModelJob, ResultModel

FUNCTIONS = [b"f", b"g", b"h"]
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
POLICIES = {
    b"f": FunctionPolicy(keep_result_s=KEEP_S[b"f"]),
    b"g": FunctionPolicy(
        timeout_s=TIMEOUT_S[b"g"],
        retries=RETRIES[b"g"],
        crash_retries=CRASH_RETRIES[b"g"],
        backoff_s=BACKOFF_S,
        keep_result_s=KEEP_S[b"g"],
    ),
    b"h": FunctionPolicy(max_running=MAX_RUNNING[b"h"], rate=RATE[b"h"]),
}


class KnownHistory(RuleBasedStateMachine):
    """Jobs, workers and clients as the model knows them. The steps and the invariants are in the test."""

    new_broker: ClassVar[Callable[[], BrokerHarness]]  # set by the test

    @initialize()
    def start(self) -> None:
        self.harness = type(self).new_broker()
        self.harness.broker.use_policies(POLICIES)
        self.starts: dict[bytes, list[float]] = {function: [] for function in FUNCTIONS}
        self.operator = self.harness.peer()
        self.watcher = self.harness.peer()
        self.watcher.ask(PacketType.OPTION_REQ, b"queue-events")
        self.told: dict[bytes, bytes] = {}
        self.jobs: dict[bytes, ModelJob] = {}
        self.dead: dict[bytes, ModelJob] = {}
        self.results = ResultModel(self.harness, KEEP_S)
        self.clients = [self.harness.peer() for _ in range(2)]
        self.workers = {self.harness.worker(*FUNCTIONS): set(FUNCTIONS) for _ in range(2)}
        self.sleepers: set[Peer] = set()
        self.order = 0

    def created(self, handle: bytes, function: bytes, unique: bytes, priority: int, run_at: float = 0.0) -> ModelJob:
        """The submitted job: a new one, or the one that has its unique key."""
        known = [
            (name, job)
            for name, job in self.jobs.items()
            if unique and (job.function, job.unique) == (function, unique) and not job.is_cancelled
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
        job.worker = job.deadline = None
        job.failures += 1
        if job.is_wanted and job.failures <= RETRIES.get(job.function, 0):
            job.not_before = self.harness.now + BACKOFF_S * 2 ** (job.failures - 1)
            job.reports = 0
        else:
            self.expect(job, (PacketType.WORK_FAIL, handle))
            self.gone_for_good(handle, state, reason)

    def gone_for_good(self, handle: bytes, state: bytes, reason: bytes) -> None:
        """A job has no further attempt: a background job that was not cancelled is kept as a dead letter."""
        job = self.jobs.pop(handle)
        self.results.keep(handle, job, state, reason)
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
        job.worker = job.deadline = None
        job.crashes += 1
        if job.crashes > CRASH_RETRIES.get(job.function, 10**9) and job.is_wanted:
            self.expect(job, (PacketType.WORK_FAIL, handle))
            reason = b"its worker's connection ended" if has_left else b"its worker gave the function up"
            reason += b", and it has had its %d attempts" % job.crashes
            self.gone_for_good(handle, b"failed", reason)
        job.reports = 0

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
            if job.function in admitted and job.run_at <= unix_time and job.not_before <= now
        ]

    def admits(self, function: bytes) -> bool:
        """Whether the limits of the function allow one more job to start."""
        running = sum(job.worker is not None for job in self.jobs.values() if job.function == function)
        rate = RATE.get(function)
        return running < MAX_RUNNING.get(function, 10**9) and (
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
        """Every listener got this packet, once per submission, and nothing else."""
        for client in set(job.listeners):
            assert client.take() == [packet] * job.listeners.count(client)

    def take_noops(self) -> None:
        for worker in self.workers:
            packets = worker.take()
            assert packets in ([], [(PacketType.NOOP, b"")])
            if packets:
                assert worker in self.sleepers
                assert self.runnable(self.workers[worker]), "woken for nothing"
                self.sleepers.discard(worker)

    def something_is_due_within(self, seconds: float) -> bool:
        """Whether time alone will change which jobs can run, or on which workers."""
        now, unix_time = self.harness.now, self.harness.unix_time
        times = [job.deadline for job in self.jobs.values() if job.deadline is not None]
        times += [job.not_before for job in self.jobs.values()]
        times += [start + RATE[function].per_s for function in RATE for start in self.starts[function]]
        times += [job.run_at - unix_time + now for job in self.jobs.values()]
        return any(now < time <= now + seconds for time in times)
