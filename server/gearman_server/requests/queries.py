"""Requests that change no job: GET_STATUS, GET_STATUS_UNIQUE, ECHO_REQ, OPTION_REQ, ALL_YOURS. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import (
    CHECKPOINTS_OPTION,
    GET_RESULT,
    JOB_ATTEMPT_OPTION,
    JOB_BATCHES_OPTION,
    JOB_FAILURE_OPTION,
    JOB_OPTIONS_OPTION,
    JOB_RESULT_OPTION,
    SUBMIT_MANY_OPTION,
)
from gearman_client.packet import PacketType, encode_response
from gearman_server.errors import RefusedError
from gearman_server.jobs.job import Job
from gearman_server.jobs.replies import job_assign_attempt, job_assign_with

if TYPE_CHECKING:
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.result_keeping import ResultKeeping
    from gearman_server.jobs.session import Session
    from gearman_server.requests.submissions import Handler

_LEADING_DIGITS: Final = re.compile(rb"\s*\+?(\d{1,20})")
_MAX_PROGRESS: Final = 2**32 - 1
#: Options that only ask whether the server knows their packets.
_QUESTIONS: Final = (
    JOB_FAILURE_OPTION,
    JOB_RESULT_OPTION,
    JOB_BATCHES_OPTION,
    CHECKPOINTS_OPTION,
    SUBMIT_MANY_OPTION,
)
#: Options that change how the connection's jobs are assigned; the later one includes the earlier.
_ASSIGNMENTS: Final = {JOB_ATTEMPT_OPTION: job_assign_attempt, JOB_OPTIONS_OPTION: job_assign_with}


class Queries:
    """Handlers of requests that only ask, or that set options of their connection."""

    def __init__(
        self,
        table: JobTable,
        results: ResultKeeping,
        subscriptions: Mapping[bytes, Callable[[Session], None]],
    ) -> None:
        """`subscriptions`: what follows the answer to an option."""
        self._table = table
        self._results = results
        self._subscriptions = subscriptions
        #: Answers GET_STATUS for a job that is not here; None: nobody else could have it (see the room `cluster`).
        self.elsewhere: Callable[[Session, bytes], bool] | None = None

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {
            PacketType.GET_STATUS: self._get_status,
            PacketType.GET_STATUS_UNIQUE: self._get_status_unique,
            GET_RESULT: self._results.get,
            PacketType.ECHO_REQ: _echo,
            PacketType.OPTION_REQ: self._set_option,
            # gearmand answers with an ERROR, but the packet is only a promise to the server and needs no reply.
            PacketType.ALL_YOURS: _tolerate,
        }

    def _get_status(self, session: Session, body: bytes, _now: float) -> None:
        handle = body.partition(b"\0")[0]
        job = self._table.jobs.get(handle)
        if job is None and self.elsewhere is not None and self.elsewhere(session, handle):
            return
        session.reply(encode_response(PacketType.STATUS_RES, handle, *_status_arguments(job)))

    def _get_status_unique(self, session: Session, body: bytes, _now: float) -> None:
        unique = body.partition(b"\0")[0]
        job = self._table.find_by_unique(unique) if unique != b"-" else None  # the request names no function
        listeners = len(job.listeners) if job is not None else 0
        session.reply(encode_response(PacketType.STATUS_RES_UNIQUE, unique, *_status_arguments(job), b"%d" % listeners))

    def _set_option(self, session: Session, body: bytes, _now: float) -> None:
        option = body.lower()
        if option == b"exceptions":
            session.wants_exceptions = True
        elif option in _ASSIGNMENTS:
            session.assignment = _ASSIGNMENTS[option]
        elif option not in self._subscriptions and option not in _QUESTIONS:
            raise RefusedError(b"UNKNOWN_OPTION", b"Server does not recognize given option")
        session.reply(encode_response(PacketType.OPTION_RES, body))  # in the client's spelling
        if option in self._subscriptions:
            self._subscriptions[option](session)


def _status_arguments(job: Job | None) -> tuple[bytes, bytes, bytes, bytes]:
    if job is None:
        return b"0", b"0", b"0", b"0"
    running = b"0" if job.worker is None else b"1"
    numerator, denominator = job.rare.progress or (b"0", b"0")
    return b"1", running, _as_number(numerator), _as_number(denominator)


def _as_number(text: bytes) -> bytes:
    """A worker's numerator or denominator as the number that clients expect, or 0 if it is no number."""
    digits = _LEADING_DIGITS.match(text)
    return b"%d" % min(int(digits[1]), _MAX_PROGRESS) if digits else b"0"


def _echo(session: Session, body: bytes, _now: float) -> None:
    session.reply(encode_response(PacketType.ECHO_RES, body))


def _tolerate(_session: Session, _body: bytes, _now: float) -> None:
    pass
