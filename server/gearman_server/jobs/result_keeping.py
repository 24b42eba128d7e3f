"""Keeps what becomes of background jobs, where their function has `keep_result`, and tells those who ask. Pure.

What a worker reports on the way is recorded beside the job; at the job's end it becomes a `KeptResult`. GET_RESULT is
answered at once, or when the job ends (docs/protocol-extensions.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import RESULT
from gearman_client.packet import PacketType, encode_response
from gearman_server.errors import MalformedPacketError
from gearman_server.jobs.job import CANCELLED, DELAYED, QUEUED, RUNNING, Recording
from gearman_server.jobs.kept_results import Ending, KeptResult, KeptResults
from gearman_server.jobs.replies import forwarded
from gearman_server.jobs.result_waits import ResultWaits, Wait

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.session import Session

_NOTHING: Final = b"0"
_MAX_NUMBER_BYTES: Final = 40
#: What is longer was not meant; clients that wait for ever send nothing.
_MAX_WAIT_DIGITS: Final = 12
_STATES: Final = {QUEUED: b"waiting", DELAYED: b"delayed", RUNNING: b"running"}


class ResultKeeping:
    """Whoever ends a job, or hears of it on the way, tells this, where `Function.keep_result_s` is not None."""

    def __init__(self, kept: KeptResults, jobs: Mapping[bytes, Job], agenda: Agenda, touched: set[Session]) -> None:
        """Sessions for which packets are left are added to `touched`."""
        self.kept = kept
        self._jobs = jobs
        self._agenda = agenda
        self._touched = touched
        self._waits = ResultWaits(agenda, self._time_out)

    # --- what workers say

    def report(self, job: Job, packet: bytes) -> None:
        """The job's worker sent data or a warning."""
        self.pass_on(job, packet)
        if not job.background:
            return
        extras = job.with_extras()
        recording = extras.recording = extras.recording or Recording()
        if recording.lost_bytes or recording.size_bytes + len(packet) > self.kept.bounds.max_report_bytes:
            recording.lost_bytes += len(packet)
        else:
            recording.packets.append(packet)
            recording.size_bytes += len(packet)

    def pass_on(self, job: Job, packet: bytes) -> None:
        """Something of a running job for those who wait for its result."""
        for session in self._waits.sessions(job.handle):
            session.reply(packet)
            self._touched.add(session)

    def end(self, job: Job, ending: Ending, content: bytes = b"") -> None:
        """The job is over, for good."""
        result = None
        keep_s = job.function.keep_result_s
        if job.background and job.state is not CANCELLED and keep_s is not None:
            result = self.kept.put(self._result(job, ending, content, keep_s), self._agenda.now)
        for session in self._waits.end(job.handle):
            session.reply(_answer(job.handle, b"unknown") if result is None else _final(result))
            self._touched.add(session)

    def _result(self, job: Job, ending: Ending, content: bytes, keep_s: float) -> KeptResult:
        recording = job.rare.recording or Recording()
        numerator, denominator = (_short(part) for part in job.rare.progress or (_NOTHING, _NOTHING))
        ended_at = self._agenda.unix_time()
        return KeptResult(
            handle=job.handle,
            function=job.function.name,
            ending=ending,
            content=content,
            reports=b"".join(recording.packets),
            lost_bytes=recording.lost_bytes,
            numerator=numerator,
            denominator=denominator,
            ended_at=ended_at,
            expires_at=ended_at + keep_s,
        )

    # --- who asks

    def get(self, session: Session, body: bytes, now: float) -> None:
        """GET_RESULT: handle, and how many milliseconds to wait (empty: as long as it takes)."""
        handle, part, digits = body.partition(b"\0")
        if not part or (digits and not (digits.isdigit() and len(digits) <= _MAX_WAIT_DIGITS)):
            raise MalformedPacketError("GET_RESULT takes a handle and milliseconds, or nothing for any time")
        job = self.unfinished(handle)
        if job is None:
            self._answer_now(session, handle)
        elif job.function.keep_result_s is None or not job.background:
            session.reply(_answer(handle, b"not-kept"))
        elif digits and not int(digits):
            session.reply(_pending(job))
        else:
            self._waits.add(session, handle, now + int(digits) / 1000 if digits else None)
            self._catch_up(session, job)

    def unfinished(self, handle: bytes) -> Job | None:
        """The job, as long as its outcome is open."""
        job = self._jobs.get(handle)
        return job if job is not None and job.state is not CANCELLED else None

    def _answer_now(self, session: Session, handle: bytes) -> None:
        result = self.kept.get(handle)
        if result is None:
            session.reply(_answer(handle, b"expired" if self.kept.has_expired(handle) else b"unknown"))
            return
        if result.reports:
            session.reply(result.reports)
        session.reply(_final(result))

    def _catch_up(self, session: Session, job: Job) -> None:
        """What those who waited from the start have heard already."""
        for packet in job.rare.recording.packets if job.rare.recording is not None else ():
            session.reply(packet)
        if job.rare.progress is not None:
            session.reply(forwarded(PacketType.WORK_STATUS, b"\0".join((job.handle, *job.rare.progress))))

    def _time_out(self, wait: Wait) -> None:
        job = self.unfinished(wait.handle)
        wait.session.reply(_answer(wait.handle, b"unknown") if job is None else _pending(job))
        self._touched.add(wait.session)

    def forget(self, session: Session) -> None:
        """The connection is gone."""
        self._waits.forget(session)

    def note_policies(self) -> None:
        """Other rules hold: for a job whose result is no longer to be kept nobody has to wait."""
        for handle in self._waits.handles:
            job = self.unfinished(handle)
            if job is not None and job.function.keep_result_s is None:
                for session in self._waits.end(handle):
                    session.reply(_answer(handle, b"not-kept"))
                    self._touched.add(session)


def _short(number: bytes) -> bytes:
    """Workers may send anything as progress; what is longer is no number."""
    return number if len(number) <= _MAX_NUMBER_BYTES else _NOTHING


def _answer(handle: bytes, state: bytes, *rest: bytes) -> bytes:
    return encode_response(RESULT, handle, state, *(rest or (_NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING, b"")))


def _pending(job: Job) -> bytes:
    numerator, denominator = job.rare.progress or (_NOTHING, _NOTHING)
    return _answer(job.handle, _STATES[job.state], numerator, denominator, _NOTHING, _NOTHING, _NOTHING, b"")


def _final(result: KeptResult) -> bytes:
    times = b"%d" % result.ended_at, b"%d" % result.expires_at
    lost = b"%d" % result.lost_bytes
    return _answer(
        result.handle, result.ending.value, result.numerator, result.denominator, *times, lost, result.content
    )
