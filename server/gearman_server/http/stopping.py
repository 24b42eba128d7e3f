"""`DELETE /jobs/HANDLE` on the port for jobs: a job ends now, also while it runs. Who may: as for STOP_JOB."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import STOP_JOB
from gearman_client.packet import PacketType
from gearman_process.http.messages import HttpAnswer, HttpRefusal, text_answer
from gearman_server.requests.stops import Answer

if TYPE_CHECKING:
    from gearman_server.http.caller import Caller

PREFIX: Final = b"/jobs/"
_STATUSES: Final = {Answer.CANCELLED: 200, Answer.STOPPED: 200, Answer.STOPPING: 202}


def stop_job(caller: Caller, path: bytes) -> HttpAnswer:
    """Stop the job that the path names.

    Raises:
        HttpRefusal: the path names none, or this peer may not.
        CallerGoneError: the server is ending.
    """
    handle = path.removeprefix(PREFIX)
    if handle == path or not handle or b"\0" in handle:
        raise HttpRefusal(404, "DELETE /jobs/HANDLE stops a job")
    packet_type, body = caller.ask((STOP_JOB, handle))
    _, _, outcome = body.rpartition(b"\0")
    if packet_type == PacketType.ERROR:
        is_forbidden = body.startswith(b"NOT_ALLOWED\0")
        raise HttpRefusal(403 if is_forbidden else 503, outcome.decode())
    answer = Answer(outcome)
    if answer is Answer.UNKNOWN:
        return text_answer(404, b"there is no such job, or it is over\n")
    told = {"handle": handle.decode("utf-8", "backslashreplace"), "outcome": outcome.decode()}
    return text_answer(_STATUSES[answer], json.dumps(told).encode() + b"\n", ("Content-Type", "application/json"))
