"""The part of a client that has many jobs under way at once: task sets, `map` and futures. It only delegates.

The modules behind it are imported when they are first used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Unpack, overload

from gearman_client.arguments import check_options
from gearman_client.client.map_order import map_order
from gearman_client.client.server_pool import PoolSettings
from gearman_client.client.shared_pools import SharedPools
from gearman_client.client.submission import UNSET, SubmissionSettings, Unset
from gearman_client.connection.roster import Roster
from gearman_client.errors import ArgumentError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from typing_extensions import TypeVar

    from gearman_client.task_sets.futures import Futures
    from gearman_client.task_sets.maker import AddOptions, TaskMaker
    from gearman_client.task_sets.mapping import MapOptions
    from gearman_client.task_sets.set_task import TaskSetOptions
    from gearman_client.task_sets.task_set import TaskSet

    WorkloadT = TypeVar("WorkloadT", default=bytes | str)
    ResultT = TypeVar("ResultT", default=bytes)
else:
    from typing import TypeVar

    WorkloadT = TypeVar("WorkloadT")
    ResultT = TypeVar("ResultT")


class ManyJobs(Generic[WorkloadT, ResultT]):
    """The base of `Client`, which sets the attributes."""

    _pools: SharedPools
    _pool_settings: PoolSettings
    _roster: Roster
    _submissions: SubmissionSettings
    _timeout_s: float | None
    _futures: Futures | None = None

    def task_set(self, **options: Unpack[TaskSetOptions]) -> TaskSet[WorkloadT, ResultT]:
        """A set of jobs and status queries that run at the same time.

        timeout_s, try_timeout_s, retries, resubmit: the limits of each task, see `TaskLimits`; `timeout_s` is the
            client's by default.
        on_created, on_data, on_status, on_warning, on_complete, on_exception, on_fail, on_retry: callbacks for every
            task, see `TaskCallbacks`.

        Raises:
            ArgumentError: a limit is none, or a callback can't be called.
            TypeError: there is no such keyword argument.
        """
        from gearman_client.task_sets.runner import TaskRunner
        from gearman_client.task_sets.set_task import TaskSetOptions
        from gearman_client.task_sets.task_set import TaskSet

        check_options("task_set", options, TaskSetOptions.__annotations__)
        return TaskSet(TaskRunner(self._pools, self._pool_settings), self._task_maker(options))

    def map(
        self,
        function: str,
        workloads: Iterable[WorkloadT],
        *,
        window: int | None = None,
        as_completed: bool = False,
        return_exceptions: bool = False,
        **options: Unpack[MapOptions],
    ) -> Iterator[ResultT]:
        """Run a job for each workload, many at a time, and give the results in the order of the workloads.

        The workloads may come from a generator, and may be any number: no more of them are taken than the results that
        were given and `window`. Nothing happens until the first result is asked for. Ending the iteration early
        abandons the jobs under way.

        window: the most workloads taken ahead (200).
        as_completed: give each result as it comes.
        return_exceptions: give the exception of a failed job in its place, instead of raising it, and go on.
        unique, priority, reducer: as with `submit`.
        timeout_s, try_timeout_s, retries, resubmit, callbacks: of each job, as with `task_set`.

        Raises (in the place of the result):
            JobFailed, JobException, Timeout, ServerError, ResultNotDecoded: as `submit`.
            ConnectionLost: the server was lost, and `resubmit` is False.
            CouldNotConnect: no server can be reached.
            ArgumentError: the workload can't be sent.

        Raises (at once):
            ArgumentError, TypeError: as `task_set`.
        """
        from gearman_client.task_sets.mapping import MapOptions, Mapping
        from gearman_client.task_sets.runner import TaskRunner

        others = ("function", "workloads", "window", "as_completed", "return_exceptions")
        check_options("map", options, MapOptions.__annotations__, others)
        if isinstance(workloads, str | bytes | bytearray | memoryview) or not isinstance(workloads, Iterable):
            raise ArgumentError(f"workloads: expected a list or another iterable, not {type(workloads).__name__}")
        order = map_order(window, as_completed, return_exceptions)
        new_task = self._task_maker({}).many(function, options)
        return Mapping(TaskRunner(self._pools, self._pool_settings), new_task, workloads, order).results()

    @overload
    def submit_future(self, function: str, workload: WorkloadT, **options: Unpack[AddOptions]) -> Future[ResultT]: ...

    @overload
    def submit_future(self, function: str, *, json: Any, **options: Unpack[AddOptions]) -> Future[Any]: ...

    def submit_future(
        self,
        function: str,
        workload: WorkloadT | Unset = UNSET,
        *,
        json: Any = UNSET,
        **options: Unpack[AddOptions],
    ) -> Future[Any]:
        """Submit a job, and return a `concurrent.futures.Future` of its result at once.

        A thread of the client looks after all futures; it ends when it had nothing to do for ten seconds. A future can
        be cancelled as long as its job waits for one of the 200 places of those under way.

        workload, json, unique, priority, reducer: as with `submit`.
        timeout_s, try_timeout_s, retries, resubmit, callbacks: as with `task_set`; callbacks run in that thread.

        Raises:
            ArgumentError, TypeError: as `TaskSet.add`.
        """
        if self._futures is None:
            from gearman_client.client.map_order import WINDOW

            self._futures = self._new_futures(WINDOW)
        return self._futures.submit("submit_future", function, workload, json, options)

    def _new_futures(self, window: int) -> Futures:
        from gearman_client.task_sets.futures import FutureDriver, Futures

        return Futures(FutureDriver(self._pools, self._pool_settings, window), self._task_maker({}))

    def _task_maker(self, options: TaskSetOptions) -> TaskMaker:
        from gearman_client.task_sets.maker import task_maker

        roster = self._roster
        return task_maker(self._submissions, lambda: roster.known.addresses, self._timeout_s, options)
