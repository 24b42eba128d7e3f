"""Keeps the results of background jobs whose function has `keep_result`, and answers GET_RESULT. Pure.

A running job's data and warnings are recorded beside the job; at its end they become part of a `KeptResult`. GET_RESULT
is answered at once, or when the job ends (docs/protocol-extensions.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from gearman_client.extensions import RESULT
from gearman_client.packet import PacketType, encode_response
from gearman_server.errors import MalformedPacketError
from gearman_server.jobs.agenda import STEP
from gearman_server.jobs.job import CANCELLED, DELAYED, HELD, QUEUED, RUNNING, STOPPING, Recording
from gearman_server.jobs.kept_results import Ending, KeptResult, KeptResults
from gearman_server.jobs.replies import forwarded
from gearman_server.jobs.result_waits import ResultWaits, Wait

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.kept_results import Looked
    from gearman_server.jobs.session import Session

_NOTHING: Final = b"0"
_MAX_NUMBER_BYTES: Final = 40
#: A longer wait can't be meant; clients that wait for any time send no number.
_MAX_WAIT_DIGITS: Final = 12
_STATES: Final = {QUEUED: b"waiting", HELD: b"waiting", DELAYED: b"delayed", RUNNING: b"running", STOPPING: b"running"}


class ResultsElsewhere(Protocol):
    """Finds the results of the jobs that other servers of a cluster had (see the room `cluster`)."""

    def get(self, session: Session, handle: bytes, digits: bytes, now: float) -> None:
        """Answer GET_RESULT; `digits` are the milliseconds to wait, empty for any time."""

    def look_up(self, handle: bytes, answer: Callable[[Mapping[bytes, Looked] | None], None]) -> None:
        """Call `answer`, later, with what is known of the job by its handle; None: the store does not answer."""


class ResultKeeping:
    """Is told of the progress and the end of jobs whose `keep_result_s` is not None."""

    def __init__(self, kept: KeptResults, jobs: Mapping[bytes, Job], agenda: Agenda, touched: set[Session]) -> None:
        """Sessions for which packets are left are added to `touched`."""
        self.kept = kept
        self._jobs = jobs
        self.agenda = agenda
        self.touched = touched
        self.waits = ResultWaits(agenda, self._time_out)
        #: Knows of jobs that are not here. None: nobody else could have them.
        self.elsewhere: ResultsElsewhere | None = None
        #: How the jobs stand for which sessions wait, but that other servers have.
        self.states_elsewhere: dict[bytes, bytes] = {}

    # --- from workers

    def report(self, job: Job, packet: bytes) -> None:
        """Record data or a warning of the job's worker, and pass it on."""
        self.pass_on(job, packet)
        if not job.is_background:
            return
        extras = job.with_extras()
        recording = extras.recording = extras.recording or Recording()
        if recording.lost_bytes or recording.size_bytes + len(packet) > self.kept.bounds.max_report_bytes:
            recording.lost_bytes += len(packet)
        else:
            recording.packets.append(packet)
            recording.size_bytes += len(packet)

    def pass_on(self, job: Job, packet: bytes) -> None:
        """Send a packet of a running job to the sessions that wait for its result."""
        for session in self.waits.sessions(job.handle):
            session.reply(packet)
            self.touched.add(session)

    def end(self, job: Job, ending: Ending, content: bytes = b"") -> None:
        """Keep the result of a job that is over for good, and answer the sessions that wait for it."""
        result = None
        keep_s = job.keep_result_s
        if job.is_background and job.state is not CANCELLED and keep_s is not None:
            result = self.kept.put(self._result(job, ending, content, keep_s), self.agenda.now)
        self.end_waits(job.handle, answer_of(job.handle, b"unknown") if result is None else _final(result))

    def end_waits(self, handle: bytes, answer: bytes) -> None:
        """Answer all sessions that wait for this job."""
        for session in self.waits.end(handle):
            session.reply(answer)
            self.touched.add(session)

    def _result(self, job: Job, ending: Ending, content: bytes, keep_s: float) -> KeptResult:
        recording = job.rare.recording or Recording()
        numerator, denominator = (_short(part) for part in job.rare.progress or (_NOTHING, _NOTHING))
        ended_at = self.agenda.unix_time()
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

    # --- to clients

    def get(self, session: Session, body: bytes, now: float) -> None:
        """GET_RESULT: a handle, and the milliseconds to wait (empty: for any time)."""
        handle, part, digits = body.partition(b"\0")
        if not part or (digits and not (digits.isdigit() and len(digits) <= _MAX_WAIT_DIGITS)):
            raise MalformedPacketError("GET_RESULT takes a handle and milliseconds, or nothing for any time")
        job = self.unfinished(handle)
        if job is None and self.elsewhere is not None and not session.is_peer:
            self.elsewhere.get(session, handle, digits, now)
        elif job is None:
            self._answer_now(session, handle)
        elif job.keep_result_s is None or not job.is_background:
            session.reply(answer_of(handle, b"not-kept"))
        elif digits and not int(digits):
            session.reply(_pending(job))
        else:
            self.waits.add(session, handle, now + int(digits) / 1000 if digits else None)
            self._catch_up(session, job)

    def unfinished(self, handle: bytes) -> Job | None:
        """The job, while its outcome is open; else None."""
        job = self._jobs.get(handle)
        return job if job is not None and job.state is not CANCELLED else None

    def _answer_now(self, session: Session, handle: bytes) -> None:
        result = self.kept.get(handle)
        if result is None:
            session.reply(answer_of(handle, b"expired" if self.kept.has_expired(handle) else b"unknown"))
            return
        session.reply(final_packets(result))

    def _catch_up(self, session: Session, job: Job) -> None:
        """Send the packets that sessions which waited from the start have got already."""
        packets = job.rare.recording.packets if job.rare.recording is not None else ()
        for packet in packets:
            session.reply(packet)
        if len(packets) > STEP:
            session.yield_turn()
        if job.rare.progress is not None:
            session.reply(forwarded(PacketType.WORK_STATUS, b"\0".join((job.handle, *job.rare.progress))))

    def _time_out(self, wait: Wait) -> None:
        job = self.unfinished(wait.handle)
        state = self.states_elsewhere.get(wait.handle, b"unknown")
        wait.session.reply(answer_of(wait.handle, state) if job is None else _pending(job))
        self.touched.add(wait.session)

    def forget(self, session: Session) -> None:
        """Forget the waits of a connection that is gone."""
        self.waits.forget(session)

    def note_policies(self) -> None:
        """The rules have changed: answer sessions that wait for a result that is no longer to be kept."""
        for handle in self.waits.handles:
            job = self.unfinished(handle)
            if job is not None and job.keep_result_s is None:
                self.end_waits(handle, answer_of(handle, b"not-kept"))


def _short(number: bytes) -> bytes:
    """Progress as a worker sent it, or 0 if it is too long to be a number: workers may send anything."""
    return number if len(number) <= _MAX_NUMBER_BYTES else _NOTHING


def answer_of(handle: bytes, state: bytes, *rest: bytes) -> bytes:
    """RESULT with this state, and nothing else unless it is given."""
    return encode_response(RESULT, handle, state, *(rest or (_NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING, b"")))


def _pending(job: Job) -> bytes:
    numerator, denominator = job.rare.progress or (_NOTHING, _NOTHING)
    return answer_of(job.handle, _STATES[job.state], numerator, denominator, _NOTHING, _NOTHING, _NOTHING, b"")


def final_packets(result: KeptResult) -> bytes:
    """The packets of a kept result: its data and warnings, and RESULT."""
    return result.reports + _final(result)


def _final(result: KeptResult) -> bytes:
    times = b"%d" % result.ended_at, b"%d" % result.expires_at
    lost = b"%d" % result.lost_bytes
    return answer_of(
        result.handle, result.ending.value, result.numerator, result.denominator, *times, lost, result.content
    )
