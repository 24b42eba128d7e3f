"""Response packets that are sent often, encoded as cheaply as possible. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gearman_client.extensions import (
    JOB_ASSIGN_ATTEMPT,
    JOB_ASSIGN_WITH,
    JOBS_ASSIGNED,
    JOBS_CREATED,
    PLAIN_JOBS_ASSIGNED,
)
from gearman_client.packet import HEADER, RESPONSE_MAGIC, PacketType, encode_response, encode_workloads
from gearman_server.options.job_options import with_cursor

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job

#: The protocol's bound on a handle, with its terminator.
MAX_HANDLE_BYTES: Final = 64

NO_JOB: Final = encode_response(PacketType.NO_JOB)
NOOP: Final = encode_response(PacketType.NOOP)

#: By the length of the handle.
JOB_CREATED_HEADERS: Final = tuple(
    HEADER.pack(RESPONSE_MAGIC, PacketType.JOB_CREATED, length) for length in range(MAX_HANDLE_BYTES)
)
# Plain integers, because `pack` would call the `__index__` of an enum member.
_JOB_ASSIGN: Final = int(PacketType.JOB_ASSIGN)
_JOB_ASSIGN_UNIQ: Final = int(PacketType.JOB_ASSIGN_UNIQ)
_pack_header: Final = HEADER.pack


def _attempt_header(length: int) -> bytes:
    return _pack_header(RESPONSE_MAGIC, JOB_ASSIGN_ATTEMPT, length)


#: The headers of short jobs, by the length of the body.
_SHORT_BYTES: Final = 256
_ATTEMPT_HEADERS: Final = tuple(map(_attempt_header, range(_SHORT_BYTES)))


def job_created(handle: bytes) -> bytes:
    """JOB_CREATED for a handle of this server, which is always shorter than MAX_HANDLE_BYTES."""
    return JOB_CREATED_HEADERS[len(handle)] + handle


def jobs_created(handles: Sequence[bytes]) -> bytes:
    """The answer to SUBMIT_JOBS: the handles of its jobs."""
    return encode_response(JOBS_CREATED, *handles)


def job_assign(job: Job) -> bytes:
    """JOB_ASSIGN, the answer to GRAB_JOB."""
    handle, name, workload = job.handle, job.function.name, job.workload
    header = _pack_header(RESPONSE_MAGIC, _JOB_ASSIGN, len(handle) + len(name) + len(workload) + 2)
    return b"\0".join((header + handle, name, workload))  # in this order the workload is copied once


def job_assign_unique(job: Job) -> bytes:
    """JOB_ASSIGN_UNIQ, the answer to GRAB_JOB_UNIQ, and to GRAB_JOB_ALL for a job without a reducer."""
    handle, name, unique, workload = job.handle, job.function.name, job.unique, job.workload
    length = len(handle) + len(name) + len(unique) + len(workload) + 3
    return b"\0".join((_pack_header(RESPONSE_MAGIC, _JOB_ASSIGN_UNIQ, length) + handle, name, unique, workload))


def job_assign_all(job: Job) -> bytes:
    """JOB_ASSIGN_ALL, or JOB_ASSIGN_UNIQ if the job has no reducer."""
    reducer = job.rare.reducer
    if reducer is None:
        return job_assign_unique(job)
    return encode_response(PacketType.JOB_ASSIGN_ALL, job.handle, job.function.name, job.unique, reducer, job.workload)


def job_assign_attempt(job: Job) -> bytes:
    """Our own assignment, with the number of the attempt (docs/protocol-extensions.md)."""
    attempt = b"1" if job.extras is None else b"%d" % job.attempt
    return encode_response(JOB_ASSIGN_ATTEMPT, job.handle, job.function.name, job.unique, attempt, job.workload)


def job_assign_with(job: Job) -> bytes:
    """The same with what the job's options tell its worker, if they do."""
    told = _told(job)
    if not told:
        return job_assign_attempt(job)
    start = job.handle, job.function.name, job.unique, b"%d" % job.attempt
    return encode_response(JOB_ASSIGN_WITH, *start, told, b"", job.workload)  # an empty pair ends the pairs


def _told(job: Job) -> bytes:
    """The pairs for a job's worker, without their end; empty if there are none."""
    extras = job.extras
    if extras is None:
        return b""
    return with_cursor(job.told_pairs, extras.cursor)


def jobs_assigned(jobs: Sequence[Job], *, with_options: bool = False) -> bytes:
    """The answer to GRAB_JOBS: the number of jobs, and each of them."""
    parts = [encode_response(JOBS_ASSIGNED, b"%d" % len(jobs))]
    add = parts.append
    for job in jobs:
        if job.extras is not None:
            add(job_assign_with(job) if with_options else job_assign_attempt(job))
            continue
        body = b"\0".join((job.handle, job.function.name, job.unique, b"1", job.workload))
        length = len(body)
        add(_ATTEMPT_HEADERS[length] if length < _SHORT_BYTES else _attempt_header(length))
        add(body)
    return b"".join(parts)


def plain_jobs_assigned(function: bytes, jobs: Sequence[Job]) -> bytes:
    """The same in one packet, for jobs of one function that have no extras."""
    handles = [job.handle for job in jobs]
    uniques = [job.unique for job in jobs]
    workloads = encode_workloads([job.workload for job in jobs])
    return encode_response(PLAIN_JOBS_ASSIGNED, function, b"%d" % len(jobs), *handles, *uniques, workloads)


def forwarded(packet_type: int, body: bytes) -> bytes:
    """A worker's packet for a client: only the header is new."""
    return _pack_header(RESPONSE_MAGIC, packet_type, len(body)) + body


def error(code: bytes, text: bytes) -> bytes:
    """An ERROR packet."""
    return encode_response(PacketType.ERROR, code, text)
