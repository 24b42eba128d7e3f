"""Single calls over the servers of a client: what is sent, what is awaited, and what happens when a server is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from math import inf
from typing import TypeVar

from gearman_client.address import Address
from gearman_client.async_client.attempts import AsyncAttempts, repeat
from gearman_client.async_client.awaited import AwaitedAnswer, AwaitedHandle, AwaitedJob, Stage
from gearman_client.async_client.link import Link, Watch
from gearman_client.async_client.servers import AsyncServer, Servers
from gearman_client.client.attempts import LOSSES, Limits
from gearman_client.client.calls import STOP_OPTION, all_of, not_known, stops_nothing, was_stopped
from gearman_client.client.foreground import JobCallbacks
from gearman_client.client.job_status import JobHandle, JobStatus, to_job_status
from gearman_client.client.server_pool import ALIVE_S
from gearman_client.client.submission import OPTIONS_REQUEST, Forms, FormT
from gearman_client.errors import (
    ConnectionLost,
    CouldNotConnect,
    GearmanError,
    JobNotKnown,
    NotSupported,
    ServerEnding,
    ServerError,
    Timeout,
)
from gearman_client.extensions import STOP_JOB
from gearman_client.packet import PacketType, encode_request, split_arguments

AnswerT = TypeVar("AnswerT")

_PING = encode_request(PacketType.ECHO_REQ, b"ping")


async def run_job(attempts: AsyncAttempts, forms: Forms[bytes], callbacks: JobCallbacks, *, resubmit: bool) -> bytes:
    """Submit a foreground job and return its result.

    resubmit: submit it again when its server was lost. Otherwise only if that server can't have read it.

    Raises:
        JobFailed, JobException, ServerError: the server has answered.
        ConnectionLost, CouldNotConnect, ProtocolError, Timeout: no server has answered.
    """
    limits = attempts.limits
    while True:
        link = await attempts.next()
        job = AwaitedJob(b"", callbacks)
        try:
            job.packet = await chosen(forms, link, limits)
            others = attempts.others if resubmit else 0
            result: bytes = await link.ask(job, limits.answer_by(others), Watch(limits, others))
        except LOSSES as error:
            if job.is_created and link.loop.time() >= limits.deadline:
                raise
            is_taken = job.stage is not Stage.UNSENT and not isinstance(error, ServerEnding)
            if is_taken and not resubmit:
                raise
            attempts.lost(link, error, was_sent=is_taken)
        else:
            return result


async def leave_job(attempts: AsyncAttempts, forms: Forms[bytes], function: str, *, is_repeatable: bool) -> JobHandle:
    """Submit a background job and return its handle.

    Raises:
        JobNotKnown: it was sent and not acknowledged.
        CouldNotConnect, ServerError: there is no such job.
    """
    doubt: JobNotKnown | None = None
    while True:
        try:
            link = await attempts.next()
        except (CouldNotConnect, ConnectionLost) as error:
            raise doubt or error from error
        request = AwaitedHandle(b"")
        try:
            request.packet = await chosen(forms, link, attempts.limits)
            handle: JobHandle = await link.ask(request, attempts.limits.answer_by(0))
        except LOSSES as error:
            if request.stage is Stage.UNSENT or isinstance(error, ServerEnding):
                attempts.lost(link, doubt or error, was_sent=False)
                continue
            doubt = not_known(function, link.address, error)
            if not is_repeatable:
                raise doubt from error
            attempts.stay_with(link)  # only who may have it knows it again
            attempts.lost(link, doubt)
        except ServerError as error:
            if doubt is None or doubt.server == str(link.address):
                raise
            raise doubt from error  # another one may have it
        else:
            handle.function = function
            return handle


async def chosen(forms: Forms[FormT], link: Link, limits: Limits) -> FormT:
    """The form of a job for this server, which is asked what it knows if that matters.

    Raises:
        NotSupported: it does not know the job's options.
        ConnectionLost, ProtocolError, Timeout: the question was lost; nothing of the job was sent.
    """
    if forms.with_options is not None and link.takes_options is None:
        try:
            await ask(link, OPTIONS_REQUEST, PacketType.OPTION_RES, limits)
        except (ServerError, NotSupported):
            link.takes_options = False
        else:
            link.takes_options = True
    return forms.chosen(link.takes_options is True, link.address)


async def ask(link: Link, packet: bytes, answer: int, limits: Limits, others: int = 0) -> bytes:
    """Send a request that submits nothing, and return the body of its answer."""
    body: bytes = await link.ask(AwaitedAnswer(packet, answer), limits.answer_by(others))
    return body


async def ask_any(servers: Servers, packet: bytes, answer: PacketType, limits: Limits) -> bytes:
    """Ask the first server that answers."""
    attempts = AsyncAttempts(servers, limits)
    return await repeat(attempts, lambda link: ask(link, packet, answer, limits, attempts.others))


async def ask_one(servers: Servers, server: AsyncServer, packet: bytes, answer: int, limits: Limits) -> bytes:
    """Ask this server."""
    attempts = AsyncAttempts(servers, limits, only=server)
    return await repeat(attempts, lambda link: ask(link, packet, answer, limits))


async def ask_all(
    servers: Servers,
    candidates: Sequence[AsyncServer],
    question: Callable[[AsyncServer], Awaitable[AnswerT]],
    *,
    hurries: bool,
) -> AsyncGenerator[tuple[AsyncServer, AnswerT | GearmanError], None]:
    """Each server with its answer, or with the reason why there is none, in the order in which they are known.

    Ending the iteration early gives up the other questions.
    hurries: do not wait long for the others once one has answered.
    """
    asked = {asyncio.ensure_future(question(server)): server for server in candidates}
    try:
        until = inf
        while asked:
            timeout_s = None if until == inf else max(0.0, until - servers.loop.time())
            ended, _ = await asyncio.wait(asked, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                server = asked.pop(each)
                error = each.exception()
                if isinstance(error, GearmanError):
                    yield server, error
                    continue
                if hurries:
                    until = min(until, servers.loop.time() + ALIVE_S)
                yield server, each.result()
            if not ended:
                servers.note_silent(asked.values())
                for server in asked.values():
                    yield server, Timeout(f"no answer from {server.address} in {ALIVE_S:g} s")
                break
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def find_status(
    servers: Servers, candidates: Sequence[AsyncServer], packet: bytes, answer: PacketType, limits: Limits
) -> JobStatus:
    """The status at a server that knows the job, else that of one that does not; all are asked at once.

    Raises:
        CouldNotConnect, ConnectionLost, ProtocolError, ServerError, Timeout: no server could be asked.
    """

    async def ask_status(server: AsyncServer) -> JobStatus:
        return to_job_status(split_arguments(answer, await ask_one(servers, server, packet, answer, limits)))

    if len(candidates) == 1:
        return await ask_status(candidates[0])
    status: JobStatus | None = None
    failures: list[GearmanError] = []
    async with aclosing(ask_all(servers, servers.living(candidates), ask_status, hurries=True)) as answers:
        async for _, found in answers:
            if isinstance(found, GearmanError):
                failures.append(found)
            elif status is None or found.known:
                status = found
                if found.known:
                    break
    if status is None:
        raise all_of(failures)
    return status


async def stop_job(servers: Servers, candidates: Sequence[AsyncServer], handle: bytes, limits: Limits) -> bool:
    """Stop a job at the server that knows it; all are asked at once. Returns whether one knows it.

    Raises:
        CouldNotConnect, ConnectionLost, NotSupported, ProtocolError, ServerError, Timeout: none of those that answered
            knows it.
    """

    async def ask_to_stop(server: AsyncServer) -> bool:
        try:
            await ask_one(servers, server, STOP_OPTION, PacketType.OPTION_RES, limits)
        except (ServerError, NotSupported) as error:
            raise stops_nothing(server.address) from error
        return was_stopped(await ask_one(servers, server, encode_request(STOP_JOB, handle), STOP_JOB, limits))

    answers = ask_all(servers, servers.living(candidates), ask_to_stop, hurries=False)
    return await first_with(answers, bool) is not None


async def first_with(
    answers: AsyncGenerator[tuple[AsyncServer, AnswerT | GearmanError], None], knows: Callable[[AnswerT], bool]
) -> AsyncServer | None:
    """The first server whose answer shows that it `knows` the job; None when all have answered, and none does.

    Raises:
        GearmanError: some could not be asked, and none of the others does.
    """
    failures: list[GearmanError] = []
    async with aclosing(answers):
        async for server, answer in answers:
            if isinstance(answer, GearmanError):
                failures.append(answer)
            elif knows(answer):
                return server
    if failures:
        raise all_of(failures)
    return None


async def answering(servers: Servers, limits: Limits) -> tuple[Address, ...]:
    """The servers that answer an ECHO_REQ; all are asked at once."""

    async def answers(server: AsyncServer) -> bool:
        with suppress(CouldNotConnect, ServerError, *LOSSES):
            await ask_one(servers, server, _PING, PacketType.ECHO_RES, limits)
            return True
        return False

    found = await asyncio.gather(*map(answers, servers.all))
    return tuple(server.address for server, does in zip(servers.all, found, strict=True) if does)
