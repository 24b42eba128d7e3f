"""One function whose jobs have keys, with the room `keys` and no broker: jobs are taken as a worker would get them."""

from __future__ import annotations

from collections.abc import Iterable

from gearman_server.jobs.agenda import Agenda
from gearman_server.jobs.events import EventStream
from gearman_server.jobs.function import Function
from gearman_server.jobs.functions import Functions
from gearman_server.jobs.job import ASSIGN, END, ENQUEUE, NORMAL, Job
from gearman_server.jobs.policies import FunctionPolicy, KeyPolicy, Policies
from gearman_server.jobs.wake_up import WakeUp
from gearman_server.keys.key_rules import KeyRules

#: Long after the monotonic clock began.
START = 1_000_000.0


class FakeWorker:
    """The jobs that workers have, as a session holds them."""

    def __init__(self) -> None:
        self.assigned: dict[bytes, Job] = {}


class KeyedFunction:
    """The function, and the jobs that were taken from it."""

    def __init__(self, policy: FunctionPolicy) -> None:
        self.agenda = Agenda(lambda: 0.0)
        self.agenda.now = START
        self.worker = FakeWorker()
        functions = Functions(Policies(), self.agenda, EventStream())
        wake_up = WakeUp(self.agenda, set(), 0)
        self.rules = KeyRules(functions, [self.worker], wake_up, self.agenda)  # type: ignore[list-item]
        self.function = Function(b"f", policy)
        self.rules.arrange(self.function)
        self.submitted = 0

    @property
    def now(self) -> float:
        return self.agenda.now

    @property
    def running(self) -> list[Job]:
        return list(self.worker.assigned.values())

    def use(self, policy: FunctionPolicy) -> None:
        self.function.use_policy(policy)
        self.rules.arrange(self.function)

    def submit(self, key: bytes = b"", priority: int = NORMAL) -> Job:
        self.submitted += 1
        job = Job(b"H:%d" % self.submitted, self.function, b"", b"w", priority, self.now)
        if key:
            job.with_extras().key = key
        self.function.queues[priority].append(job)
        return job

    def submit_each(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.submit(key)

    def take(self) -> Job | None:
        """The job that a worker of the function gets."""
        function = self.function
        for queue in function.queues:
            if queue and (function.throttle is None or function.throttle.admits(function.running, self.now)):
                job = queue.take()
                if job is not None:
                    job.state = ASSIGN[job.state]
                    self.worker.assigned[job.handle] = job
                    function.running += 1
                    if function.throttle is not None and function.throttle.counts_starts:
                        function.throttle.note_start(self.now)
                    job.since = self.now
                    return job
        return None

    def take_key(self) -> bytes | None:
        """The key of the job that a worker gets, which then ends at once."""
        job = self.take()
        if job is None:
            return None
        self.end(job)
        return job.key

    def end(self, job: Job) -> None:
        self._release(job)
        job.state = END[job.state]

    def put_back(self, job: Job) -> None:
        """At the head, as if it had never been given out."""
        given_at = job.since
        self._release(job)
        if self.function.throttle is not None:
            self.function.throttle.forget_start(job.key, given_at)
        job.state = ENQUEUE[job.state]
        self.function.queues[job.priority].appendleft(job)

    def _release(self, job: Job) -> None:
        del self.worker.assigned[job.handle]
        self.function.running -= 1
        job.end_limits()

    def cancel(self, job: Job) -> None:
        """A waiting one."""
        job.state = END[job.state]
        self.function.queues[job.priority].bury(job)

    def advance(self, seconds: float) -> None:
        self.agenda.now += seconds
        self.agenda.run_due(self.now)

    def do_chores(self) -> None:
        while self.agenda.chores:
            self.agenda.chores.step()


def keyed(policy: KeyPolicy) -> KeyedFunction:
    return KeyedFunction(FunctionPolicy(keys=policy))
