"""The results of many workloads, in order or as they come, with a bounded number of jobs under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from math import inf
from time import monotonic
from typing import Any, Final

from gearman_client.client.map_order import MapOrder
from gearman_client.errors import ArgumentError, GearmanError
from gearman_client.task_sets.maker import AddOptions
from gearman_client.task_sets.runner import TaskRunner
from gearman_client.task_sets.set_task import SetTask, TaskRules

#: After so long without a look at the servers the next one is due, although there may be more workloads.
_SLOW_S: Final = 0.005


class MapOptions(AddOptions, total=False):
    """The keyword arguments of the jobs of a `map`."""


class Mapping:
    """One `map` under way.

    The workloads are taken one by one, and while they come slowly the jobs of the earlier ones go on.
    """

    def __init__(
        self, runner: TaskRunner, new_task: Callable[[Any], SetTask[Any]], workloads: Iterable[Any], order: MapOrder
    ) -> None:
        self._runner = runner
        self._new_task = new_task
        self._workloads = self._up_to_failure(iter(workloads))
        self._order = order
        #: In order: the tasks whose results have not been given. Else they are those of the runner.
        self._ahead: deque[SetTask[Any]] = deque()
        self._has_more = True
        #: What the source raised instead of a workload: it comes after the results of those before.
        self._source_error: Exception | None = None

    def results(self) -> Iterator[Any]:
        """The results; a failure is raised, or given, in its place."""
        try:
            for task in self._done():
                if not self._order.return_exceptions:
                    yield task.result()
                    continue
                try:
                    result = task.result()
                except GearmanError as error:
                    result = error
                yield result
        finally:
            self._runner.close()

    def _done(self) -> Iterator[SetTask[Any]]:
        """The tasks that are done, each in its turn."""
        runner, window = self._runner, self._order.window
        # Half a window is sent at once: with a job at a time each would take a write of its own.
        low = window // 2
        while True:
            ahead = self._taken
            if not ahead and not self._has_more:
                if self._source_error is not None:
                    raise self._source_error
                return
            is_ready = self._is_ready
            if self._has_more and ahead < window and (ahead <= low or not is_ready):
                self._take(window - ahead)
                runner.step(monotonic())
            elif not is_ready:
                runner.step(inf)
            yield from self._give(low)

    @property
    def _taken(self) -> int:
        """The number of workloads that were taken and whose results have not been given."""
        if self._order.as_completed:
            return self._runner.unfinished + len(self._runner.finished)
        return len(self._ahead)

    @property
    def _is_ready(self) -> bool:
        if self._order.as_completed:
            return bool(self._runner.finished)
        return bool(self._ahead) and self._ahead[0].is_done

    def _give(self, low: int) -> Iterator[SetTask[Any]]:
        """What is ready, until no more than `low` are left while there are more workloads."""
        ahead, finished, runner = self._ahead, self._runner.finished, self._runner
        if self._order.as_completed:
            while finished:
                yield finished.popleft()
                if self._has_more and runner.unfinished + len(finished) <= low:
                    return
            return
        finished.clear()
        while ahead and ahead[0].is_done:
            yield ahead.popleft()
            if self._has_more and len(ahead) <= low:
                return

    def _take(self, count: int) -> None:
        """Take up to so many workloads; fewer if they come slowly, because jobs wait to be sent."""
        until = monotonic() + _SLOW_S
        for workload in self._workloads:
            self._add(workload)
            count -= 1
            if not count or monotonic() >= until:
                return
        self._has_more = False

    def _up_to_failure(self, source: Iterator[Any]) -> Iterator[Any]:
        """The workloads up to the source's end, or to its failure."""
        try:
            for workload in source:  # noqa: UP028 - `yield from` would close the caller's generator with this one
                yield workload
        except Exception as error:  # noqa: BLE001 - the reader gets it
            self._source_error = error

    def _add(self, workload: Any) -> None:
        try:
            task = self._new_task(workload)
        except ArgumentError as error:  # it fails in its place
            task = SetTask("", workload, b"", TaskRules())
            task.error, task.is_done = error, True
            if self._order.as_completed:
                self._runner.finished.append(task)
        else:
            self._runner.add(task)
        if not self._order.as_completed:
            self._ahead.append(task)
