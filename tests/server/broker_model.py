"""The model's knowledge of a broker: jobs, and the result of each ended background job until it expires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gearman_client.extensions import GET_RESULT, RESULT
from gearman_client.packet import PacketType, encode_response

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
    crashes: int = 0
    failures: int = 0
    #: Monotonic seconds before which a failed job is not tried again.
    not_before: float = 0.0
    is_cancelled: bool = False
    #: Unix seconds before which it does not run.
    run_at: float = 0.0
    #: The time at which the server ends its attempt.
    deadline: float | None = None
    #: The data from the worker in this attempt that is kept with the result.
    reports: int = 0

    @property
    def is_wanted(self) -> bool:
        return not self.is_cancelled and (self.is_background or bool(self.listeners))


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
