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
    namespace: stands before the name of each function at the servers, as with `Client(namespace=…)`; the worker
        itself uses the names without it.
    discover: serve the other servers of a cluster too, of which the given ones tell. It needs `job_attempt`.
    grab_unique: ask with GRAB_JOB_UNIQ, so that jobs come with their unique id.
    job_attempt: ask for the attempt number of jobs; a server that does not know this extension refuses it once.
    connect_timeout_s: the limit for one attempt to connect.
    reply_timeout_s: a server that sends no byte of an answer, or takes no byte of ours, for so long counts as lost.
    probe_s: a worker that waits for jobs asks its servers after this much silence, give or take a quarter, whether they
        are there; one that does not answer within `probe_s` (or `reply_timeout_s`, if that is shorter) counts as lost.
        A connection can die without a word: in a NAT, a balancer, a switch. 0: never ask.
    first_backoff_s, max_backoff_s: the pause between attempts to connect doubles from the first to the second value,
        with jitter.
    hears_stops: have our server tell which of the worker's jobs are to be stopped, for `WorkerJob.check_stopped`; False
        for a worker whose supervisor hears of it.
    prefetch: the most jobs that `Worker.grab_many` gets at once, from 1 to 1000.
    return_key: who knows it can give the jobs of this worker back to the server with RETURN_JOBS, over a connection of
        his own and with `extensions.key_of_set`: 16 to 40 random bytes; empty for none.
    """

    client_id: str = ""
    grab_unique: bool = True
    job_attempt: bool = True
    connect_timeout_s: float = 5.0
    reply_timeout_s: float = 10.0
    probe_s: float = 4.0
    first_backoff_s: float = 0.05
    max_backoff_s: float = 2.0
    hears_stops: bool = True
    prefetch: int = 1
    return_key: bytes = b""
    namespace: str = ""
    discover: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """A function whose jobs come in batches: `Worker.grab_many` gets up to `at_most` jobs of it, and of no other.

    at_most: the most jobs of a batch, from 1 to 1000.
    linger_s: a job waits for further ones up to so long (seconds, at most 60) while the batch is not full.
    """

    at_most: int
    linger_s: float = 0.0
