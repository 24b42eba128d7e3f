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
from gearman_client.async_client.servers import AsyncServer, Servers
from gearman_client.client.attempts import LOSSES, Limits
from gearman_client.client.batch import PORTION_BYTES, PORTION_JOBS, many_not_known
from gearman_client.client.job_status import JobHandle
from gearman_client.client.submission import Forms
from gearman_client.errors import (
    ArgumentError,
    ConnectionLost,
    CouldNotConnect,
    PartlyRefused,
    ServerEnding,
    ServerError,
    Timeout,
)


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

    Those that the server does not take because it is about to end go to the next one, or to its successor.

    Raises:
        PartlyRefused: the server refused some; nothing was submitted after the refusal had arrived.
        JobNotKnown: the server may have accepted the jobs under way, or not.
        CouldNotConnect, Timeout: no server can be reached; there is no time.
        NotSupported: the server does not know an option of the jobs.
    """
    line = _Line(AsyncAttempts(servers, limits, only=only), forms)
    await line.connect()
    try:
        async with aclosing(each(workloads)) as source:
            async for workload in source:
                await line.submit(_Job(workload))
                if line.refusal is not None:
                    break
        await line.finish()
    finally:
        line.leave()
    if line.refusal is not None:
        raise PartlyRefused(line.refusal.code, line.refusal.text, line.accepted)
    return line.accepted


class _Job:
    """One of many; it has its handle once it is accepted."""

    __slots__ = ("handle", "request", "workload")

    def __init__(self, workload: Any) -> None:
        self.workload = workload
        self.request = AwaitedHandle(b"")
        self.handle: JobHandle | None = None


class _Line:
    """The connection over which many jobs are submitted, and another one after it if its server is about to end.

    refusal: the first one, but for those of a server that is ending.
    """

    def __init__(self, attempts: AsyncAttempts, forms: Forms[Callable[[Any], bytes]]) -> None:
        self._attempts = attempts
        self._limits = attempts.limits
        self._forms = forms
        #: The handles up to the first job that is not accepted, and the jobs from that one on.
        self._accepted: list[JobHandle] = []
        self._jobs: deque[_Job] = deque()
        self._under_way: deque[_Job] = deque()
        self._bytes = 0
        self.refusal: ServerError | None = None
        #: Those that a server that is ending has not taken, and what it said.
        self._untaken: list[_Job] = []
        self._ending = ServerEnding("", "")

    @property
    def accepted(self) -> list[JobHandle]:
        """The handles, in the order of the workloads."""
        return [*self._accepted, *(job.handle for job in self._jobs if job.handle is not None)]

    async def connect(self) -> None:
        """Have a connection to a server that takes the jobs."""
        while True:
            self._link = await self._attempts.next()
            try:
                self._encode = await chosen(self._forms, self._link, self._limits)
            except LOSSES as error:
                self._attempts.lost(self._link, error, was_sent=False)
            else:
                return

    async def submit(self, job: _Job) -> None:
        """Submit a job once there is room for it, unless one was refused."""
        self._jobs.append(job)
        await self._send(job)

    async def finish(self) -> None:
        """Wait for all answers."""
        while self._under_way:
            await self._take_oldest()
            if self._untaken and not self._under_way:
                await self._go_on_elsewhere()

    def leave(self) -> None:
        """Wait for nothing more."""
        for job in self._under_way:
            self._link.leave(job.request)

    async def _send(self, job: _Job) -> None:
        job.request = AwaitedHandle(self._encode(job.workload))
        while self._has_no_room_for(job.request):
            await self._take_oldest()
        if self._untaken:  # it would not take this one either
            while self._under_way:
                await self._take_oldest()
            self._untaken.append(job)
            await self._go_on_elsewhere()
        elif self.refusal is None:
            self._link.start(job.request)
            self._under_way.append(job)
            self._bytes += len(job.request.packet)

    def _has_no_room_for(self, request: AwaitedHandle) -> bool:
        """Whether one must be answered first."""
        is_full = len(self._under_way) >= PORTION_JOBS or self._bytes + len(request.packet) > PORTION_BYTES
        return bool(self._under_way) and is_full

    async def _go_on_elsewhere(self) -> None:
        """Submit the jobs that the server has not taken to another one; no answer is due."""
        untaken, self._untaken = self._untaken, []
        if self.refusal is not None:
            return
        try:
            self._attempts.lost(self._link, self._ending, was_sent=False)
            await self.connect()
        except (ConnectionLost, CouldNotConnect, Timeout) as error:
            raise PartlyRefused(self._ending.code, self._ending.text, self.accepted) from error
        for job in untaken:
            await self._send(job)

    async def _take_oldest(self) -> None:
        """Wait for the answer to the oldest one."""
        job = self._under_way[0]
        try:
            job.handle = await self._answer(job.request)
        except ServerEnding as error:
            self._ending = error
            self._untaken.append(job)
        except ServerError as error:
            self.refusal = self.refusal or error
        except LOSSES as error:
            raise many_not_known(len(self._under_way), self._link.address, error, self.accepted) from error
        self._under_way.popleft()
        self._bytes -= len(job.request.packet)
        while self._jobs and (handle := self._jobs[0].handle) is not None:
            self._accepted.append(handle)
            self._jobs.popleft()

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
