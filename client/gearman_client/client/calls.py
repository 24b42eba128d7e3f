"""Single calls over the servers of a client: what is sent, what is awaited, and what happens when a server is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from math import inf
from time import monotonic
from typing import Final, TypeVar

from gearman_client.address import Address
from gearman_client.client.attempts import LOSSES, Attempts, Limits, repeat
from gearman_client.client.everywhere import Dialogue, ask_all
from gearman_client.client.exchange import Exchange
from gearman_client.client.foreground import ForegroundJob, JobCallbacks, server_error, unknown_request
from gearman_client.client.job_status import JobHandle, JobStatus, to_job_status
from gearman_client.client.request import ALIVE_REQUEST, AliveRequest
from gearman_client.client.server_choice import home_of
from gearman_client.client.server_pool import PATIENCE_S, PooledServer, ServerPool, next_packets
from gearman_client.client.submission import OPTIONS_REQUEST, Forms, FormT, Submission
from gearman_client.connection.connection import Connection
from gearman_client.errors import (
    ConnectionLost,
    CouldNotConnect,
    GearmanError,
    JobException,
    JobFailed,
    JobNotAcknowledged,
    JobNotKnown,
    NotSupported,
    ProtocolError,
    ServerEnding,
    ServerError,
    ServerSilent,
    Timeout,
)
from gearman_client.extensions import JOB_STOP_OPTION, STOP_JOB
from gearman_client.packet import PacketType, encode_request, split_arguments
from gearman_client.text import to_identifier, to_text

AnswerT = TypeVar("AnswerT")

#: How long a job whose server is gone may take until another one has it, and how often to look.
ADOPTION_S: Final = 10.0
ADOPTION_LOOK_S: Final = 0.1
_PING: Final = encode_request(PacketType.ECHO_REQ, b"ping")
#: Asks whether the server can stop jobs.
STOP_OPTION: Final = encode_request(PacketType.OPTION_REQ, JOB_STOP_OPTION)


def run_job(
    pool: ServerPool, submission: Submission, callbacks: JobCallbacks, limits: Limits, *, resubmit: bool
) -> bytes:
    """Submit a foreground job and return its result.

    resubmit: submit it again when its server was lost. Otherwise only if that server can't have read it.

    Raises:
        JobFailed, JobException, ServerError: the server has answered.
        ConnectionLost, CouldNotConnect, ProtocolError, Timeout: no server has answered.
    """
    attempts = Attempts(pool, limits, submission.server_key)
    while True:
        server, connection = attempts.next()
        job = ForegroundJob(b"", server.address, callbacks)
        sent_bytes = inf
        try:
            job.packet = chosen(submission.forms, server, connection, limits)
            sent_bytes = connection.sent_bytes
            with Conversation(server):
                return _result(job, server.exchange, connection, limits, attempts.others if resubmit else 0)
        except LOSSES as error:
            if job.is_created and monotonic() >= limits.deadline:
                raise
            is_taken = connection.sent_bytes - sent_bytes >= len(job.packet) and not isinstance(error, ServerEnding)
            if is_taken and not resubmit:
                raise
            attempts.lost(server, error)


def _result(job: ForegroundJob, exchange: Exchange, connection: Connection, limits: Limits, others: int) -> bytes:
    exchange.ask(job)
    connection.queue(job.packet)
    connection.flush(limits.deadline)
    heard_by, is_questioned = limits.answer_by(others), False
    while job.result is None:
        try:
            packets = next_packets(connection, heard_by)
        except Timeout as error:
            if not job.is_created or monotonic() >= limits.deadline:
                raise
            if is_questioned:
                raise silent(connection.address) from error
            # The worker may take its time. The server itself is asked whether it is there.
            exchange.ask(AliveRequest())
            connection.queue(ALIVE_REQUEST)
            connection.flush(limits.deadline)
            heard_by, is_questioned = limits.answer_by(others), True
            continue
        exchange.take(packets)
        if is_questioned:
            heard_by, is_questioned = limits.answer_by(others), False
    return job.result


def silent(server: Address) -> ServerSilent:
    """The error for a server that has a job and does not even answer whether it is alive."""
    return ServerSilent(f"connection to {server} lost: the server has stopped answering")


def leave_job(
    pool: ServerPool, submission: Submission, function: str, limits: Limits, only: PooledServer | None = None
) -> JobHandle:
    """Submit a background job and return its handle.

    Raises:
        JobNotKnown: it was sent and not acknowledged.
        CouldNotConnect, NotSupported, ServerError: there is no such job.
    """
    attempts = Attempts(pool, limits, submission.server_key, only)
    doubt: JobNotKnown | None = None
    while True:
        try:
            server, connection = attempts.next()
        except (CouldNotConnect, ConnectionLost) as error:
            raise doubt or error from error
        packet, sent_bytes = b"", inf
        try:
            packet = chosen(submission.forms, server, connection, limits)
            sent_bytes = connection.sent_bytes
            handle = ask(server, connection, packet, PacketType.JOB_CREATED, limits)
        except LOSSES as error:
            if connection.sent_bytes - sent_bytes < len(packet) or isinstance(error, ServerEnding):
                attempts.lost(server, doubt or error)
                continue
            doubt = not_known(function, server.address, error)
            if not submission.is_repeatable:
                raise doubt from error
            if not attempts.is_for_one and not pool.is_one_cluster(server):
                # Only the server that may have it knows it again.
                attempts = Attempts(pool, limits, only=server)
            attempts.lost(server, doubt)
        except ServerError as error:
            if doubt is None or doubt.server == str(server.address):
                raise
            raise doubt from error  # another one may have it
        else:
            return JobHandle(to_text(handle), server.address, function)


def chosen(forms: Forms[FormT], server: PooledServer, connection: Connection, limits: Limits) -> FormT:
    """The form of a job for this server, which is asked what it knows if that matters.

    Raises:
        NotSupported: it does not know the job's options.
        ConnectionLost, ProtocolError, Timeout: the question was lost; nothing of the job was sent.
    """
    if forms.with_options is not None and server.takes_options is None:
        try:
            ask(server, connection, OPTIONS_REQUEST, PacketType.OPTION_RES, limits)
        except (ServerError, NotSupported):
            server.takes_options = False
        else:
            server.takes_options = True
    return forms.chosen(server.takes_options is True, server.address)


def not_known(function: str, server: Address, error: GearmanError) -> JobNotKnown:
    """The error for a background job that was sent and not acknowledged, because of `error`."""
    kind = JobNotAcknowledged if isinstance(error, Timeout) else JobNotKnown
    return kind(
        f"{server} did not acknowledge the background job {function}, which it may have, or not ({error}); "
        "with a unique id status_unique tells, and the job can be submitted again without becoming two",
        str(server),
    )


def ask(
    server: PooledServer, connection: Connection, packet: bytes, answer: int, limits: Limits, others: int = 0
) -> bytes:
    """Send one request that is answered with one packet, and return the body of its answer."""
    with Conversation(server):
        connection.queue(packet)
        connection.flush(limits.deadline)
        packet_type, body = next_packets(connection, limits.answer_by(others))[0]
        if packet_type == PacketType.ERROR:
            raise server_error(body)
        if packet_type != answer:
            expected = getattr(answer, "name", answer)  # a packet of our extensions has none
            raise ProtocolError(f"{connection.address} answered with packet type {packet_type}, not {expected}")
        return body


def ask_any(pool: ServerPool, packet: bytes, answer: PacketType, limits: Limits) -> bytes:
    """Ask the first server that answers."""
    attempts = Attempts(pool, limits)
    return repeat(attempts, lambda server, connection: ask(server, connection, packet, answer, limits, attempts.others))


def ask_one(pool: ServerPool, server: PooledServer, packet: bytes, answer: PacketType, limits: Limits) -> bytes:
    """Ask this server."""
    attempts = Attempts(pool, limits, only=server)
    return repeat(attempts, lambda server, connection: ask(server, connection, packet, answer, limits))


def find_status(
    pool: ServerPool, servers: Sequence[PooledServer], packet: bytes, answer: PacketType, limits: Limits
) -> JobStatus:
    """The status at a server that knows the job, else that of one that does not; all are asked at once.

    Raises:
        CouldNotConnect, ConnectionLost, ProtocolError, ServerError, Timeout: no server could be asked.
    """
    if len(servers) == 1:
        return to_job_status(split_arguments(answer, ask_one(pool, servers[0], packet, answer, limits)))

    def ask_status(_server: PooledServer) -> Dialogue[JobStatus]:
        body = yield packet, answer
        return to_job_status(split_arguments(answer, body))

    status, failures = None, []
    with closing(ask_all(pool, pool.living(servers), ask_status, limits, hurries=True)) as answers:
        for _, found in answers:
            if isinstance(found, GearmanError):
                failures.append(found)
            elif status is None or found.known:
                status = found
                if found.known:
                    break
    if status is None:
        raise all_of(failures)
    return status


def stop_job(pool: ServerPool, servers: Sequence[PooledServer], handle: bytes, limits: Limits) -> bool:
    """Stop a job at the server that knows it; all are asked at once. Returns whether one knows it.

    Raises:
        CouldNotConnect, ConnectionLost, NotSupported, ProtocolError, ServerError, Timeout: none of those that answered
            knows it.
    """

    def ask_to_stop(server: PooledServer) -> Dialogue[bool]:
        try:
            yield STOP_OPTION, PacketType.OPTION_RES
        except (ServerError, NotSupported) as error:
            raise stops_nothing(server.address) from error
        return was_stopped((yield encode_request(STOP_JOB, handle), STOP_JOB))

    return first_with(ask_all(pool, pool.living(servers), ask_to_stop, limits, hurries=False), bool) is not None


def was_stopped(body: bytes) -> bool:
    """Whether the server's STOP_JOB says that there was such a job."""
    return body.partition(b"\0")[2] != b"unknown"


def stops_nothing(server: Address) -> NotSupported:
    """The error for a server that does not know the extension."""
    return NotSupported(f"{server} stops no jobs that run: gearman-server does")


def answering(pool: ServerPool, limits: Limits) -> tuple[Address, ...]:
    """The servers that answer an ECHO_REQ; all are asked at once."""

    def ask_echo(_server: PooledServer) -> Dialogue[bytes]:
        return (yield _PING, PacketType.ECHO_RES)

    answers = ask_all(pool, pool.servers, ask_echo, limits, hurries=False)
    found = {server.address for server, answer in answers if not isinstance(answer, GearmanError)}
    return tuple(server.address for server in pool.servers if server.address in found)


def at_home(
    pool: ServerPool,
    handle: str,
    limits: Limits,
    ask: Callable[[Sequence[PooledServer], Limits], AnswerT],
) -> AnswerT:
    """What `ask` answers about a job at the server of its handle; at all servers if that is not known.

    If that server is gone, the others of its cluster have its jobs.
    """
    servers = home_of(handle, pool.servers)
    fellows = pool.fellows_of(servers[0]) if len(servers) == 1 else ()
    if not fellows:
        return ask(servers, limits)
    if not pool.health.has_failed(servers[0].address):
        try:
            return ask(servers, limits._replace(connect_timeout_s=PATIENCE_S))
        except (ConnectionLost, CouldNotConnect):
            if monotonic() >= limits.deadline:
                raise
            pool.health.note_failure(servers[0].address, monotonic())
    return ask([*fellows, *servers], limits)


def status_of(pool: ServerPool, handle: str, limits: Limits) -> JobStatus:
    """The status of a job.

    Raises:
        ArgumentError: the handle is longer than 63 bytes, or is no text.
        CouldNotConnect, ConnectionLost, ProtocolError, ServerError, Timeout: no server could be asked.
    """
    packet = encode_request(PacketType.GET_STATUS, to_identifier(handle, "handle"))
    return at_home(
        pool, handle, limits, lambda servers, limits: find_status(pool, servers, packet, PacketType.STATUS_RES, limits)
    )


def stop(pool: ServerPool, handle: str, limits: Limits) -> bool:
    """Stop a job. Returns whether there was one.

    Raises:
        ArgumentError: the handle is longer than 63 bytes, or is no text.
        CouldNotConnect, ConnectionLost, NotSupported, ProtocolError, ServerError, Timeout: no server could be asked.
    """
    argument = to_identifier(handle, "handle")
    patience = min(limits.deadline, monotonic() + ADOPTION_S)

    def ask(servers: Sequence[PooledServer], limits: Limits) -> bool:
        while not stop_job(pool, servers, argument, limits):
            # Until one of them has adopted a job, they know that it exists, and can't stop it.
            is_waited_for = len(servers) > 1 and pool.fellows_of(servers[0]) and monotonic() < patience
            if not (is_waited_for and status_of(pool, handle, limits).known):
                return False
            time.sleep(ADOPTION_LOOK_S)
        return True

    return at_home(pool, handle, limits, ask)


def first_with(
    answers: Generator[tuple[PooledServer, AnswerT | GearmanError], None, None], knows: Callable[[AnswerT], bool]
) -> PooledServer | None:
    """The first server whose answer shows that it `knows` the job; None when all have answered, and none does.

    Raises:
        GearmanError: some could not be asked, and none of the others does.
    """
    failures: list[GearmanError] = []
    with closing(answers):
        for server, answer in answers:
            if isinstance(answer, GearmanError):
                failures.append(answer)
            elif knows(answer):
                return server
    if failures:
        raise all_of(failures)
    return None


def all_of(failures: Sequence[GearmanError]) -> GearmanError:
    """One error for several servers that could not be asked."""
    if len(failures) == 1:
        return failures[0]
    kind = type(failures[0]) if len({type(error) for error in failures}) == 1 else CouldNotConnect
    return kind("; ".join(map(str, failures)))


class Conversation:
    """Close the connection unless the request ended with its last packet: the next one must find no rest of it.

    A class, because `contextmanager` takes longer.
    """

    __slots__ = ("_server",)

    def __init__(self, server: PooledServer) -> None:
        self._server = server

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        server = self._server
        if error is not None and not isinstance(error, JobException | JobFailed | ServerError):
            server.drop()
            return
        if isinstance(error, ServerEnding):
            server.drop()  # it would refuse the next job too
            return
        _note_answer(server)  # this was the last packet of the request: the connection is clean
        unsupported = unknown_request(error, server.address) if isinstance(error, ServerError) else None
        if unsupported is not None:
            raise unsupported from error


def _note_answer(server: PooledServer) -> None:
    server.answers += 1
    server.alive_at = monotonic()
    if not server.exchange.is_idle:
        server.drop()  # the job has ended before the server said whether it is alive
