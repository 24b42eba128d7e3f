"""Many jobs and status queries under way at once, over all servers: the task sets of the other Gearman libraries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from math import inf
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from gearman_client.arguments import to_optional_seconds
from gearman_client.errors import Timeout
from gearman_client.exclusive import Exclusive
from gearman_client.task_sets.adding import ResultT, TaskAdder, WorkloadT
from gearman_client.task_sets.maker import TaskMaker
from gearman_client.task_sets.runner import TaskRunner
from gearman_client.task_sets.set_task import SetTask

#: With fewer tasks none is searched for those that are done.
_FEW: Final = 1000


class TaskSet(TaskAdder[WorkloadT, ResultT]):
    """Tasks that run at the same time; `Client.task_set` makes one, for one thread. A context manager.

    Add tasks, also from a callback; they begin with `wait` or with an iteration. `for task in tasks` gives each task
    once, in the order in which they get done; until then the set keeps it. What a callback raises comes out of `wait`
    or of the iteration; the other tasks go on with the next call.
    """

    def __init__(self, runner: TaskRunner, maker: TaskMaker) -> None:
        super().__init__(maker)
        self._runner = runner
        self._exclusive = Exclusive("task set")
        #: Every task that is not done, and some that are.
        self._tasks: list[SetTask[Any]] = []
        self._limit = _FEW

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._exclusive.is_after_fork:
            self._runner.close()  # the child of a fork leaves the block: the tasks go on in its parent
        else:
            self.close()

    @property
    def unfinished(self) -> list[SetTask[Any]]:
        """The tasks that are not done, in the order in which they were added."""
        if self._runner.unfinished == 0:
            self._tasks.clear()
        return [task for task in self._tasks if not task.is_done]

    def wait(self, timeout_s: timedelta | float | None = None) -> list[SetTask[Any]]:
        """Wait until all tasks are done, and return those that are not: none, unless the time ran out.

        timeout_s: of this call; the tasks can be waited for again afterwards. None: wait until the last one is done;
            each has its own limits.

        Raises:
            InUse: another thread or a callback waits for this set, or the process was forked since it was made.
            ArgumentError: the time is none.
            BaseException: what a callback raised.
        """
        deadline = to_deadline(timeout_s)
        with self._exclusive:
            while self._runner.has_more:
                self._runner.step(deadline)
                if monotonic() >= deadline:
                    break
            if not self._runner.unfinished:
                self._runner.close()
        return self.unfinished

    def as_completed(self, timeout_s: timedelta | float | None = None) -> Iterator[SetTask[Any]]:
        """Each task once, in the order in which they get done, also those that are added meanwhile.

        timeout_s: of the whole iteration.

        Raises:
            Timeout: the time is over, and tasks are unfinished; they can be waited for again.
            InUse, ArgumentError, BaseException: as `wait`.
        """
        return self._completed(to_deadline(timeout_s))

    def __iter__(self) -> Iterator[SetTask[Any]]:
        return self.as_completed()

    def close(self) -> None:
        """End what is under way: jobs that no worker has begun are dropped by their servers, others are not awaited.

        Tasks that were not done are over, with the error `Unfinished` (`JobNotKnown` for a background job that was
        sent); no callback is called for them. New tasks can be added.

        Raises:
            InUse: another thread or a callback waits for this set.
        """
        with self._exclusive:
            self._runner.abandon(self.unfinished)

    def _take(self, task: SetTask[Any]) -> SetTask[Any]:
        self._runner.add(task)
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) > self._limit:
            tasks[:] = self.unfinished
            self._limit = max(_FEW, 2 * len(tasks))
        return task

    def _completed(self, deadline: float) -> Iterator[SetTask[Any]]:
        runner = self._runner
        while True:
            while runner.finished:
                yield runner.finished.popleft()
            with self._exclusive:
                if not runner.has_more:
                    runner.close()
                    return
                runner.step(deadline)
            if not runner.finished and monotonic() >= deadline:
                raise Timeout(f"{runner.unfinished} tasks are not done in the time allowed")


def to_deadline(timeout_s: timedelta | float | None) -> float:
    """The end of a wait that begins now (monotonic seconds); infinite without a limit.

    Raises:
        ArgumentError: the time is none.
    """
    seconds = to_optional_seconds(timeout_s, "timeout_s")
    return inf if seconds is None else monotonic() + seconds
