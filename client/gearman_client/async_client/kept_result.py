"""The request for the kept result of a background job, over the servers of a client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf

from gearman_client.async_client.at_home import at_home
from gearman_client.async_client.attempts import AsyncAttempts, repeat
from gearman_client.async_client.awaited import AwaitedResult
from gearman_client.async_client.calls import ask, ask_all, first_with
from gearman_client.async_client.link import Link
from gearman_client.async_client.servers import AsyncServer, Servers
from gearman_client.client.attempts import Limits
from gearman_client.client.foreground import JobCallbacks
from gearman_client.client.kept_result import KeptAnswer, keeps_no_results, known_nowhere, wait_argument
from gearman_client.errors import ServerError, Timeout
from gearman_client.extensions import JOB_RESULT_OPTION
from gearman_client.packet import PacketType, encode_request
from gearman_client.text import to_argument, to_text

_OPTION = encode_request(PacketType.OPTION_REQ, JOB_RESULT_OPTION)


async def fetch_result(servers: Servers, handle: str, callbacks: JobCallbacks, limits: Limits, *, waits: bool) -> bytes:
    """The result of a job; `Client.result` explains the errors.

    waits: await the end of the job, until the deadline of the limits.
    """
    argument = to_argument(handle, "handle")
    until = limits.deadline if waits else None

    async def fetch(candidates: Sequence[AsyncServer], limits: Limits) -> KeptAnswer:
        holder = candidates[0] if len(candidates) == 1 else await _find_holder(servers, candidates, argument, limits)
        if holder is None:
            raise known_nowhere(handle)
        return await _ask(servers, holder, (argument, until), callbacks, limits)

    return (await at_home(servers, handle, limits, fetch)).result_of(handle)


async def _find_holder(
    servers: Servers, candidates: Sequence[AsyncServer], handle: bytes, limits: Limits
) -> AsyncServer | None:
    """The server that knows the job; None when all servers answer that they do not know it."""

    async def ask_for_it(server: AsyncServer) -> KeptAnswer:
        return await _ask(servers, server, (handle, None), {}, limits)

    answers = ask_all(servers, servers.living(candidates), ask_for_it, hurries=False)
    return await first_with(answers, lambda answer: answer.is_known)


async def _ask(
    servers: Servers,
    server: AsyncServer,
    request: tuple[bytes, float | None],
    callbacks: JobCallbacks,
    limits: Limits,
) -> KeptAnswer:
    """Ask one server; again, when the connection broke while the answer was awaited.

    request: the handle, and until when to wait for the end of the job (None: do not wait).
    """
    handle, until = request

    async def attempt(link: Link) -> KeptAnswer:
        if not link.tells_results:
            try:
                await ask(link, _OPTION, PacketType.OPTION_RES, limits)
            except ServerError as error:
                raise keeps_no_results(link.address) from error
            link.tells_results = True
        if until is None:
            return await _ask_once(link, handle, None, callbacks, limits)
        if link.result_waits.locked():
            # All places are taken by others; what has ended is told without one.
            answer = await _ask_once(link, handle, None, {}, limits)
            if answer.has_ended:
                return await _ask_once(link, handle, None, callbacks, limits) if callbacks else answer
        try:
            async with asyncio.timeout_at(None if until == inf else until):
                await link.result_waits.acquire()
        except TimeoutError:
            raise Timeout(f"job {to_text(handle)} has no result yet") from None
        try:
            return await _ask_once(link, handle, until, callbacks, limits)
        finally:
            link.result_waits.release()

    return await repeat(AsyncAttempts(servers, limits, only=server), attempt)


async def _ask_once(
    link: Link, handle: bytes, until: float | None, callbacks: JobCallbacks, limits: Limits
) -> KeptAnswer:
    now = link.loop.time()
    wait, limit_s = wait_argument(0.0 if until is None else until - now)
    deadline = min(limits.deadline, now + limit_s + limits.reply_timeout_s)
    answer: KeptAnswer = await link.ask(
        AwaitedResult(handle, wait, -inf if until is None else now + limit_s, callbacks), deadline
    )
    return answer
