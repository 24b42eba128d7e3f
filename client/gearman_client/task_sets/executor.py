"""An executor of `concurrent.futures` whose calls are jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, Generic, Unpack, overload

from gearman_client.address import Address
from gearman_client.arguments import to_count
from gearman_client.client.client import Client
from gearman_client.client.codec import Codec
from gearman_client.client.many_jobs import ResultT, WorkloadT
from gearman_client.client.map_order import MAX_WINDOW, WINDOW
from gearman_client.client.options import ClientOptions
from gearman_client.client.submission import UNSET, Unset

if TYPE_CHECKING:
    from gearman_client.task_sets.maker import AddOptions


class GearmanExecutor(Executor, Generic[WorkloadT, ResultT]):
    """Runs functions on Gearman's workers: `submit("reverse", b"abc")` gives a future of the result.

    servers, codec, options: as with `Client`.
    window: the most jobs under way at once (200). A future of a job beyond them has not started, and can be cancelled.

    A program ends when its futures are done, as with other executors. A child of a fork can use the executor too, but
    the futures made before are its parent's.
    """

    @overload
    def __init__(
        self: GearmanExecutor[bytes | str, bytes],
        servers: str | Address | Iterable[str | Address] | None = None,
        *,
        window: int = WINDOW,
        codec: None = None,
        **options: Unpack[ClientOptions],
    ) -> None: ...

    @overload
    def __init__(
        self,
        servers: str | Address | Iterable[str | Address] | None = None,
        *,
        window: int = WINDOW,
        codec: Codec[WorkloadT, ResultT],
        **options: Unpack[ClientOptions],
    ) -> None: ...

    def __init__(
        self,
        servers: str | Address | Iterable[str | Address] | None = None,
        *,
        window: int = WINDOW,
        codec: Codec[Any, Any] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._client: Client[Any, Any] = Client(servers, codec=codec, **options)
        self._futures = self._client._new_futures(to_count(window, "window", MAX_WINDOW))

    @overload  # type: ignore[override]
    def submit(self, function: str, workload: WorkloadT, /, **options: Unpack[AddOptions]) -> Future[ResultT]: ...

    @overload
    def submit(self, function: str, /, *, json: Any, **options: Unpack[AddOptions]) -> Future[Any]: ...

    def submit(
        self, function: str, workload: WorkloadT | Unset = UNSET, /, *, json: Any = UNSET, **options: Unpack[AddOptions]
    ) -> Future[Any]:
        """Submit a job; the future gives its result, or raises what `Client.submit` would.

        workload, json, unique, priority, reducer: as with `Client.submit`.
        timeout_s, try_timeout_s, retries, resubmit, callbacks: as with a task set; the callbacks run in a thread of the
            executor.

        Raises:
            ArgumentError, TypeError: as `TaskSet.add`.
            RuntimeError: the executor has been shut down.
        """
        return self._futures.submit("submit", function, workload, json, options)

    def map(  # type: ignore[override]
        self, function: str, *workloads: Iterable[WorkloadT], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[ResultT]:
        """The results of all workloads, in their order; every job is submitted at once.

        `Client.map` takes the workloads as they are needed, and no thread.

        timeout: in seconds; then TimeoutError of `concurrent.futures`.
        chunksize: without effect, as with threads.
        """
        return super().map(function, *workloads, timeout=timeout, chunksize=chunksize)  # type: ignore[arg-type]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs. The futures of those that were submitted get done, and this waits for them.

        wait: False returns at once.
        cancel_futures: cancel the futures of jobs that are not under way.
        """
        self._futures.driver.shut(wait=wait, cancel=cancel_futures)
        if wait:
            self._client.close()
