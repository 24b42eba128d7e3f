"""A batch of jobs at one server, for the asynchronous client."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from datetime import timedelta
from time import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, Unpack

from gearman_client.arguments import check_options
from gearman_client.async_client.attempts import AsyncAttempts, repeat
from gearman_client.async_client.calls import ask, leave_job
from gearman_client.async_client.many import check_workloads, submit_all
from gearman_client.client.batch_packets import (
    BATCHES_REQUEST,
    BatchStatus,
    has_no_batches,
    request_packet,
    to_batch_status,
)
from gearman_client.client.many_jobs import WorkloadT
from gearman_client.client.options import BackgroundOptions, ManyOptions
from gearman_client.client.submission import UNSET, SubmissionSettings, Unset, when
from gearman_client.errors import NotSupported, ServerError
from gearman_client.extensions import BATCH
from gearman_client.packet import PacketType

if TYPE_CHECKING:
    from gearman_client.address import Address
    from gearman_client.async_client.link import Link
    from gearman_client.async_client.servers import Servers
    from gearman_client.client.attempts import Limits
    from gearman_client.client.job_status import JobHandle

Duration = timedelta | float | None


class BatchCalls:
    """The calls of a client about batches of jobs, each at a server that is named.

    here: the servers as the running event loop uses them. limits: those of a call that begins now.
    """

    def __init__(
        self, submissions: SubmissionSettings, here: Callable[[], Servers], limits: Callable[[Duration], Limits]
    ) -> None:
        self._submissions = submissions
        self._here = here
        self._limits = limits

    async def ask(self, packet: bytes, server: Address | None, timeout_s: Duration) -> tuple[Address, BatchStatus]:
        """Ask a server, the first that can be reached or this one, to do something with a batch."""
        servers = self._here()
        only = None if server is None else servers.at(server)
        return await _ask_about_batch(AsyncAttempts(servers, self._limits(timeout_s), only=only), packet)

    async def submit(
        self, function: str, workload: Any, json: Any, options: BackgroundOptions, server: Address
    ) -> JobHandle:
        """Leave a job with this server."""
        check_options("background", options, BackgroundOptions.__annotations__, ("function", "workload", "json"))
        submission = self._submissions.background(function, workload, json, options, when(options, time()))
        servers = self._here()
        attempts = AsyncAttempts(servers, self._limits(options.get("timeout_s")), only=servers.at(server))
        return await leave_job(attempts, submission.forms, function, is_repeatable=submission.is_repeatable)

    async def submit_many(
        self, function: str, workloads: Iterable[Any] | AsyncIterable[Any], options: ManyOptions, server: Address
    ) -> list[JobHandle]:
        """Leave many jobs with this server."""
        check_workloads(workloads)
        check_options("background_many", options, ManyOptions.__annotations__, ("function", "workloads"))
        forms = self._submissions.encoder(function, options, when(options, time()), background=True)
        servers = self._here()
        limits = self._limits(options.get("timeout_s"))
        return await submit_all(servers, forms, workloads, limits, servers.at(server))


class AsyncJobBatch(Generic[WorkloadT]):
    """A batch; `async with` opens it, closes it at the end, and cancels it after an exception. As `JobBatch`."""

    def __init__(self, name: str, packet: bytes, calls: BatchCalls, timeout_s: Duration) -> None:
        self.id = name
        self._packet = packet
        self._calls = calls
        self._timeout_s = timeout_s
        self._server: Address | None = None

    async def open(self) -> BatchStatus:
        """Open it at the first server that can be reached; `async with` does so."""
        self._server, status = await self._calls.ask(self._packet, self._server, self._timeout_s)
        return status

    @property
    def server(self) -> Address:
        """Where it is."""
        if self._server is None:
            raise RuntimeError("the batch is not open: use `async with`, or await `open()`")
        return self._server

    async def background(
        self,
        function: str,
        workload: WorkloadT | Unset = UNSET,
        *,
        json: Any = UNSET,
        **options: Unpack[BackgroundOptions],
    ) -> JobHandle:
        """Add a job. As `JobBatch.background`."""
        options["batch"] = self.id
        return await self._calls.submit(function, workload, json, options, self.server)

    async def background_many(
        self,
        function: str,
        workloads: Iterable[WorkloadT] | AsyncIterable[WorkloadT],
        **options: Unpack[ManyOptions],
    ) -> list[JobHandle]:
        """Add many jobs. As `AsyncClient.submit_background_many`."""
        options["batch"] = self.id
        return await self._calls.submit_many(function, workloads, options, self.server)

    async def status(self) -> BatchStatus:
        """What the server knows of it."""
        return await self._ask("get")

    async def close(self) -> BatchStatus:
        """Add no more jobs. As `JobBatch.close`."""
        return await self._ask("close")

    async def cancel(self) -> BatchStatus:
        """Close it, and cancel its jobs. As `JobBatch.cancel`."""
        return await self._ask("cancel")

    async def stop(self) -> BatchStatus:
        """Close it, cancel the jobs that wait, and stop those that run."""
        return await self._ask("stop")

    async def _ask(self, what: Literal["get", "close", "cancel", "stop"]) -> BatchStatus:
        return (await self._calls.ask(request_packet(self.id, what), self.server, self._timeout_s))[1]

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self.cancel()


async def _ask_about_batch(attempts: AsyncAttempts, packet: bytes) -> tuple[Address, BatchStatus]:
    """Ask a server to do something with a batch. Errors are those of the blocking client's twin."""
    limits = attempts.limits

    async def converse(link: Link) -> tuple[Address, BatchStatus]:
        try:
            await ask(link, BATCHES_REQUEST, PacketType.OPTION_RES, limits)
        except (ServerError, NotSupported) as error:
            raise has_no_batches(link.address) from error
        return link.address, to_batch_status(await ask(link, packet, BATCH, limits))

    return await repeat(attempts, converse)
