"""The packets that ask for a job and those that assign one, of the protocol and of our extensions, whichever a server
knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import repeat
from typing import Any, Final, Protocol

from gearman_client.errors import ProtocolError
from gearman_client.extensions import (
    JOB_ASSIGN_ATTEMPT,
    JOB_ASSIGN_ATTEMPT_ARGUMENTS,
    JOB_ASSIGN_WITH,
    JOB_ASSIGN_WITH_START,
    MAX_JOBS_AT_ONCE,
)
from gearman_client.job_pairs import cut_pairs, split_pairs
from gearman_client.packet import PacketType, count_of, encode_request, split_arguments, split_workloads
from gearman_client.text import to_text
from gearman_client.worker.job_link import JobLink
from gearman_client.worker.job_with_options import JobWithOptions, whole_number
from gearman_client.worker.worker_job import WorkerJob

#: What Perl's Gearman::Server says of a packet whose number it does not know.
_UNKNOWN_PACKET: Final = b'server_error\0Can\'t locate object method "CMD_"'
_NO_ATTEMPT: Final = f"JOB_ASSIGN_ATTEMPT takes {JOB_ASSIGN_ATTEMPT_ARGUMENTS} arguments"

#: Makes the job for link, handle, function, unique key and workload.
MakeJob = Callable[[JobLink, bytes, str, bytes, bytes], WorkerJob]


class GrabRequest:
    """The packet to send. A server that does not know it makes it the older one, which carries no unique id."""

    __slots__ = ("_asks_for_unique", "packet")

    def __init__(self, *, unique: bool) -> None:
        self._asks_for_unique = unique
        self.packet = encode_request(PacketType.GRAB_JOB_UNIQ if unique else PacketType.GRAB_JOB)

    def is_unknown(self, error: bytes) -> bool:
        """Whether the body of an ERROR says that the server does not know the packet; send the new one then."""
        if not self._asks_for_unique or not error.startswith(_UNKNOWN_PACKET):
            return False
        self._asks_for_unique = False
        self.packet = encode_request(PacketType.GRAB_JOB)
        return True


class Assigned(Protocol):
    """A link that takes jobs."""

    def assign(self, handle: bytes, function: bytes, unique: bytes, workload: bytes, make: MakeJob = ...) -> WorkerJob:
        """Take a job; it is made by `make`."""


def plain_jobs(link: JobLink, functions: Mapping[bytes, str], bodies: Iterable[bytes]) -> list[WorkerJob]:
    """The jobs in the bodies of many JOB_ASSIGN_ATTEMPT; `functions` are the names of the worker's functions.

    Raises:
        ProtocolError: a body is none of that packet.
    """
    jobs = []
    for body in bodies:
        try:
            handle, function, unique, attempt, workload = body.split(b"\0", JOB_ASSIGN_ATTEMPT_ARGUMENTS - 1)
        except ValueError:
            raise ProtocolError(_NO_ATTEMPT) from None
        job = WorkerJob(link, handle, functions.get(function) or to_text(function), unique, workload)
        job.attempt = 1 if attempt == b"1" else whole_number(attempt, "attempt")
        jobs.append(job)
    return jobs


def jobs_of_list(link: JobLink, functions: Mapping[bytes, str], body: bytes) -> list[WorkerJob]:
    """The jobs in the body of a PLAIN_JOBS_ASSIGNED.

    Raises:
        ProtocolError: it is none of that packet.
    """
    try:
        function, digits, rest = body.split(b"\0", 2)
        count = count_of(digits, MAX_JOBS_AT_ONCE)
        names = rest.split(b"\0", 2 * count)
        if len(names) != 2 * count + 1:
            raise ValueError(f"it holds no {count} handles and unique keys")
        workloads = split_workloads(names.pop(), count)
    except ValueError as error:
        raise ProtocolError(f"a PLAIN_JOBS_ASSIGNED that can't be read: {error}") from None
    name = functions.get(function) or to_text(function)
    return list(map(WorkerJob, repeat(link), names[:count], repeat(name), names[count:], workloads, repeat(1)))


def _on_assign(link: Assigned, body: bytes) -> None:
    handle, function, workload = split_arguments(PacketType.JOB_ASSIGN, body)
    link.assign(handle, function, b"", workload)


def _on_assign_unique(link: Assigned, body: bytes) -> None:
    handle, function, unique, workload = split_arguments(PacketType.JOB_ASSIGN_UNIQ, body)
    link.assign(handle, function, unique, workload)


def _on_assign_all(link: Assigned, body: bytes) -> None:
    handle, function, unique, _reducer, workload = split_arguments(PacketType.JOB_ASSIGN_ALL, body)
    link.assign(handle, function, unique, workload)


def _on_assign_attempt(link: Assigned, body: bytes) -> None:
    arguments = body.split(b"\0", JOB_ASSIGN_ATTEMPT_ARGUMENTS - 1)
    if len(arguments) != JOB_ASSIGN_ATTEMPT_ARGUMENTS:
        raise ProtocolError(_NO_ATTEMPT)
    handle, function, unique, attempt, workload = arguments
    job = link.assign(handle, function, unique, workload)
    job.attempt = 1 if attempt == b"1" else whole_number(attempt, "attempt")


def _on_assign_with(link: Assigned, body: bytes) -> None:
    try:
        handle, function, unique, attempt, rest = body.split(b"\0", JOB_ASSIGN_WITH_START)
        encoded, workload = cut_pairs(rest)
        pairs = split_pairs(encoded)
    except ValueError as error:
        raise ProtocolError(f"a JOB_ASSIGN_WITH that can't be read: {error}") from None
    job = link.assign(handle, function, unique, workload, partial(JobWithOptions, pairs))
    job.attempt = whole_number(attempt, "attempt")


#: By packet type: the function or method that a link has for the body.
Handlers = Mapping[int, Callable[[Any, bytes], None]]

#: By packet type: takes the body of such a packet, and gives the link the job. They raise ProtocolError if the body is
#: none of that packet.
ASSIGNMENT_HANDLERS: Final[Handlers] = {
    PacketType.JOB_ASSIGN: _on_assign,
    PacketType.JOB_ASSIGN_UNIQ: _on_assign_unique,
    PacketType.JOB_ASSIGN_ALL: _on_assign_all,
    JOB_ASSIGN_ATTEMPT: _on_assign_attempt,
    JOB_ASSIGN_WITH: _on_assign_with,
}
