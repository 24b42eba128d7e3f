"""Refusals of packets that the broker can't carry out, whatever they hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NoReturn

from gearman_client.extensions import ENDING_CODE, ENDING_TEXT, SUBMIT_JOBS
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.replies import error
from gearman_server.requests.submissions import take_many_apart

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session
    from gearman_server.requests.submissions import Handler

_LAST_STANDARD_TYPE: Final = 42
#: In place of a packet that can't be carried out because the store can't be asked; no packet has this type.
UNREADABLE: Final = 2**32
_NOT_READABLE: Final = error(b"QUEUE_ERROR", b"The store can't be asked for the job")


def answer_unreadable(session: Session, _body: bytes, _now: float) -> None:
    """Answer a request that the store would have to answer."""
    session.reply(_NOT_READABLE)


def refuse_type(packet_type: int) -> NoReturn:
    """Refuse a packet that has no handler.

    Raises:
        RefusedError: the protocol knows the packet.
        MalformedPacketError: it does not.
    """
    if -_LAST_STANDARD_TYPE <= packet_type < 0:
        raise RefusedError(b"INVALID_MAGIC", b"Request magic expected")
    if 0 < packet_type <= _LAST_STANDARD_TYPE:
        raise RefusedError(b"INVALID_COMMAND", b"Command not expected")
    raise MalformedPacketError(f"unknown packet type {abs(packet_type)}")


def refusals(submissions: Iterable[int]) -> dict[int, Handler]:
    """The handlers of a server that is ending, for the packets that submit jobs."""
    return dict.fromkeys(submissions, _refuse_submission) | {SUBMIT_JOBS: _refuse_many}


def _refuse_submission(_session: Session, _body: bytes, _now: float) -> NoReturn:
    """Refuse a job, because the server is ending.

    Raises:
        RefusedError: always.
    """
    raise RefusedError(ENDING_CODE, ENDING_TEXT)


def _refuse_many(session: Session, body: bytes, _now: float) -> None:
    """Refuse each job of a packet, for the same reason."""
    for _ in take_many_apart(body)[2]:
        session.reply(error(ENDING_CODE, ENDING_TEXT))
