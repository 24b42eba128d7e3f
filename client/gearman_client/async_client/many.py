"""Submits many background jobs over one connection, without waiting for each answer before the next job."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from math import inf
from typing import Any

from gearman_client.async_client.attempts import AsyncAttempts
from gearman_client.async_client.awaited import AwaitedHandle
from gearman_client.async_client.calls import chosen
from gearman_client.async_client.link import Link
from gearman_client.async_client.servers import AsyncServer, Servers
from gearman_client.client.attempts import LOSSES, Limits
from gearman_client.client.batch import PORTION_BYTES, PORTION_JOBS, many_not_known
from gearman_client.client.job_status import JobHandle
from gearman_client.client.submission import Forms
from gearman_client.errors import ArgumentError, PartlyRefused, ServerError, Timeout


async def each(workloads: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    """The workloads, wherever they come from."""
    if isinstance(workloads, AsyncIterable):
        async for workload in workloads:
            yield workload
    else:
        for workload in workloads:
            yield workload


def check_workloads(workloads: object) -> None:
    """Check that there can be many.

    Raises:
        ArgumentError: it is one text, or not iterable.
    """
    if isinstance(workloads, str | bytes | bytearray | memoryview) or not isinstance(
        workloads, Iterable | AsyncIterable
    ):
        raise ArgumentError(
            f"workloads: expected a list or another iterable, an asynchronous one too, not {type(workloads).__name__}"
        )


async def submit_all(
    servers: Servers,
    forms: Forms[Callable[[Any], bytes]],
    workloads: Iterable[Any] | AsyncIterable[Any],
    limits: Limits,
    only: AsyncServer | None = None,
) -> list[JobHandle]:
    """Submit every workload to one server, if given to `only` this one; returns the handles in the same order.

    Raises:
        PartlyRefused: the server refused some; nothing was submitted after the refusal had arrived.
        JobNotKnown: the server may have accepted the jobs under way, or not.
        CouldNotConnect, Timeout: no server can be reached; there is no time.
        NotSupported: the server does not know an option of the jobs.
    """
    link = await AsyncAttempts(servers, limits, only=only).next()
    encode = await chosen(forms, link, limits)
    under_way = _UnderWay(link, limits)
    try:
        async with aclosing(each(workloads)) as source:
            async for workload in source:
                request = AwaitedHandle(encode(workload))
                while under_way.has_no_room_for(request):
                    await under_way.take_oldest()
                if under_way.refusal is not None:
                    break
                under_way.start(request)
        while under_way.requests:
            await under_way.take_oldest()
    finally:
        for request in under_way.requests:
            link.leave(request)
    if under_way.refusal is not None:
        raise PartlyRefused(under_way.refusal.code, under_way.refusal.text, under_way.accepted)
    return under_way.accepted


class _UnderWay:
    """The submissions that are not answered yet."""

    def __init__(self, link: Link, limits: Limits) -> None:
        self.accepted: list[JobHandle] = []
        self.refusal: ServerError | None = None
        self.requests: deque[AwaitedHandle] = deque()
        self._bytes = 0
        self._link = link
        self._limits = limits

    def has_no_room_for(self, request: AwaitedHandle) -> bool:
        """Whether one must be answered first."""
        requests = self.requests
        is_full = len(requests) >= PORTION_JOBS or self._bytes + len(request.packet) > PORTION_BYTES
        return bool(requests) and is_full

    def start(self, request: AwaitedHandle) -> None:
        self._link.start(request)
        self.requests.append(request)
        self._bytes += len(request.packet)

    async def take_oldest(self) -> None:
        """Wait for the answer to the oldest one."""
        request = self.requests[0]
        try:
            self.accepted.append(await self._answer(request))
        except ServerError as error:
            self.refusal = self.refusal or error
        except LOSSES as error:
            raise many_not_known(len(self.requests), self._link.address, error, self.accepted) from error
        self.requests.popleft()
        self._bytes -= len(request.packet)

    async def _answer(self, request: AwaitedHandle) -> JobHandle:
        if not request.future.done():
            answer_by = self._limits.answer_by(0)
            try:
                async with asyncio.timeout_at(None if answer_by == inf else answer_by):
                    await request.future
            except TimeoutError:
                raise Timeout(f"no answer from {self._link.address} in the time allowed") from None
        handle: JobHandle = request.future.result()
        return handle
