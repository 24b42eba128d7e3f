"""The job server in this process: jobs by handle and by unique id, and the rules by which they run and end.

Jobs run in the thread that asks for it: that of a client which waits for the result, or the test's own. Only what is
kept about jobs is guarded by the lock, so that other threads go on while one runs a job.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

from gearman_client.address import Address
from gearman_client.client.client import Client
from gearman_client.client.submission import Priority
from gearman_client.packet import PacketType
from gearman_client.testing.attempt import MAX_ATTEMPTS, Outcome, run_attempt
from gearman_client.testing.functions import EagerFunction
from gearman_client.testing.sequels import Refused, Sequels
from gearman_client.testing.submitted_job import JobOutcome, Listener, SubmittedJob

#: A loop of jobs that submit jobs would never end.
MAX_JOBS_AT_ONCE: Final = 100_000
_ORDER: Final[dict[Priority, int]] = {"high": 0, "normal": 1, "low": 2}
_REPORTS: Final = {PacketType.WORK_DATA: "data", PacketType.WORK_WARNING: "warnings"}


class Broker:
    """The jobs and functions of one eager server."""

    def __init__(self) -> None:
        self.functions: dict[str, EagerFunction] = {}
        #: Every job since the start or the last `forget`, in the order of submission.
        self.jobs: list[SubmittedJob] = []
        self.at_once = False
        self.lock = threading.RLock()
        #: Those that the server would know, by handle; those that have not ended, by key if they have a unique id.
        self._known: dict[str, SubmittedJob] = {}
        self._by_key: dict[tuple[str, str, bytes], SubmittedJob] = {}
        #: The number of jobs that have not begun, by function.
        self._waiting: Counter[str] = Counter()
        #: Jobs by their function and the name of their submission.
        self._submissions: dict[tuple[str, str], SubmittedJob] = {}
        self._expired: set[str] = set()
        self._client: Client | None = None
        self._number = 0
        self._clock_offset_s = 0.0
        self.sequels = Sequels(self._submit_following, lambda: self.now)

    @property
    def now(self) -> float:
        """The server's clock in Unix seconds."""
        return time.time() + self._clock_offset_s

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        self._clock_offset_s += seconds

    def forget(self) -> None:
        """Forget all jobs."""
        with self.lock:
            self.jobs.clear()
            self._known.clear()
            self._by_key.clear()
            self._waiting.clear()
            self._submissions.clear()
            self._expired.clear()
            self.sequels.clear()

    # --- submitting

    def submit(self, job: SubmittedJob) -> tuple[SubmittedJob, bool]:
        """Take a submission, or let it join an equal job that has not ended. Returns the job, and whether it is new.

        Raises:
            Refused: nobody can run it while its client waits, its queue is full, or its batch is closed.
        """
        with self.lock:
            equal = self._same_submission(job) or self._equal(job)
            if equal is not None:
                equal.submissions += 1
                self._know_submission(job, equal)
                equal.background |= job.background
                if job.option("replace") and job.background and not equal.has_ended and equal.state != "running":
                    equal.workload, equal.run_at = job.workload, job.run_at
                return equal, False
            function = self.functions.get(job.function)
            if function is None and not job.background:
                raise Refused("NO_SUCH_FUNCTION", _unknown(job.function, self.functions))
            limit = 0 if function is None else function.policy.max_queue
            if limit and self._waiting[job.function] >= limit:
                raise Refused("QUEUE_ERROR", "Job queue is full")
            self.sequels.check(job)
            self.sequels.added(job)
            self._enter(job)
            return job, True

    def _enter(self, job: SubmittedJob) -> None:
        self._number += 1
        job.handle = f"H:eager:{self._number}"
        job.state = "delayed" if job.run_at > self.now else "waiting"
        self.jobs.append(job)
        self._known[job.handle] = job
        self._waiting[job.function] += 1
        if job.unique:
            self._by_key[job.key] = job
        self._know_submission(job, job)

    def _know_submission(self, job: SubmittedJob, became: SubmittedJob) -> None:
        name = job.option("submission")
        if name is not None:
            self._submissions[job.function, name] = became

    def _submit_following(self, job: SubmittedJob) -> bool:
        """Take a job that follows others: it is never refused. Returns whether it is new."""
        if self._same_submission(job) is not None or self._equal(job) is not None:
            return False
        self._enter(job)
        return True

    def _same_submission(self, job: SubmittedJob) -> SubmittedJob | None:
        """The job that this submission has made before, if it has a name."""
        name = job.option("submission")
        return None if name is None else self._submissions.get((job.function, name))

    def _equal(self, job: SubmittedJob) -> SubmittedJob | None:
        other = self._by_key.get(job.key)
        if other is not None and other.has_ended:
            if self.now >= other.ended_at + other.option_s("unique_for", 0.0):
                del self._by_key[job.key]
                return None
            if not job.background:
                raise Refused("DUPLICATE", "a job with this unique key has ended lately")
        if other is None or job.background or other.state != "running" or other.thread != threading.get_ident():
            return other
        raise Refused("DEADLOCK", f"{job.function} waits for the job {other.handle}, which is itself")

    # --- ending jobs that are not wanted any more

    def stop(self, handle: str) -> bytes:
        """Cancel a job that waits, or have one that runs stopped; returns the word of STOP_JOB."""
        with self.lock:
            job = self.job(handle)
            if job is None or job.has_ended:
                return b"unknown"
            if job.state == "running":
                job.is_stopping = True
                return b"stopping"
            self._cancel(job)
            return b"cancelled"

    def end_batch(self, name: bytes, *, stops: bool) -> list[bytes]:
        """Close a batch, and cancel its jobs that wait. Those that run are stopped, or go on."""
        pairs = self.sequels.close(name, is_cancelled=True)
        for job in [job for job in self._known.values() if job.option("batch") == name.decode()]:
            if job.state == "running":
                job.is_stopping |= stops
            elif not job.has_ended:
                self._cancel(job)
        return self.sequels.get(name) if pairs != [b"state=unknown"] else pairs

    def _cancel(self, job: SubmittedJob) -> None:
        self._waiting[job.function] -= 1
        listeners = self._note_end(job, None, Outcome("failed", b"cancelled"), "cancelled")
        for listener in listeners:
            listener.ended(job)

    # --- asking

    def job(self, handle: str) -> SubmittedJob | None:
        """The job that a server would know by this handle: one that has not ended, or whose result is kept."""
        with self.lock:
            job = self._known.get(handle)
            if job is not None and job.has_ended and job.expires_at <= self.now:
                del self._known[handle]
                self._expired.add(handle)
                return None
            return job

    def has_expired(self, handle: str) -> bool:
        """Whether a result was kept, and is no longer."""
        return self.job(handle) is None and handle in self._expired

    def job_by_unique(self, unique: str) -> SubmittedJob | None:
        """A job that has not ended, of any function."""
        with self.lock:
            return next((job for job in self._by_key.values() if job.unique == unique), None)

    def keeps_result(self, job: SubmittedJob) -> bool:
        """Whether its function has `keep_result`."""
        function = self.functions.get(job.function)
        return job.background and function is not None and _keep_result_s(job, function) > 0

    def stop_listening(self, listener: Listener) -> None:
        """Its client is gone."""
        with self.lock:
            for job in self._known.values():
                if listener in job.listeners:
                    job.listeners.remove(listener)

    def is_due(self, job: SubmittedJob) -> bool:
        """Whether it waits, and may run now."""
        return job.state in ("waiting", "delayed") and job.run_at <= self.now

    # --- running

    def run_due(self, functions: Iterable[str] | None = None) -> list[SubmittedJob]:
        """Run all waiting jobs of registered functions whose time has come, and those that they submit.

        Raises:
            RuntimeError: it does not end.
        """
        wanted = None if functions is None else set(functions)
        done: list[SubmittedJob] = []
        while due := self._due(wanted):
            if len(done) >= MAX_JOBS_AT_ONCE:
                raise RuntimeError(f"after {len(done)} jobs others still wait: do they submit one another?")
            done += [job for job in due if self.run(job)]
        return done

    def _due(self, wanted: set[str] | None) -> list[SubmittedJob]:
        """The waiting jobs in their order."""
        with self.lock:
            due = [
                job
                for job in self._known.values()
                if job.function in self.functions and (wanted is None or job.function in wanted) and self.is_due(job)
            ]
        return sorted(due, key=lambda job: _ORDER[job.priority])

    def run(self, job: SubmittedJob) -> bool:
        """Run a job that waits, with all its attempts. Returns False if another thread was faster."""
        with self.lock:
            if job.state not in ("waiting", "delayed"):
                return False
            job.state, job.thread = "running", threading.get_ident()
            self._waiting[job.function] -= 1
            if job.option("unique_until") == "start" and self._by_key.get(job.key) is job:
                del self._by_key[job.key]
        function = self.functions[job.function]
        outcome = Outcome("lost")
        try:
            outcome = self._attempts(job, function)
        finally:  # also when a test or the process ends in the middle
            self._end(job, function, outcome)
        if self.at_once:
            self.run_due()  # what follows it
        return True

    def _attempts(self, job: SubmittedJob, function: EagerFunction) -> Outcome:
        while True:
            if job.not_after <= self.now:
                return Outcome("failed", b"expired: the job was not worth running any more", verdict="expire")
            job.attempts += 1
            job.data, job.warnings, job.progress = [], [], (0, 0)
            outcome = run_attempt(
                job, function, lambda kind, arguments: self._report(job, kind, arguments), self._client_of_jobs
            )
            if outcome.verdict == "throttle":
                job.attempts -= 1
                job.throttled += 1
            if not _tries_again(job, function, outcome):
                return outcome

    def _client_of_jobs(self) -> Client:
        if self._client is None:
            self._client = Client(Address())
        return self._client

    def close(self) -> None:
        """Let the functions end."""
        for function in self.functions.values():
            if function.teardown is not None:
                function.teardown()
        self.functions.clear()
        if self._client is not None:
            self._client.close()

    def _report(self, job: SubmittedJob, packet_type: int, arguments: list[bytes]) -> None:
        if packet_type == PacketType.WORK_STATUS:
            numerator, denominator = (int(text) if text.isdigit() else 0 for text in arguments)
            job.progress = numerator, denominator
        else:
            getattr(job, _REPORTS[PacketType(packet_type)]).append(arguments[0])
        self._tell(job, packet_type, *arguments)

    def _tell(self, job: SubmittedJob, packet_type: int, *arguments: bytes) -> None:
        with self.lock:
            hearing = [*job.listeners, *job.waiters]
        for listener in hearing:
            listener.tell(packet_type, job.handle_bytes, *arguments)

    def _end(self, job: SubmittedJob, function: EagerFunction, outcome: Outcome) -> None:
        with self.lock:
            if job.is_stopping:
                outcome = Outcome("failed", b"stopped", outcome.error)
            listeners = self._note_end(job, function, outcome, _kind(job, outcome))
        for listener in listeners:
            listener.ended(job)

    def _note_end(
        self, job: SubmittedJob, function: EagerFunction | None, outcome: Outcome, kind: JobOutcome
    ) -> list[Listener]:
        """Note how the job has ended, and let follow what follows. Returns those that wait for it."""
        job.state = "failed" if outcome.state == "lost" else outcome.state
        job.outcome = kind
        job.error = outcome.error
        job.ended_at = self.now
        if job.state == "complete":
            job.result = outcome.content
        else:
            job.reason = outcome.content or (b"the worker was lost" if outcome.state == "lost" else b"")
        is_withdrawn = kind in ("cancelled", "stopped")
        if self._by_key.get(job.key) is job and (is_withdrawn or not job.option("unique_for")):
            del self._by_key[job.key]
        if function is not None and self.keeps_result(job):
            job.expires_at = job.ended_at + _keep_result_s(job, function)
        else:
            self._known.pop(job.handle, None)
        waiting = [*job.listeners, *job.waiters]
        job.listeners, job.waiters = [], []
        self.sequels.ended(job)
        return waiting


def _kind(job: SubmittedJob, outcome: Outcome) -> JobOutcome:
    if job.is_stopping:
        return "stopped"
    if outcome.verdict == "expire":
        return "expired"
    return "complete" if outcome.state == "complete" else "failed"


def _tries_again(job: SubmittedJob, function: EagerFunction, outcome: Outcome) -> bool:
    """The rules of the job server: docs/configuration.md, `retries` and `crash_retries`."""
    if outcome.state == "complete" or outcome.verdict == "reject" or job.is_stopping:
        return False
    if job.attempts + job.throttled >= MAX_ATTEMPTS:
        return False
    if outcome.verdict == "throttle":
        return True
    if outcome.state == "lost":
        job.losses += 1
        return job.losses <= function.policy.crash_retries
    if outcome.verdict == "retry" and (outcome.most_attempts is None or job.attempts < outcome.most_attempts):
        return True
    job.failures += 1
    return job.failures <= int(job.option("retries") or function.policy.retries)


def _keep_result_s(job: SubmittedJob, function: EagerFunction) -> float:
    return job.option_s("keep_result", function.policy.keep_result_s)


def _unknown(name: str, functions: Iterable[str]) -> str:
    known = ", ".join(sorted(functions)) or "none"
    return f"no function {name} is registered in this test, register it with register({name!r}, …); there are: {known}"
