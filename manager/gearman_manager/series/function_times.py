"""How long the jobs of each function have waited and run of late: of all functions at once, for their list."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from gearman_manager.control.turns import Turns
from gearman_manager.history.history_file import HistoryFile
from gearman_manager.series import points_table as table
from gearman_manager.series.columns import Times, times_of
from gearman_manager.series.figures import FUNCTION, Point, unpacked
from gearman_manager.series.points_table import MINUTE_S
from gearman_manager.series.ranges import RANGES
from gearman_manager.series.recorder import ALL_FUNCTIONS, FUNCTION_KIND, Recorder

#: The times are those of so long.
LATELY: Final = RANGES["15m"]


class FunctionTimes:
    """Adds up the last minutes, and keeps the sum while nothing is added: it is read once a minute, and told anew after
    each look of the recorder."""

    def __init__(self, recorder: Recorder, file: HistoryFile) -> None:
        self._recorder = recorder
        self._file = file
        #: The minute, and the writing, of which the sums are.
        self._summed_at: tuple[int, int] | None = None
        self._sums: Mapping[str, Point] = {}
        self._told_at: object = None
        self._told: dict[str, Times] = {}

    def of_all(self) -> Mapping[str, Times]:
        """The times of each function that had jobs, by name.

        Raises:
            HistoryError: the history can't be read.
        """
        looks = self._recorder.open_point(ALL_FUNCTIONS)
        times, turns = LATELY.times(time.time()), Turns()
        now = (times[-1], self._recorder.writings)
        if now != self._summed_at:
            self._sums, self._summed_at = self._read(times, turns), now
        elif looks == self._told_at:
            return self._told
        told = {}
        for name in {*self._sums, *self._recorder.open_functions}:
            turns.others()
            point = dict(self._sums.get(name, {}))
            FUNCTION.add(point, self._recorder.open_point((FUNCTION_KIND, name))[1])
            told[name] = times_of(point)
        self._told_at, self._told = looks, told
        return told

    def _read(self, times: range, turns: Turns) -> dict[str, Point]:
        """The sums of the minutes that were written."""
        names = self._file.run(partial(table.names_of, FUNCTION_KIND))
        sums: dict[str, Point] = {}
        for at in times:
            for series, text in self._file.run(partial(table.points_at, MINUTE_S, at)).items():
                turns.others()
                if series in names:
                    FUNCTION.add(sums.setdefault(names[series], {}), unpacked(text))
        return sums
