"""Questions about one job: they go to the server of its handle, and to its cluster when that server is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import TypeVar

from gearman_client.async_client.calls import find_status, stop_job
from gearman_client.async_client.servers import AsyncServer, Servers
from gearman_client.client.attempts import Limits
from gearman_client.client.calls import ADOPTION_LOOK_S, ADOPTION_S
from gearman_client.client.job_status import JobStatus
from gearman_client.client.server_choice import home_of
from gearman_client.client.server_pool import PATIENCE_S
from gearman_client.errors import ConnectionLost, CouldNotConnect
from gearman_client.packet import PacketType, encode_request
from gearman_client.text import to_identifier

AnswerT = TypeVar("AnswerT")


async def at_home(
    servers: Servers,
    handle: str,
    limits: Limits,
    ask: Callable[[Sequence[AsyncServer], Limits], Awaitable[AnswerT]],
) -> AnswerT:
    """What `ask` answers about a job, as in the blocking client."""
    candidates = home_of(handle, servers.all)
    fellows = servers.fellows_of(candidates[0]) if len(candidates) == 1 else ()
    if not fellows:
        return await ask(candidates, limits)
    if not servers.is_lost(candidates[0]):
        try:
            return await ask(candidates, limits._replace(connect_timeout_s=PATIENCE_S))
        except (ConnectionLost, CouldNotConnect):
            if monotonic() >= limits.deadline:
                raise
            servers.note_silent(candidates)
    return await ask([*fellows, *candidates], limits)


async def status_of(servers: Servers, handle: str, limits: Limits) -> JobStatus:
    """The status of a job.

    Raises:
        ArgumentError: the handle is longer than 63 bytes, or is no text.
        CouldNotConnect, ConnectionLost, ProtocolError, ServerError, Timeout: no server could be asked.
    """
    packet = encode_request(PacketType.GET_STATUS, to_identifier(handle, "handle"))

    def ask(candidates: Sequence[AsyncServer], limits: Limits) -> Awaitable[JobStatus]:
        return find_status(servers, candidates, packet, PacketType.STATUS_RES, limits)

    return await at_home(servers, handle, limits, ask)


async def stop(servers: Servers, handle: str, limits: Limits) -> bool:
    """Stop a job. Returns whether there was one.

    Raises:
        ArgumentError: the handle is longer than 63 bytes, or is no text.
        CouldNotConnect, ConnectionLost, NotSupported, ProtocolError, ServerError, Timeout: no server could be asked.
    """
    argument = to_identifier(handle, "handle")
    patience = min(limits.deadline, monotonic() + ADOPTION_S)

    async def ask(candidates: Sequence[AsyncServer], limits: Limits) -> bool:
        while not await stop_job(servers, candidates, argument, limits):
            # Until one of them has adopted a job, they know that it exists, and can't stop it.
            is_waited_for = len(candidates) > 1 and servers.fellows_of(candidates[0]) and monotonic() < patience
            if not (is_waited_for and (await status_of(servers, handle, limits)).known):
                return False
            await asyncio.sleep(ADOPTION_LOOK_S)
        return True

    return await at_home(servers, handle, limits, ask)
