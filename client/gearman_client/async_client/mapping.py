"""The results of many jobs, of which a bounded number is under way: in the order of their workloads, or as they come.

The memory does not grow with the number of workloads: no workload is taken from its source before there is room for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Final

from gearman_client.client.map_order import MapOrder
from gearman_client.errors import GearmanError

#: In place of a workload: there is none any more, or it is not there yet.
_END: Final = object()
_LATER: Final = object()

Submit = Callable[[Any], Coroutine[Any, Any, Any]]


async def results(
    submit: Submit, workloads: Iterable[Any] | AsyncIterable[Any], order: MapOrder
) -> AsyncGenerator[Any, None]:
    """The results; a failure is raised, or given, in its place. At the end the jobs under way are cancelled."""
    jobs = _Jobs(submit, workloads, order)
    try:
        while await jobs.wait():
            if not order.return_exceptions:
                yield jobs.take()
                continue
            try:
                result = jobs.take()
            except GearmanError as error:
                result = error
            yield result
    finally:
        await jobs.close()


class _Jobs:
    """The jobs under way, and the workloads to come."""

    def __init__(self, submit: Submit, workloads: Iterable[Any] | AsyncIterable[Any], order: MapOrder) -> None:
        self._loop = asyncio.get_running_loop()
        self._submit = submit
        self._window = order.window
        self._as_completed = order.as_completed
        self._source = aiter(workloads) if isinstance(workloads, AsyncIterable) else iter(workloads)
        #: The next workload of an asynchronous source, which may take its time.
        self._arrival: asyncio.Task[Any] | None = None
        self._is_exhausted = False
        #: What the source raised instead of a workload: it comes after the results of those before.
        self._source_error: Exception | None = None
        #: The jobs that are not taken yet; all of them, and in the order in which to take them. A job that is to be
        #: taken as it comes has no place in the order before its end.
        self._jobs: set[asyncio.Task[Any]] = set()
        self._order: deque[asyncio.Task[Any]] = deque()
        self._news: asyncio.Future[None] | None = None

    async def wait(self) -> bool:
        """Wait until there is something to take; False if there never will be."""
        while True:
            self._begin_jobs()
            if self._has_next():
                return True
            if self._is_exhausted and not self._jobs:
                if self._source_error is not None:
                    raise self._source_error
                return False
            self._news = self._loop.create_future()
            await self._news

    def take(self) -> Any:
        """The next result.

        Raises:
            Exception: the job's.
        """
        task = self._order.popleft()
        self._jobs.remove(task)
        return task.result()

    async def close(self) -> None:
        """Cancel what is under way, and wait for its end."""
        tasks = list(self._jobs)
        if self._arrival is not None:
            tasks.append(self._arrival)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _has_next(self) -> bool:
        return bool(self._order) and self._order[0].done()

    def _begin_jobs(self) -> None:
        """Begin as many jobs as there is room for and workloads at hand."""
        while not self._is_exhausted and len(self._jobs) < self._window:
            try:
                workload = self._next_workload()
            except Exception as error:  # noqa: BLE001 - the reader gets it
                self._source_error, workload = error, _END
            if workload is _LATER:
                return
            if workload is _END:
                self._is_exhausted = True
                return
            task = self._loop.create_task(self._submit(workload))
            self._jobs.add(task)
            if not self._as_completed:
                self._order.append(task)
            task.add_done_callback(self._note_end)

    def _next_workload(self) -> Any:
        source = self._source
        if not isinstance(source, AsyncIterator):
            return next(source, _END)
        if self._arrival is None:
            self._arrival = self._loop.create_task(_next_of(source))
            self._arrival.add_done_callback(self._tell)
        if not self._arrival.done():
            return _LATER
        arrival, self._arrival = self._arrival, None
        return arrival.result()

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        if self._as_completed:
            self._order.append(task)
        if self._has_next():
            self._tell()

    def _tell(self, _arrival: asyncio.Task[Any] | None = None) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


async def _next_of(source: AsyncIterator[Any]) -> Any:
    """As a coroutine, which is what a task needs."""
    return await anext(source, _END)
