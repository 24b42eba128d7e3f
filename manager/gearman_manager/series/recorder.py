"""Looks at pools and functions every ten seconds, adds up minutes and hours, and has them written to the history.

Each look is made in turns, and all that touches the disk is done in the file's thread: the manager's loop goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import gevent
import gevent.event

from gearman_client import Address
from gearman_manager.config import Config
from gearman_manager.control.turns import Turns
from gearman_manager.history.complaint import Complaint
from gearman_manager.history.history_file import HistoryError, HistoryFile
from gearman_manager.metrics.bounded_names import BoundedNames
from gearman_manager.series import points_table as table
from gearman_manager.series.count_questions import CountQuestions
from gearman_manager.series.figures import FUNCTION, POOL, Figures, Point, packed, unpacked
from gearman_manager.series.function_counts import Counted, Differences, parsed
from gearman_manager.series.marks import Marks
from gearman_manager.series.points_table import HOUR_S, MINUTE_S, Key, Mark
from gearman_manager.series.pool_samples import PoolSamples
from gearman_manager.series.rates import Rates

_log = logging.getLogger("history")
#: The time between two looks.
EVERY_S: Final = 10
#: Pools, and functions, with series of their own; the others are only in that of all together.
MOST_POOLS: Final = 300
MOST_FUNCTIONS: Final = 300
#: Kinds of series. The last two are for all together, and their names are empty.
POOL_KIND: Final = "pool"
FUNCTION_KIND: Final = "function"
ALL_POOLS: Final[Key] = ("pools", "")
ALL_FUNCTIONS: Final[Key] = ("functions", "")
#: Marks that wait for the disk; of more the oldest are dropped.
_MOST_MARKS: Final = 1000
#: How long those who read are let wait for the disk when the manager ends.
_LAST_PATIENCE_S: Final = 2.0
_SAMPLES, _WAITING, _MOST_WAITING, _LIMIT = (
    POOL.place[name] for name in ("samples", "waiting", "waiting_max", "limit")
)
_OF_FUNCTION: Final = tuple(FUNCTION.place[name] for name in ("samples", "waiting", "waiting_max"))


def figures_of(key: Key) -> Figures:
    """The figures of a series' points."""
    return POOL if key[0] in (POOL_KIND, ALL_POOLS[0]) else FUNCTION


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures come from."""

    config: Callable[[], Config]
    pools: PoolSamples
    counts: CountQuestions
    functions: Callable[[], Sequence[str]]  #: the names of those that the manager serves
    generation: Callable[[], int]  #: the number of the code that runs; 0: none does yet
    restarts: Callable[[], Mapping[str, int]]  #: of the bundled job servers, by title


class Recorder:
    """One greenlet, from the manager's start to its end."""

    def __init__(self, sources: Sources, file: HistoryFile) -> None:
        self._sources = sources
        self._file = file
        for statement in table.TABLES:
            file.declare(statement)
        self.rates = Rates()
        #: Whether job servers have told of functions; None: they are not asked.
        self.has_counts: bool | None = None
        #: How often a minute was written: of those before this number the file tells.
        self.writings = 0
        self._minute = 0
        self._points: dict[Key, Point] = {}
        #: By series, the name of the limit that held last.
        self._limits: dict[Key, str] = {}
        self._differences: dict[Address, Differences] = {}
        self._marks = Marks()
        self._new_marks: list[Mark] = []
        self._pools, self._functions = BoundedNames(MOST_POOLS), BoundedNames(MOST_FUNCTIONS)
        self._looked = time.monotonic()
        self._failing, self._unwritten, self._unsummed = Complaint(_log), Complaint(_log), Complaint(_log)
        self._has_written = False
        self._soon = gevent.event.Event()
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        """Begin: job servers run, and code is loaded."""
        self._new_marks.append((time.time(), "start", "", "the manager was started"))
        self._greenlet = gevent.spawn(self._run)

    def ask_soon(self) -> None:
        """A job server is there again, which counts nothing until it is asked."""
        self._soon.set()

    def close(self) -> None:
        """Write what is still to be written: the manager ends."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
            self._new_marks.append((time.time(), "stop", "", "the manager ended"))
            self._attempt(lambda: self._write(_LAST_PATIENCE_S))

    def open_point(self, key: Key) -> tuple[int, Point]:
        """The minute that is being added up, and its point so far."""
        return self._minute, dict(self._points.get(key, {}))

    @property
    def open_functions(self) -> list[str]:
        """The functions that have a point in that minute."""
        return [name for kind, name in self._points if kind == FUNCTION_KIND]

    def open_limit(self, key: Key) -> str:
        """The limit that holds, or has held last in this minute."""
        return self._limits.get(key, "")

    @property
    def open_marks(self) -> list[Mark]:
        """The marks that are not written yet."""
        return list(self._new_marks)

    # --- looking

    def _run(self) -> None:
        """Look again and again."""
        while True:
            self._attempt(self.look)
            while self._soon.wait(EVERY_S - time.time() % EVERY_S):
                self._soon.clear()
                self._attempt(self._begin_counts)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Of errors in a row only the first is logged."""
        try:
            step()
            self._failing.end()
        except Exception as error:  # noqa: BLE001 (the loop's boundary: the next look may do better)
            self._failing.make("a look at the pools failed; trying again", error)

    def look(self) -> None:
        """Look once; a minute that is over is written. A look at its end, or shortly after it, still belongs to it."""
        now, turns = time.time(), Turns()
        minute = int((now - EVERY_S / 2) // MINUTE_S) * MINUTE_S
        if self._minute and minute != self._minute:
            self._write()
            self._has_written &= minute > self._minute  # else somebody has set the clock back
        self._minute = minute
        oldest_ms = self._look_at_functions(turns)
        self._look_at_pools(oldest_ms, turns)
        self._new_marks += self._marks.of_code(now, self._sources.generation())
        self._new_marks += self._marks.of_servers(now, self._sources.restarts())
        del self._new_marks[:-_MOST_MARKS]
        if now >= minute + MINUTE_S:
            self._write()
            self._sum_hours(turns)

    def _look_at_pools(self, oldest_ms: Mapping[str, int], turns: Turns) -> None:
        before, self._looked = self._looked, time.monotonic()
        looks = list(self._sources.pools.look(oldest_ms, turns))
        names = [pool.name for pool, _, _ in looks]
        shown, total = self._pools.shown(names), Point()
        for pool, point, limit in looks:
            turns.others()
            POOL.add(total, point)
            done, failed = (point.get(POOL.place[name], 0) for name in ("done", "failed"))
            self.rates.note(pool.name, before, self._looked, done, failed)
            if pool.name in shown:
                self._add((POOL_KIND, pool.name), point)
                if limit:
                    self._limits[POOL_KIND, pool.name] = limit
        self.rates.keep_only(names)
        total[_SAMPLES], total[_MOST_WAITING] = 1, total.get(_WAITING, 0)
        self._add(ALL_POOLS, total)
        self._new_marks += self._marks.of_crashes(time.time(), ((pool, point) for pool, point, _ in looks))

    def _look_at_functions(self, turns: Turns) -> dict[str, int]:
        """Ask the job servers; returns how long the oldest job of each function has waited, in milliseconds."""
        if not self._sources.config().records_functions:
            self.has_counts = None
            return {}
        names = self._sources.functions()
        answers = self._sources.counts.ask()
        looks: dict[str, Point] = {}
        has_counts = False
        for address, answer in answers.items():
            new = self._new_of(address, answer, set(names), turns)
            has_counts |= new is not None
            for name, point in new or ():
                FUNCTION.add(looks.setdefault(name, {}), point)
        self.has_counts = has_counts  # only now: others have their turn while answers are read
        for gone in self._differences.keys() - answers.keys():
            if len(self._differences) > len(answers) + 16:  # one that is away comes back, most of the time
                del self._differences[gone]
        if has_counts:
            self._add_functions(looks, names, turns)
        return {name: point.get(FUNCTION.place["oldest_ms"], 0) for name, point in looks.items()}

    def _begin_counts(self) -> None:
        """Have those servers begin to count that do not yet: what they count from now on is new at the next look."""
        if self._sources.config().records_functions:
            names, turns = set(self._sources.functions()), Turns()
            for address, answer in self._sources.counts.ask().items():
                if address not in self._differences:
                    self._new_of(address, answer, names, turns)

    def _new_of(self, address: Address, answer: bytes, names: set[str], turns: Turns) -> list[tuple[str, Point]] | None:
        """What is new in a server's answer; None: it is none that is understood."""
        counted: dict[str, Counted]
        try:
            since, counted = parsed(answer, names, turns.others)
        except ValueError as error:
            _log.debug("%s counts in a way that is not understood: %s", address, error)
            return None
        return list(self._differences.setdefault(address, Differences()).take(since, counted))

    def _add_functions(self, looks: Mapping[str, Point], names: Sequence[str], turns: Turns) -> None:
        samples, waiting, most_waiting = _OF_FUNCTION
        shown, total = self._functions.shown(names), Point()
        for name, point in looks.items():
            turns.others()
            if waits := point.get(waiting, 0):
                point[most_waiting] = waits
            FUNCTION.add(total, point)
            if point and name in shown:
                self._add((FUNCTION_KIND, name), point)
        total[samples], total[most_waiting] = 1, total.get(waiting, 0)
        self._add(ALL_FUNCTIONS, total)

    def _add(self, key: Key, point: Point) -> None:
        figures_of(key).add(self._points.setdefault(key, {}), point)

    # --- writing

    def _write(self, patience_s: float = 60.0) -> None:
        """Write the minute and the marks. What can't be written is lost: it is history alone."""
        minute, points, limits, marks = self._minute, self._points, self._limits, self._new_marks
        self._points, self._limits, self._new_marks = {}, {}, []
        if not points and not marks:
            return  # whether the file can be written is as unknown as before
        try:
            self._write_points(minute, points, limits, patience_s)
            self.writings += 1
            if marks:
                self._file.run(partial(table.add_marks, marks), patience_s)
            self._unwritten.end()
        except HistoryError as error:
            self._unwritten.make(f"{error}; charts will have a gap")

    def _write_points(
        self, minute: int, points: Mapping[Key, Point], limits: Mapping[Key, str], patience_s: float
    ) -> None:
        if not points:
            return
        turns = Turns()
        named = [*points, *((table.LIMIT, limit) for limit in set(limits.values()))]
        numbers = self._file.run(partial(table.numbers, named, minute), patience_s)
        earlier: Mapping[int, bytes] = {}
        if not self._has_written:  # a manager that ran before has perhaps written a part of this minute
            earlier = self._file.run(partial(table.points_at, MINUTE_S, minute), patience_s)
        rows = {}
        for key, point in points.items():
            turns.others()
            if key not in numbers:
                continue
            if key in limits:
                point[_LIMIT] = numbers.get((table.LIMIT, limits[key]), 0)
            if numbers[key] in earlier:
                before = unpacked(earlier[numbers[key]])
                figures_of(key).add(before, point)
                point = before
            rows[numbers[key]] = packed(point)
        self._file.run(partial(table.write, MINUTE_S, minute, rows), patience_s)
        self._has_written = True

    def _sum_hours(self, turns: Turns) -> None:
        """Make hours of the minutes of those that are over, and delete what is too old."""
        history, now = self._sources.config().history, self._minute + MINUTE_S
        try:
            while (hour := self._file.run(partial(table.hour_to_sum, now), 60.0)) is not None:
                self._sum_hour(hour, turns)
            before = {MINUTE_S: now - round(history.minutes), HOUR_S: now - round(history.hours)}
            self._file.run(partial(table.trim, before, now), 60.0)
            self._unsummed.end()
        except HistoryError as error:
            self._unsummed.make(f"{error}; charts of days will have a gap")

    def _sum_hour(self, hour: int, turns: Turns) -> None:
        functions = {
            series
            for kind in (FUNCTION_KIND, ALL_FUNCTIONS[0])
            for series in self._file.run(partial(table.names_of, kind), 60.0)
        }
        sums: dict[int, Point] = {}
        for minute in range(hour, hour + HOUR_S, MINUTE_S):
            for series, text in self._file.run(partial(table.points_at, MINUTE_S, minute), 60.0).items():
                turns.others()
                (FUNCTION if series in functions else POOL).add(sums.setdefault(series, {}), unpacked(text))
        rows = {}
        for series, point in sums.items():
            turns.others()
            rows[series] = packed(point)
        self._file.run(partial(table.write, HOUR_S, hour, rows), 60.0)
