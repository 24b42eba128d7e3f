"""The model's knowledge of a broker: jobs, batches of jobs, and results of background jobs until they expire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gearman_client.extensions import BATCH, CLOSE_BATCH, END_BATCH, GET_BATCH, GET_RESULT, OPEN_BATCH, RESULT
from gearman_client.job_pairs import encode_link
from gearman_client.packet import PacketType, encode_response
from gearman_server.jobs.policies import BrakeRule

from .broker_harness import BrokerHarness, Peer, Received


@dataclass(eq=False)
class ModelJob:
    """The model's knowledge of a job, which the broker must have too."""

    function: bytes
    unique: bytes
    priority: int
    order: int
    is_background: bool = False
    listeners: list[Peer] = field(default_factory=list)
    worker: Peer | None = None
    #: When it was last given to a worker (monotonic seconds).
    started: float = 0.0
    crashes: int = 0
    failures: int = 0
    #: Monotonic seconds before which a failed job is not tried again.
    not_before: float = 0.0
    is_cancelled: bool = False
    #: Its worker's supervisor was told to stop it.
    is_stopping: bool = False
    #: Unix seconds before which it does not run.
    run_at: float = 0.0
    #: Its own number of retries; None: its function's.
    retries: int | None = None
    #: Unix seconds after which it is not begun any more.
    expires_at: float | None = None
    #: Whether its unique key is free once it begins, and whether it has begun.
    is_unique_until_start: bool = False
    has_begun: bool = False
    #: The time at which the server ends its attempt.
    deadline: float | None = None
    #: How far it had come at its last checkpoint; empty: there was none.
    cursor: bytes = b""
    #: The data from the worker in this attempt that is kept with the result.
    reports: int = 0
    #: What its function's limits for keys go by.
    key: bytes = b""

    @property
    def has_key(self) -> bool:
        """Whether a further submission with its unique key is this job."""
        return bool(self.unique) and not self.is_over and not (self.is_unique_until_start and self.has_begun)

    @property
    def is_over(self) -> bool:
        """Whether it will not run again, whatever becomes of its attempt."""
        return self.is_cancelled or self.is_stopping

    @property
    def is_wanted(self) -> bool:
        return not self.is_over and (self.is_background or bool(self.listeners))


class ModelBrake:
    """A function's brake: when its attempts have failed, and until when it holds because of them."""

    def __init__(self, rule: BrakeRule) -> None:
        self.rule = rule
        self.failures: list[float] = []
        self.until: float | None = None

    def admits(self, running: list[ModelJob], now: float) -> bool:
        """Whether one more job may start beside the running ones of the function."""
        if self.until is None:
            return True
        return now >= self.until and sum(job.started >= self.until for job in running) < self.rule.probe

    def note_end(self, job: ModelJob, now: float, *, is_success: bool) -> None:
        """An attempt has ended."""
        if self.until is not None:
            if job.started >= self.until:
                self.failures, self.until = [], None if is_success else now + self.rule.hold_s
        elif not is_success:
            self.failures.append(now)
            if sum(now < failed + self.rule.failures.per_s for failed in self.failures) > self.rule.failures.count:
                self.failures, self.until = [], now + self.rule.hold_s

    def take_off(self) -> None:
        """An operator has resumed the function."""
        self.failures, self.until = [], None


@dataclass(eq=False)
class ModelBatch:
    """A batch of jobs: how each of its jobs has ended, None if it has not."""

    outcomes: dict[bytes, str | None] = field(default_factory=dict)
    is_closed: bool = False
    is_cancelled: bool = False

    @property
    def waiting(self) -> int:
        return list(self.outcomes.values()).count(None)

    @property
    def is_success(self) -> bool:
        return not self.is_cancelled and set(self.outcomes.values()) <= {"complete"}

    @property
    def facts(self) -> dict[str, str]:
        """What the broker has to say of it."""
        ends = list(self.outcomes.values())
        counts = {name: ends.count(name) for name in ("complete", "failed", "expired", "cancelled", "stopped")}
        state = "open" if not self.is_closed else "closed" if self.waiting else "done"
        numbers = {"jobs": len(ends), "waiting": self.waiting, "is_cancelled": int(self.is_cancelled), **counts}
        return {"state": state} | {name: str(number) for name, number in numbers.items()}


class BatchModel:
    """All batches. Their callbacks are jobs of a function that no worker has, so each stays in its queue."""

    FUNCTION = b"done"

    def __init__(self, harness: BrokerHarness) -> None:
        self._harness = harness
        self._peer = harness.peer()
        self.by_name: dict[bytes, ModelBatch] = {}

    def open(self) -> None:
        name = b"batch%d" % len(self.by_name)
        callbacks = [
            b"%b=%b" % (when, encode_link(self.FUNCTION, workload=when + b" " + name))
            for when in (b"on_complete", b"on_success", b"on_failure")
        ]
        [(packet_type, _)] = self._peer.ask(OPEN_BATCH, name, *callbacks)
        assert packet_type == BATCH
        self.by_name[name] = ModelBatch()

    @property
    def open_ones(self) -> list[bytes]:
        return [name for name, batch in self.by_name.items() if not batch.is_closed]

    def close(self, name: bytes) -> None:
        self._peer.send(CLOSE_BATCH, name)
        self._harness.do_chores()
        self.by_name[name].is_closed = True
        self._answered(name)

    def end(self, name: bytes, how: bytes) -> list[bytes]:
        """Cancel or stop a batch; the handles of those of its jobs that had not ended."""
        batch = self.by_name[name]
        if batch.facts["state"] != "done":
            batch.is_closed = batch.is_cancelled = True
        self._peer.send(END_BATCH, name, how)
        self._harness.do_chores()
        self._peer.take()  # its facts are those that `compare` asks for
        return [handle for handle, outcome in batch.outcomes.items() if outcome is None]

    def note_end(self, handle: bytes, outcome: str) -> None:
        """A job has ended. Only its first end counts: a dead one that is queued again is no part of a batch."""
        for batch in self.by_name.values():
            if handle in batch.outcomes and batch.outcomes[handle] is None:
                batch.outcomes[handle] = outcome

    def _answered(self, name: bytes) -> None:
        [(packet_type, body)] = self._peer.take()
        assert packet_type == BATCH
        told = dict(pair.decode().split("=", 1) for pair in body.split(b"\0")[1:])
        facts = self.by_name[name].facts
        assert {key: told[key] for key in facts} == facts

    def compare(self) -> None:
        """Assert that the broker says the same of each, and has submitted each callback once."""
        expected = []
        for name, batch in self.by_name.items():
            self._peer.send(GET_BATCH, name)
            self._answered(name)
            if batch.facts["state"] == "done":
                expected += [b"on_complete " + name, (b"on_success " if batch.is_success else b"on_failure ") + name]
        jobs = self._harness.broker.table.jobs.values()
        assert sorted(job.workload for job in jobs if job.function.name == self.FUNCTION) == sorted(expected)


@dataclass(frozen=True)
class ModelResult:
    """The result of a background job in the form in which a client gets it."""

    state: bytes
    content: bytes
    reports: int
    ended_at: float
    expires_at: float

    def packet(self, handle: bytes) -> Received:
        times = (b"%d" % self.ended_at, b"%d" % self.expires_at)
        return (RESULT, b"\0".join((handle, self.state, b"0", b"0", *times, b"0", self.content)))


class ResultModel:
    """The results, and the clients that wait for each."""

    def __init__(self, harness: BrokerHarness, keep_s: Mapping[bytes, float]) -> None:
        self._harness = harness
        #: By function.
        self._keep_s = keep_s
        self.kept: dict[bytes, ModelResult] = {}
        self._expired: set[bytes] = set()
        self.askers: dict[Peer, bytes] = {}

    def keep(self, handle: bytes, job: ModelJob, state: bytes, content: bytes = b"") -> None:
        """A job has ended: its result is kept once, and the clients that wait for it are told."""
        keep_s = self._keep_s.get(job.function)
        if keep_s is None or not job.is_background or job.is_cancelled:
            return
        ended_at = self._harness.unix_time
        self.kept[handle] = ModelResult(state, content, job.reports, ended_at, ended_at + keep_s)
        for asker in [asker for asker, wanted in self.askers.items() if wanted == handle]:
            del self.askers[asker]
            assert asker.take() == [self.kept[handle].packet(handle)]

    def report(self, handle: bytes, job: ModelJob, data: Received) -> None:
        """A worker has sent data."""
        job.reports += job.is_background
        for asker, wanted in self.askers.items():
            assert asker.take() == ([data] if wanted == handle else [])

    def ask(self, handle: bytes, job: ModelJob | None, *, waits: bool) -> None:
        """A client asks for a result, perhaps to wait until the job ends; `job` is the model's job, if there is one."""
        asker = self._harness.peer()
        told = asker.ask(GET_RESULT, handle, b"" if waits else b"0")
        reports = [(PacketType.WORK_DATA, handle + b"\0d")]
        if job is None or job.is_cancelled:
            result = self._current.get(handle)
            if result is None:
                state = b"expired" if handle in self._expired | self.kept.keys() else b"unknown"
                assert [body.split(b"\0")[1] for _, body in told] == [state]
            else:
                assert told == [*(reports * result.reports), result.packet(handle)]
        elif job.function not in self._keep_s or not job.is_background:
            assert [body.split(b"\0")[1] for _, body in told] == [b"not-kept"]
        elif waits:
            assert told == reports * job.reports
            self.askers[asker] = handle
        else:
            [(_, body)] = told
            assert body.split(b"\0")[1] in ([b"running"] if job.worker else [b"waiting", b"delayed"])

    @property
    def known(self) -> list[bytes]:
        """The handles of all present and past jobs."""
        return sorted(self._expired | self.kept.keys())

    @property
    def _current(self) -> dict[bytes, ModelResult]:
        now = self._harness.unix_time
        return {handle: result for handle, result in self.kept.items() if result.expires_at > now}

    def compare(self) -> None:
        """Assert that the broker has the same results."""
        gone = self.kept.keys() - self._current.keys()
        self._expired = (self._expired | gone) - self._current.keys()
        self.kept = self._current
        by_handle = self._harness.broker.results.kept.by_handle
        now = self._harness.unix_time
        results = {handle: result for handle, result in by_handle.items() if result.expires_at > now}
        assert results.keys() == self.kept.keys()
        for handle, result in results.items():
            model = self.kept[handle]
            assert (result.ending.value, result.content) == (model.state, model.content)
            assert (result.ended_at, result.expires_at) == (model.ended_at, model.expires_at)
            assert result.reports == encode_response(PacketType.WORK_DATA, handle, b"d") * model.reports
