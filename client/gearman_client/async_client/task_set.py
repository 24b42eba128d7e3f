"""Many jobs and status queries under way at once on asyncio: what `TaskSet` is for the blocking client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from math import inf
from types import TracebackType
from typing import Any, Self

from gearman_client.async_client.awaited import check_callbacks
from gearman_client.async_client.servers import Servers
from gearman_client.async_client.task_run import TaskRun
from gearman_client.client.opening import OpeningSettings
from gearman_client.errors import Timeout
from gearman_client.task_sets.adding import ResultT, TaskAdder, WorkloadT
from gearman_client.task_sets.maker import TaskMaker
from gearman_client.task_sets.runner import abandoned
from gearman_client.task_sets.set_task import SetTask
from gearman_client.task_sets.task_set import to_deadline


class AsyncTaskSet(TaskAdder[WorkloadT, ResultT]):
    """Tasks that run at the same time; `AsyncClient.task_set` makes one. An asynchronous context manager.

    Add tasks in the client's event loop, also from a callback. Each begins at once, and goes on whether somebody waits
    for it or not. `async for task in tasks` gives each task once, in the order in which they get done; until then the
    set keeps it. Callbacks are plain functions; what one raises comes out of `wait` or of the iteration, and the tasks
    go on.
    """

    def __init__(self, here: Callable[[], Servers], settings: OpeningSettings, maker: TaskMaker) -> None:
        super().__init__(maker)
        self._here = here
        self._settings = settings
        #: What carries out each task that is not done.
        self._under_way: dict[SetTask[Any], asyncio.Task[None]] = {}
        self._finished: deque[SetTask[Any]] = deque()
        self._raised: deque[Exception] = deque()
        #: Set, and cleared at once, whenever a task is done or a callback has raised.
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def unfinished(self) -> list[SetTask[Any]]:
        """The tasks that are not done, in the order in which they were added."""
        return list(self._under_way)

    async def wait(self, timeout_s: timedelta | float | None = None) -> list[SetTask[Any]]:
        """Wait until all tasks are done, and return those that are not: none, unless the time ran out.

        timeout_s: of this call; the tasks go on, and can be waited for again. None: wait until the last one is done;
            each has its own limits.

        Raises:
            ArgumentError: the time is none.
            Exception: what a callback raised.
        """
        deadline = to_deadline(timeout_s)
        while self._under_way or self._raised:
            if self._raised:
                raise self._raised.popleft()
            if not await self._hear(deadline):
                break
        return self.unfinished

    def as_completed(self, timeout_s: timedelta | float | None = None) -> AsyncGenerator[SetTask[Any], None]:
        """Each task once, in the order in which they get done, also those that are added meanwhile.

        timeout_s: of the whole iteration.

        Raises:
            Timeout: the time is over, and tasks are unfinished; they go on, and can be waited for again.
            ArgumentError, Exception: as `wait`.
        """
        return self._completed(to_deadline(timeout_s))

    def __aiter__(self) -> AsyncIterator[SetTask[Any]]:
        return self.as_completed()

    async def close(self) -> None:
        """Cancel what is under way.

        Tasks that were not done are over, with the error `Unfinished` (`JobNotKnown` for a background job that was
        sent); no callback is called for them. New tasks can be added.
        """
        runs = list(self._under_way.values())
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

    def _check(
        self, caller: str, options: Mapping[str, object], known: Mapping[str, object], others: Iterable[str]
    ) -> None:
        super()._check(caller, options, known, others)
        check_callbacks(options)

    def _take(self, task: SetTask[Any]) -> SetTask[Any]:
        run = TaskRun(task, self._here(), self._settings, self._tell)
        under_way = asyncio.get_running_loop().create_task(run.carry_out())
        self._under_way[task] = under_way
        # Not at the end of a coroutine: one that is cancelled before it has begun never gets there.
        under_way.add_done_callback(lambda _: self._note_end(task))
        return task

    def _note_end(self, task: SetTask[Any]) -> None:
        if not task.is_done:
            task.error = abandoned(task)
            task.is_done = True
            task.forget_packets()
        del self._under_way[task]
        self._finished.append(task)
        self._tell_news()

    def _tell(self, callbacks: tuple[Callable[..., object], ...], /, *arguments: Any) -> None:
        for callback in callbacks:
            try:
                callback(*arguments)
            except Exception as error:  # noqa: BLE001 - `wait` raises it
                self._raised.append(error)
                self._tell_news()

    def _tell_news(self) -> None:
        self._news.set()
        self._news.clear()

    async def _hear(self, deadline: float) -> bool:
        """Wait until something has changed; False when the time runs out."""
        try:
            async with asyncio.timeout_at(None if deadline == inf else deadline):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _completed(self, deadline: float) -> AsyncGenerator[SetTask[Any], None]:
        while True:
            while self._finished:
                yield self._finished.popleft()
            if self._raised:
                raise self._raised.popleft()
            if not self._under_way:
                return
            if not await self._hear(deadline):
                raise Timeout(f"{len(self._under_way)} tasks are not done in the time allowed")
