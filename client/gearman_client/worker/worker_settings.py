"""The settings of a worker's connections. Values only, immutable; the defaults suit production."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The fields that are times.
TIMES: Final = ("connect_timeout_s", "reply_timeout_s", "probe_s", "first_backoff_s", "max_backoff_s")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Times in seconds.

    client_id: the name that SET_CLIENT_ID gives the server; "" for none.
    grab_unique: ask with GRAB_JOB_UNIQ, so that jobs come with their unique id.
    job_attempt: ask for the attempt number of jobs; a server that does not know this extension refuses it once.
    connect_timeout_s: the limit for one attempt to connect.
    reply_timeout_s: a server that sends no byte of an answer, or takes no byte of ours, for so long counts as lost.
    probe_s: a worker that waits for jobs asks its servers after this much silence, give or take a quarter, whether they
        are there; one that does not answer within `probe_s` (or `reply_timeout_s`, if that is shorter) counts as lost.
        A connection can die without a word: in a NAT, a balancer, a switch. 0: never ask.
    first_backoff_s, max_backoff_s: the pause between attempts to connect doubles from the first to the second value,
        with jitter.
    """

    client_id: str = ""
    grab_unique: bool = True
    job_attempt: bool = True
    connect_timeout_s: float = 5.0
    reply_timeout_s: float = 10.0
    probe_s: float = 4.0
    first_backoff_s: float = 0.05
    max_backoff_s: float = 2.0
