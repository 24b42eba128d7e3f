"""The client for asyncio: what `Client` does, with `await`; one connection to each server serves all coroutines.

It belongs to the event loop in which it is first used. In a forked process, and in the next event loop after one that
was closed, it begins anew with connections of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from math import inf
from time import monotonic, time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, overload

from gearman_client import exclusive
from gearman_client.address import Address, default_servers, parse_addresses
from gearman_client.arguments import check_options, to_seconds
from gearman_client.async_client.at_home import status_of, stop
from gearman_client.async_client.attempts import AsyncAttempts
from gearman_client.async_client.awaited import check_callbacks
from gearman_client.async_client.calls import answering, ask_any, find_status, leave_job, run_job
from gearman_client.async_client.kept_result import fetch_result
from gearman_client.async_client.many import check_workloads, submit_all
from gearman_client.async_client.mapping import results
from gearman_client.async_client.servers import Servers
from gearman_client.client.attempts import Limits
from gearman_client.client.codec import Codec
from gearman_client.client.foreground import JobCallbacks
from gearman_client.client.job_status import JobHandle, JobStatus
from gearman_client.client.map_order import map_order
from gearman_client.client.opening import OpeningSettings
from gearman_client.client.options import (
    BackgroundOptions,
    ClientOptions,
    ForegroundOptions,
    ManyOptions,
    client_settings,
)
from gearman_client.client.submission import UNSET, Unset, when
from gearman_client.connection.roster import Roster
from gearman_client.errors import InUse
from gearman_client.packet import PacketType, encode_request
from gearman_client.text import to_body, to_identifier

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from gearman_client.async_client.job_batch import AsyncJobBatch, BatchCalls
    from gearman_client.async_client.remote_task import AsyncRemoteTask
    from gearman_client.async_client.task_set import AsyncTaskSet
    from gearman_client.client.batch_packets import BatchStatus
    from gearman_client.client.job_options import Follower
    from gearman_client.task_sets.maker import TaskMaker
    from gearman_client.task_sets.mapping import MapOptions
    from gearman_client.task_sets.set_task import TaskSetOptions

    WorkloadT = TypeVar("WorkloadT", default=bytes | str)
    ResultT = TypeVar("ResultT", default=bytes)
else:
    from typing import TypeVar

    WorkloadT = TypeVar("WorkloadT")
    ResultT = TypeVar("ResultT")


class AsyncClient(Generic[WorkloadT, ResultT]):
    """A client of one or several job servers for the coroutines of one event loop; an asynchronous context manager.

    servers: `"host:port"`, several of them separated by commas, or a list; None: those that the environment variable
        GEARMAN_SERVERS names, else the one on this machine.
    codec: makes workloads and results of other values; None: workloads are bytes or text, results are bytes.
    options: `ClientOptions` explains them.

    A call that is cancelled, or whose time is over, leaves its connection as it is: what the server still sends about
    the job is swallowed. Only when nobody else has needed the connection for a second is it closed, so that the server
    gives up a foreground job that no worker has begun.

    Raises:
        AddressError: `servers` is not a list of addresses.
        ArgumentError: an option has a value that it can't have.
        TypeError: there is no such option.
    """

    @overload
    def __init__(
        self: AsyncClient[bytes | str, bytes],
        servers: str | Address | Iterable[str | Address] | None = None,
        *,
        codec: None = None,
        **options: Unpack[ClientOptions],
    ) -> None: ...

    @overload
    def __init__(
        self,
        servers: str | Address | Iterable[str | Address] | None = None,
        *,
        codec: Codec[WorkloadT, ResultT],
        **options: Unpack[ClientOptions],
    ) -> None: ...

    def __init__(
        self,
        servers: str | Address | Iterable[str | Address] | None = None,
        *,
        codec: Codec[Any, Any] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        settings = client_settings("AsyncClient", codec, options)
        self._timeout_s, self._submissions = settings.timeout_s, settings.submissions
        given = default_servers(os.environ) if servers is None else servers
        self._roster = Roster(parse_addresses(given, settings.tls))
        self._opening = OpeningSettings(*settings.bounds, self._roster if settings.discover else None)
        self._servers: Servers | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.close()

    @overload
    async def submit(self, function: str, workload: WorkloadT, **options: Unpack[ForegroundOptions]) -> ResultT: ...

    @overload
    async def submit(self, function: str, *, json: Any, **options: Unpack[ForegroundOptions]) -> Any: ...

    async def submit(
        self,
        function: str,
        workload: WorkloadT | Unset = UNSET,
        *,
        json: Any = UNSET,
        **options: Unpack[ForegroundOptions],
    ) -> Any:
        """Run a job and return its result. Arguments and errors are those of `Client.submit`.

        The callbacks are plain functions, which the event loop calls while the call waits.

        Raises:
            InUse: another event loop, which is not closed, uses this client.
        """
        check_options("submit", options, ForegroundOptions.__annotations__, ("function", "workload", "json"))
        check_callbacks(options)
        submission = self._submissions.foreground(function, workload, json, options)
        limits = self._limits(options.get("timeout_s"))
        attempts = AsyncAttempts(self._here(), limits, submission.server_key)
        result = await run_job(attempts, submission.forms, options, resubmit=options.get("resubmit", True))
        return submission.codec.decode(result)

    async def submit_background(
        self,
        function: str,
        workload: WorkloadT | Unset = UNSET,
        *,
        json: Any = UNSET,
        **options: Unpack[BackgroundOptions],
    ) -> JobHandle:
        """Leave a job with the server and return its handle.

        Arguments and errors are those of `Client.submit_background`.

        Raises:
            InUse: another event loop, which is not closed, uses this client.
        """
        check_options("submit_background", options, BackgroundOptions.__annotations__, ("function", "workload", "json"))
        submission = self._submissions.background(function, workload, json, options, when(options, time()))
        attempts = AsyncAttempts(self._here(), self._limits(options.get("timeout_s")), submission.server_key)
        return await leave_job(attempts, submission.forms, function, is_repeatable=submission.is_repeatable)

    def batch(
        self,
        *,
        on_complete: Follower | None = None,
        on_success: Follower | None = None,
        on_failure: Follower | None = None,
        id: str | None = None,
        timeout_s: timedelta | float | None = None,
    ) -> AsyncJobBatch[WorkloadT]:
        """A batch of background jobs, for an `async with` that opens it, adds jobs and closes it. As `Client.batch`."""
        from gearman_client.async_client.job_batch import AsyncJobBatch
        from gearman_client.client.batch_packets import open_packet

        callbacks = {"on_complete": on_complete, "on_success": on_success, "on_failure": on_failure}
        name, packet = open_packet(id, callbacks)
        return AsyncJobBatch(name, packet, self._batch_calls(), timeout_s)

    async def batch_status(
        self,
        id: str,
        *,
        server: Address | None = None,
        timeout_s: timedelta | float | None = None,
    ) -> BatchStatus:
        """What a server knows of a batch of jobs. As `Client.batch_status`."""
        from gearman_client.client.batch_packets import request_packet

        return (await self._batch_calls().ask(request_packet(id, "get"), server, timeout_s))[1]

    def _batch_calls(self) -> BatchCalls:
        from gearman_client.async_client.job_batch import BatchCalls

        return BatchCalls(self._submissions, self._here, self._limits)

    async def submit_background_many(
        self,
        function: str,
        workloads: Iterable[WorkloadT] | AsyncIterable[WorkloadT],
        **options: Unpack[ManyOptions],
    ) -> list[JobHandle]:
        """Leave many jobs with one server, and return their handles in the same order.

        The workloads may come from a generator, an asynchronous one too. Options and errors are those of
        `Client.submit_background_many`.
        """
        check_workloads(workloads)
        check_options("submit_background_many", options, ManyOptions.__annotations__, ("function", "workloads"))
        forms = self._submissions.encoder(function, options, when(options, time()), background=True)
        return await submit_all(self._here(), forms, workloads, self._limits(options.get("timeout_s")))

    def map(
        self,
        function: str,
        workloads: Iterable[WorkloadT] | AsyncIterable[WorkloadT],
        *,
        window: int | None = None,
        as_completed: bool = False,
        return_exceptions: bool = False,
        **options: Unpack[MapOptions],
    ) -> AsyncGenerator[ResultT, None]:
        """Run a job for each workload, many at a time: `async for result in client.map(…)`.

        The workloads may come from a generator, an asynchronous one too, and may be any number: no more of them are
        taken than the results that were given and `window`. Ending the iteration early cancels the jobs under way; to
        wait for that, close the generator with `contextlib.aclosing`.

        window: the most workloads taken ahead (200).
        as_completed: give each result as it comes, and not in the order of the workloads.
        return_exceptions: give the exception of a failed job in its place, instead of raising it, and go on.
        unique, priority, reducer: as with `submit`.
        timeout_s, try_timeout_s, retries, resubmit, callbacks: of each job, as with `task_set`. What a callback raises
            comes out in the place of the result.

        Raises (in the place of the result): as `submit`.

        Raises (at once):
            ArgumentError, TypeError: the arguments are none.
        """
        from gearman_client.async_client.task_run import TaskRun
        from gearman_client.task_sets.mapping import MapOptions

        others = ("function", "workloads", "window", "as_completed", "return_exceptions")
        check_options("map", options, MapOptions.__annotations__, others)
        check_workloads(workloads)
        check_callbacks(options)
        order = map_order(window, as_completed, return_exceptions)
        new_task = self._task_maker({}).many(function, options)

        async def submit(workload: Any) -> Any:
            task = new_task(workload)
            await TaskRun(task, self._here(), self._opening, _tell).carry_out()
            return task.result()

        return results(submit, workloads, order)

    def task_set(self, **options: Unpack[TaskSetOptions]) -> AsyncTaskSet[WorkloadT, ResultT]:
        """A set of jobs and status queries that run at the same time. As `Client.task_set`; callbacks are functions."""
        from gearman_client.async_client.task_set import AsyncTaskSet
        from gearman_client.task_sets.set_task import TaskSetOptions

        check_options("task_set", options, TaskSetOptions.__annotations__)
        check_callbacks(options)
        return AsyncTaskSet(self._here, self._opening, self._task_maker(options))

    async def result(
        self, handle: str, *, timeout_s: timedelta | float | None = None, **callbacks: Unpack[JobCallbacks]
    ) -> bytes:
        """The result of a background job whose function has `keep_result`. As `Client.result`."""
        check_options("result", callbacks, JobCallbacks.__annotations__, ("handle", "timeout_s"))
        check_callbacks(callbacks)
        waits = timeout_s is None or to_seconds(timeout_s, "timeout_s") > 0
        if waits:
            self._submissions.check_result(handle)
        limits = self._limits(timeout_s if waits else inf)
        return await fetch_result(self._here(), handle, callbacks, limits, waits=waits)

    async def status(self, handle: str, *, timeout_s: timedelta | float | None = None) -> JobStatus:
        """The status of a job. With a handle that names no server, all servers that can be reached are asked at once.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
            ArgumentError: the handle is longer than 63 bytes, or is no text.
        """
        return await status_of(self._here(), handle, self._limits(timeout_s))

    async def status_unique(self, unique: str, *, timeout_s: timedelta | float | None = None) -> JobStatus:
        """The status of the job with this unique id, of any function, and the number of clients that wait for it.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
            ArgumentError: the id is longer than 63 bytes, or is no text.
        """
        packet = encode_request(PacketType.GET_STATUS_UNIQUE, to_identifier(unique, "unique id"))
        servers = self._here()
        return await find_status(servers, servers.all, packet, PacketType.STATUS_RES_UNIQUE, self._limits(timeout_s))

    async def stop(self, handle: str, *, timeout_s: timedelta | float | None = None) -> bool:
        """Stop a job, also one that runs. As `Client.stop`."""
        return await stop(self._here(), handle, self._limits(timeout_s))

    @property
    def servers(self) -> tuple[Address, ...]:
        """The servers that are known now: those that were given, and those that they have told of."""
        return self._roster.known.addresses

    def check_waits(self, check: Callable[[str], None] | None) -> None:
        """Have `check` called with a function's name before its job, or the result of its job, is awaited.

        It raises an exception to refuse that.

        The manager uses this: a function must not wait for its own pool.
        """
        self._submissions = replace(self._submissions, check_wait=check)

    def task(self, name: str, *, result: Any = Any) -> AsyncRemoteTask[Any]:
        """A function that is a task on its workers, for a process without its module. As `Client.task`."""
        from gearman_client.async_client.remote_task import async_remote_task

        return async_remote_task(self, name, result)

    async def echo(self, data: bytes | str = b"ping", *, timeout_s: timedelta | float | None = None) -> bytes:
        """Send bytes to the first server that can be reached, and return its answer, the same bytes.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server answers.
        """
        packet = encode_request(PacketType.ECHO_REQ, to_body(data))
        return await ask_any(self._here(), packet, PacketType.ECHO_RES, self._limits(timeout_s))

    async def ping(self, *, timeout_s: timedelta | float | None = None) -> tuple[Address, ...]:
        """The servers that answer; all are asked at once."""
        return await answering(self._here(), self._limits(timeout_s))

    async def close(self) -> None:
        """Close all connections, those with requests under way at their end. Another call would open them again."""
        servers, self._servers = self._servers, None
        if servers is None:
            return
        if servers.loop is asyncio.get_running_loop() and servers.forks == exclusive.forks:
            servers.close()
        elif servers.loop.is_closed() or servers.forks != exclusive.forks:
            servers.forsake()
        else:
            self._servers = servers
            raise _in_another_loop()

    def _task_maker(self, options: TaskSetOptions) -> TaskMaker:
        from gearman_client.task_sets.maker import task_maker

        return task_maker(self._submissions, lambda: self.servers, self._timeout_s, options)

    def _here(self) -> Servers:
        """The servers as this event loop uses them."""
        loop = asyncio.get_running_loop()
        servers = self._servers
        if servers is not None and servers.loop is loop and servers.forks == exclusive.forks:
            servers.refresh()
            return servers
        if servers is not None:
            if servers.loop is loop:
                raise InUse("this event loop was copied by a fork: run a new one in the child, as with asyncio.run")
            if servers.forks == exclusive.forks and not servers.loop.is_closed():
                raise _in_another_loop()
            servers.forsake()
        self._servers = servers = Servers(self._roster.given, self._opening)
        return servers

    def _limits(self, timeout_s: timedelta | float | None) -> Limits:
        """The limits of a call that begins now."""
        seconds = self._timeout_s if timeout_s is None else to_seconds(timeout_s, "timeout_s")
        deadline = inf if seconds is None else monotonic() + seconds
        return Limits(deadline, self._opening.reply_timeout_s, self._opening.connect_timeout_s)


def _in_another_loop() -> InUse:
    return InUse("another event loop uses this AsyncClient, which serves one at a time: make one for each event loop")


def _tell(callbacks: tuple[Callable[..., object], ...], /, *arguments: Any) -> None:
    for callback in callbacks:
        callback(*arguments)
