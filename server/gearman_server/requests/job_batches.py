"""Our extension `job-batches`: a batch of jobs is opened, closed, asked for, or cancelled as a whole. Pure.

Not to be confused with the several jobs that one call of a worker is given at once (`batches.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import BATCH, CLOSE_BATCH, END_BATCH, GET_BATCH, OPEN_BATCH
from gearman_client.job_pairs import MAX_BATCH_ID_BYTES, MAX_PAIRS_BYTES, split_pairs
from gearman_client.packet import encode_response
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.batch_rows import BatchState, Outcome
from gearman_server.jobs.replies import error
from gearman_server.options.reading import read_link
from gearman_server.sequels.job_batch import CALLBACKS
from gearman_server.sequels.job_batches import CANCEL, INVALID_BATCH, STOP

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session
    from gearman_server.requests.stops import Stops
    from gearman_server.requests.submissions import Handler, Submissions
    from gearman_server.sequels.job_batch import JobBatch
    from gearman_server.sequels.job_batches import JobBatches

_NOT_WRITTEN: Final = error(b"QUEUE_ERROR", b"The batch could not be stored, try again later")
STATE_NAMES: Final = {BatchState.OPEN: b"open", BatchState.CLOSED: b"closed", BatchState.DONE: b"done"}


class JobBatchRequests:
    """Handlers of the packets about batches of jobs."""

    def __init__(self, batches: JobBatches, submissions: Submissions, stops: Stops) -> None:
        self._batches = batches
        self._life = submissions.life
        self._stops = stops
        self._allowance = submissions.allowance

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {OPEN_BATCH: self._open, CLOSE_BATCH: self._close, GET_BATCH: self._get, END_BATCH: self._end}

    def _open(self, session: Session, body: bytes, _now: float) -> None:
        name, _, callbacks = body.partition(b"\0")
        if not 1 <= len(name) <= MAX_BATCH_ID_BYTES:
            raise RefusedError(INVALID_BATCH, b"an id of 1 to %d bytes is expected" % MAX_BATCH_ID_BYTES)
        self._check(callbacks)
        if self._batches.shared is not None:
            self._batches.shared.open(session, name, callbacks)
        else:
            self._answer(session, self._batches.open(name, callbacks))

    def _check(self, callbacks: bytes) -> None:
        """Refuse callbacks that could not be submitted."""
        try:
            pairs = split_pairs(callbacks)
        except ValueError as problem:
            raise MalformedPacketError(f"OPEN_BATCH takes an id and pairs: {problem}") from None
        if len(callbacks) > MAX_PAIRS_BYTES:
            raise RefusedError(INVALID_BATCH, b"the callbacks may have %d bytes at most" % MAX_PAIRS_BYTES)
        if len({key for key, _ in pairs}) < len(pairs) or not {key for key, _ in pairs} <= set(CALLBACKS):
            raise RefusedError(INVALID_BATCH, b"each of %s is expected once at most" % b", ".join(CALLBACKS))
        for key, value in pairs:
            try:
                self._allowance.check_link(read_link(value))
            except (ValueError, RefusedError) as problem:
                raise RefusedError(INVALID_BATCH, b"%s: %s" % (key, str(problem).encode())) from None

    def _close(self, session: Session, body: bytes, _now: float) -> None:
        if self._batches.shared is not None:
            self._batches.shared.close(session, body)
            return
        batch = self._batches.by_name.get(body)
        if batch is None:
            session.reply(unknown_batch(body))
            return
        self._batches.close(batch)
        self._answer(session, batch)

    def _get(self, session: Session, body: bytes, _now: float) -> None:
        if self._batches.shared is not None:
            self._batches.shared.get(session, body)
            return
        batch = self._batches.by_name.get(body)
        session.reply(unknown_batch(body) if batch is None else batch_packet(batch, self._batches))

    def _end(self, session: Session, body: bytes, _now: float) -> None:
        name, _, how = body.partition(b"\0")
        if how not in (b"cancel", b"stop"):
            raise MalformedPacketError("END_BATCH takes an id, and cancel or stop")
        if how == b"stop" and not self._stops.may(session):
            raise RefusedError(b"NOT_ALLOWED", b"Not from this address: the operator says who may with --admin-allow")
        if self._batches.shared is not None:
            self._batches.shared.end(session, name, CANCEL if how == b"cancel" else STOP)
            return
        batch = self._batches.by_name.get(name)
        if batch is None:
            session.reply(unknown_batch(name))
            return
        end = self._life.cancel if how == b"cancel" else self._stops.stop_unasked
        self._answer(session, batch, self._batches.cancel(batch, end))

    def _answer(self, session: Session, batch: JobBatch, steps: Iterable[None] = ()) -> None:
        self._batches.answer(session, batch, lambda: batch_packet(batch, self._batches), _NOT_WRITTEN, steps)


def facts_of(batch: JobBatch, batches: JobBatches) -> dict[str, bytes]:
    """All facts about a batch, as text."""
    return {
        "state": STATE_NAMES[batch.state],
        "jobs": b"%d" % batch.total,
        "waiting": b"%d" % batch.waiting,
        **{outcome.value: b"%d" % batch.counts.get(outcome, 0) for outcome in Outcome},
        "is_cancelled": b"%d" % batch.is_cancelled,
        "is_counting": b"%d" % (batches.is_counting and batch.state is not BatchState.DONE),
        "opened": _moment(batch.opened_at),
        "closed": _moment(batch.closed_at),
        "ended": _moment(batch.ended_at),
    }


def batch_packet(batch: JobBatch, batches: JobBatches) -> bytes:
    """BATCH, the answer to all requests about batches of jobs."""
    pairs = [b"%s=%s" % (key.encode(), value) for key, value in facts_of(batch, batches).items()]
    return encode_response(BATCH, batch.name, *pairs)


def unknown_batch(name: bytes) -> bytes:
    """BATCH for an id that no batch has."""
    return encode_response(BATCH, name, b"state=unknown")


def _moment(unix_time: float | None) -> bytes:
    return b"" if unix_time is None else b"%.3f" % unix_time
