"""A batch of jobs at one server, for the blocking client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, Unpack

from gearman_client.client.attempts import Attempts, Limits, repeat
from gearman_client.client.batch_packets import (
    BATCHES_REQUEST,
    BatchStatus,
    has_no_batches,
    request_packet,
    to_batch_status,
)
from gearman_client.client.calls import ask
from gearman_client.client.many_jobs import WorkloadT
from gearman_client.client.submission import UNSET, Unset
from gearman_client.errors import NotSupported, ServerError
from gearman_client.extensions import BATCH
from gearman_client.packet import PacketType

if TYPE_CHECKING:
    from gearman_client.address import Address
    from gearman_client.client.job_status import JobHandle
    from gearman_client.client.options import BackgroundOptions, ManyOptions
    from gearman_client.client.server_pool import PooledServer, ServerPool
    from gearman_client.connection.connection import Connection

Submit = Callable[[str, Any, Any, "BackgroundOptions"], "JobHandle"]
SubmitMany = Callable[[str, Iterable[Any], "ManyOptions"], "list[JobHandle]"]
Request = Callable[[bytes], BatchStatus]


class JobBatch(Generic[WorkloadT]):
    """A batch; a context manager that closes it at the end, and cancels it after an exception.

    id: by which others add jobs (`batch=`) and ask for it. server: where it is; all of its jobs go there.
    """

    def __init__(self, name: str, server: Address, submit: Submit, submit_many: SubmitMany, request: Request) -> None:
        self.id = name
        self.server = server
        self._submit = submit
        self._submit_many = submit_many
        self._request = request

    def background(
        self,
        function: str,
        workload: WorkloadT | Unset = UNSET,
        *,
        json: Any = UNSET,
        **options: Unpack[BackgroundOptions],
    ) -> JobHandle:
        """Add a job. As `Client.submit_background`.

        Raises:
            ServerError: INVALID_BATCH, the batch is closed or unknown; and all that submit_background raises.
        """
        options["batch"] = self.id
        return self._submit(function, workload, json, options)

    def background_many(
        self, function: str, workloads: Iterable[WorkloadT], **options: Unpack[ManyOptions]
    ) -> list[JobHandle]:
        """Add many jobs. As `Client.submit_background_many`."""
        options["batch"] = self.id
        return self._submit_many(function, workloads, options)

    def status(self) -> BatchStatus:
        """What the server knows of it."""
        return self._ask("get")

    def close(self) -> BatchStatus:
        """Add no more jobs. When all have ended, the callbacks are submitted. Once it returns, that is certain.

        Raises:
            ServerError: QUEUE_ERROR, it could not be stored; repeat it later.
        """
        return self._ask("close")

    def cancel(self) -> BatchStatus:
        """Close it, and cancel its jobs: those that wait never run, and nobody hears of the outcome of the others."""
        return self._ask("cancel")

    def stop(self) -> BatchStatus:
        """Close it, cancel the jobs that wait, and stop those that run."""
        return self._ask("stop")

    def _ask(self, what: Literal["get", "close", "cancel", "stop"]) -> BatchStatus:
        return self._request(request_packet(self.id, what))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.cancel()


def ask_about_batch(
    pool: ServerPool, only: PooledServer | None, packet: bytes, limits: Limits
) -> tuple[Address, BatchStatus]:
    """Ask a server, the first that can be reached or this one, to do something with a batch.

    Raises:
        NotSupported: it has no batches.
        ServerError: it refuses that.
        CouldNotConnect, ConnectionLost, ProtocolError, Timeout: it could not be asked.
    """

    def converse(server: PooledServer, connection: Connection) -> tuple[Address, BatchStatus]:
        try:
            ask(server, connection, BATCHES_REQUEST, PacketType.OPTION_RES, limits)
        except (ServerError, NotSupported) as error:
            raise has_no_batches(server.address) from error
        return server.address, to_batch_status(ask(server, connection, packet, BATCH, limits))

    return repeat(Attempts(pool, limits, only=only), converse)
