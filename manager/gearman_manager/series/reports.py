"""Tells how a pool, a function, or all together have fared over a range: the columns of charts, and marks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from gearman_manager.control.turns import Turns
from gearman_manager.errors import NotFound
from gearman_manager.history.action_log import ActionLog
from gearman_manager.history.history_file import HistoryFile
from gearman_manager.series import points_table as table
from gearman_manager.series.columns import Times, function_columns, pool_columns
from gearman_manager.series.figures import FUNCTION, POOL, Point, unpacked
from gearman_manager.series.function_times import FunctionTimes
from gearman_manager.series.points_table import HOUR_S, MINUTE_S, Key
from gearman_manager.series.ranges import Range
from gearman_manager.series.recorder import (
    ALL_FUNCTIONS,
    ALL_POOLS,
    EVERY_S,
    FUNCTION_KIND,
    POOL_KIND,
    Recorder,
    figures_of,
)

Report = dict[str, Any]
#: Marks of one range: the newest.
MOST_MARKS: Final = 100
_MOST_READ: Final = 1000
#: Actions that concern single jobs, or nothing at all: they are no reason for anything in a chart.
_OF_JOBS: Final = ("login", "logout", "jobs ", "dead ", "functions run", "schedules ", "job ", "batches ")
_SAMPLES: Final = FUNCTION.place["samples"]
_LIMIT: Final = POOL.place["limit"]


class Reports:
    """Reads what was recorded, the minute that is not over yet included."""

    def __init__(
        self,
        recorder: Recorder,
        file: HistoryFile,
        actions: ActionLog,
        pools: Callable[[], Sequence[str]],
        functions: Callable[[], Sequence[str]],
    ) -> None:
        self._recorder = recorder
        self._file = file
        self._actions = actions
        self._pools = pools
        self._functions = functions
        self._times = FunctionTimes(recorder, file)

    def of_pool(self, name: str, wished: Range) -> Report:
        """A pool's report.

        Raises:
            NotFound: there is no such pool.
            HistoryError: the history can't be read.
        """
        if name not in self._pools():
            raise NotFound(f"there is no pool {name}")
        times, key = wished.times(time.time()), (POOL_KIND, name)
        points = self._points(key, wished, times)
        return self._report(wished, times, pool_columns(points, EVERY_S), name) | {
            "pool": name,
            "limits": self._limits(key, points),
        }

    def of_function(self, name: str, wished: Range) -> Report:
        """A function's report; `counted` says whether job servers tell of functions, None: they are not asked.

        Raises:
            NotFound: there is no such function.
            HistoryError: the history can't be read.
        """
        if name not in self._functions():
            raise NotFound(f"there is no function {name}")
        times = wished.times(time.time())
        points = self._points((FUNCTION_KIND, name), wished, times)
        samples = [point.get(_SAMPLES, 0) for point in self._points(ALL_FUNCTIONS, wished, times)]
        report = self._report(wished, times, function_columns(points, samples, EVERY_S), name)
        return report | {"function": name, "counted": self._recorder.has_counts}

    def of_all(self, wished: Range) -> Report:
        """The report of all pools together; what the job servers have counted stands beside what workers report.

        Raises:
            HistoryError: the history can't be read.
        """
        times = wished.times(time.time())
        points = self._points(ALL_FUNCTIONS, wished, times)
        samples = [point.get(_SAMPLES, 0) for point in points]
        pools = pool_columns(self._points(ALL_POOLS, wished, times), EVERY_S)
        columns = function_columns(points, samples, EVERY_S) | pools
        return self._report(wished, times, columns, None) | {"counted": self._recorder.has_counts}

    def function_times(self) -> Mapping[str, Times]:
        """How long the jobs of each function have waited and run in the last 15 minutes; of others there is nothing.

        Raises:
            HistoryError: the history can't be read.
        """
        return self._times.of_all()

    def rates(self, pool: str) -> tuple[float, float] | None:
        """Jobs that the pool has done, and that failed there, per minute; None: nothing is known yet."""
        return self._recorder.rates.of(pool)

    # --- reading

    def _points(self, key: Key, wished: Range, times: range) -> list[Point]:
        """The series' points at these times."""
        turns, figures, begin, end = Turns(), figures_of(key), times.start, times.stop
        rows: dict[int, bytes] = {}
        if wished.step_s >= HOUR_S:
            rows = self._file.run(partial(table.points_of, key, HOUR_S, begin, end))
            begin = max([begin, *(hour + HOUR_S for hour in rows)])
        rows |= self._file.run(partial(table.points_of, key, MINUTE_S, begin, end))
        points = [Point() for _ in times]
        for at in sorted(rows):
            turns.others()
            figures.add(points[(at - times.start) // wished.step_s], unpacked(rows[at]))
        minute, point = self._recorder.open_point(key)
        if times.start <= minute < times.stop:
            figures.add(points[(minute - times.start) // wished.step_s], point)
        return points

    def _limits(self, key: Key, points: Sequence[Point]) -> list[str | None]:
        """The limit that held last at each of the pool's points."""
        names = self._file.run(partial(table.names_of, table.LIMIT))
        limits = [names.get(point.get(_LIMIT, 0)) for point in points]
        return [*limits[:-1], self._recorder.open_limit(key) or limits[-1]]

    def _report(self, wished: Range, times: range, columns: Mapping[str, Any], subject: str | None) -> Report:
        return {
            "range": wished.name,
            "step_s": wished.step_s,
            "times": [*times],
            "figures": columns,
            "marks": self._marks(times.start, times.stop, subject),
        }

    def _marks(self, begin: float, end: float, subject: str | None) -> list[Report]:
        """What has happened meanwhile, the newest first: to this pool or function, or to all; None: to anybody."""
        written = self._file.run(partial(table.marks_between, begin, end, _MOST_READ))
        marks: list[Report] = [
            {"at": at, "kind": kind, "subject": of, "text": text}
            for at, kind, of, text in [*self._recorder.open_marks, *written]
        ]
        for action in self._actions.between(begin, end, _MOST_READ):
            if not action["what"].startswith(_OF_JOBS):
                words = " ".join(filter(None, (action["what"], action["target"], action["details"])))
                text = f"{words} by {action['who']}"
                marks.append({"at": action["at"], "kind": "action", "subject": action["target"], "text": text})
        chosen = [mark for mark in marks if subject is None or mark["subject"] in ("", subject)]
        return sorted(chosen, key=lambda mark: float(mark["at"]), reverse=True)[:MOST_MARKS]
