"""Adding tasks to a set: the same for the blocking sets and for those of asyncio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from time import time
from typing import Any, Generic, TypeVar, Unpack, overload

from gearman_client.arguments import check_options
from gearman_client.client.job_status import JobHandle, JobStatus
from gearman_client.client.submission import UNSET, Unset, when
from gearman_client.task_sets.maker import AddBackgroundOptions, AddOptions, TaskMaker
from gearman_client.task_sets.set_task import SetTask, TaskSetOptions

WorkloadT = TypeVar("WorkloadT")
ResultT = TypeVar("ResultT")


class TaskAdder(ABC, Generic[WorkloadT, ResultT]):
    """The base of task sets. They take each task over in `_take`."""

    def __init__(self, maker: TaskMaker) -> None:
        self._maker = maker

    @overload
    def add(
        self, function: str, workload: WorkloadT, *, context: Any = None, **options: Unpack[AddOptions]
    ) -> SetTask[ResultT]: ...

    @overload
    def add(self, function: str, *, json: Any, context: Any = None, **options: Unpack[AddOptions]) -> SetTask[Any]: ...

    def add(
        self,
        function: str,
        workload: WorkloadT | Unset = UNSET,
        *,
        json: Any = UNSET,
        context: Any = None,
        **options: Unpack[AddOptions],
    ) -> SetTask[Any]:
        """Add a job whose result is awaited.

        workload, json, unique, priority, reducer: as with `Client.submit`.
        context: anything; it is kept as `task.context`.
        timeout_s, try_timeout_s, retries, resubmit and the callbacks: see `TaskLimits` and `TaskCallbacks`. They
            override the set's limits; the callbacks of both are called.

        Raises:
            ArgumentError: a name, an id, the workload or a limit can't be sent or is none.
            TypeError: there is no such keyword argument, or no workload.
        """
        if options:
            self._check("add", options, AddOptions.__annotations__, ("function", "workload", "json", "context"))
        task = self._maker.foreground(function, workload, json, options)
        task.context = context
        return self._take(task)

    def add_background(
        self,
        function: str,
        workload: WorkloadT | Unset = UNSET,
        *,
        json: Any = UNSET,
        context: Any = None,
        **options: Unpack[AddBackgroundOptions],
    ) -> SetTask[JobHandle]:
        """Add a job that is left with a server. It is done when the server has accepted it; its result is the handle.

        It is never submitted twice: when its server is lost before it has answered, the error is `JobNotKnown`.
        Arguments and errors as with `add`; `at` and `delay` as with `Client.submit_background`.
        """
        others = ("function", "workload", "json", "context")
        self._check("add_background", options, AddBackgroundOptions.__annotations__, others)
        task = self._maker.background(function, workload, json, options, when(options, time()))
        task.context = context
        return self._take(task)

    def add_status(self, handle: str, *, context: Any = None, **options: Unpack[TaskSetOptions]) -> SetTask[JobStatus]:
        """Add a query for the status of a job. With a handle that names no server, the servers are asked in turn.

        Raises:
            ArgumentError: the handle is longer than 63 bytes, or is no text.
        """
        self._check("add_status", options, TaskSetOptions.__annotations__, ("handle", "context"))
        task = self._maker.status(handle, options)
        task.context = context
        return self._take(task)

    def add_status_unique(
        self, unique: str, *, context: Any = None, **options: Unpack[TaskSetOptions]
    ) -> SetTask[JobStatus]:
        """Add a query for the status of the job with a unique id, of any function; the servers are asked in turn.

        Raises:
            ArgumentError: the id is longer than 63 bytes, or is no text.
        """
        self._check("add_status_unique", options, TaskSetOptions.__annotations__, ("unique", "context"))
        task = self._maker.status_unique(unique, options)
        task.context = context
        return self._take(task)

    def _check(
        self, caller: str, options: Mapping[str, object], known: Mapping[str, object], others: Iterable[str]
    ) -> None:
        check_options(caller, options, known, others)

    @abstractmethod
    def _take(self, task: SetTask[Any]) -> SetTask[Any]: ...
