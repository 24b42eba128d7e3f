"""Reads the simulation's traces from CSV files: the time of each job's arrival, and how long it took.

The columns are `arrival_s,service_s[,function]`. One error names the lines of bad rows. Files are read line by line.
"""

from __future__ import annotations

import csv
import math
import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from gearman_manager.errors import ManagerError

MAX_ROWS: Final = 1_000_000
MAX_SERVICE_S: Final = 7 * 86_400.0
_COLUMNS: Final = ("arrival_s", "service_s", "function")
_MAX_LINE: Final = 65_536
_SHOWN_MISTAKES: Final = 20
_SEED: Final = 1


class TraceError(ManagerError):
    """A trace can't be used; the text names every bad line."""


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """One job of a trace."""

    at_s: float  #: since the first arrival
    service_s: float


@dataclass(slots=True)
class Jobs:
    """The jobs of a trace, or of several, without an object for each."""

    at_s: array[float] = field(default_factory=lambda: array("d"))  #: of the trace's clock
    service_s: array[float] = field(default_factory=lambda: array("d"))

    def in_order(self) -> Jobs:
        """The same jobs by their arrival."""
        if all(first <= second for first, second in zip(self.at_s, self.at_s[1:], strict=False)):
            return self
        order = sorted(range(len(self.at_s)), key=self.at_s.__getitem__)
        return Jobs(array("d", map(self.at_s.__getitem__, order)), array("d", map(self.service_s.__getitem__, order)))


def read_trace(file: Path, *, function: str | None = None, service_mean_s: float | None = None) -> list[Arrival]:
    """The jobs of a trace in the order of their arrival; with `function`, only that function's.

    An empty service time is drawn from an exponential distribution around `service_mean_s`. Its seed is fixed, so that
    a file always gives the same trace.

    Raises:
        TraceError: the file can't be read, or has bad rows.
    """
    jobs = read_jobs(file, function=function, service_mean_s=service_mean_s)
    return _from_zero(map(Arrival, jobs.at_s, jobs.service_s))


def read_jobs(
    file: Path, *, function: str | None = None, service_mean_s: float | None = None, max_rows: int = MAX_ROWS
) -> Jobs:
    """The jobs of a trace as they stand in the file, at least one.

    Raises:
        TraceError: the file can't be read, or has bad rows, or more than `max_rows`.
    """
    reader = _TraceReader(str(file), function, service_mean_s, max_rows)
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            return reader.read(stream)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TraceError(f"the trace {file} can't be read: {reason}") from error


class _TraceReader:
    """Reads one file and collects its bad rows."""

    def __init__(self, file: str, function: str | None, service_mean_s: float | None, max_rows: int) -> None:
        self._file = file
        self._function = function
        self._service_mean_s = service_mean_s
        self._max_rows = max_rows
        self._random = random.Random(_SEED)
        self._mistakes: list[str] = []
        self._mistake_count = 0

    def read(self, stream: TextIO) -> Jobs:
        rows, jobs = csv.reader(self._lines(stream)), Jobs()
        try:
            for row in rows:
                job = self._good_row(row) or self._row(rows.line_num, row)
                if job is not None and self._is_wanted(row):
                    jobs.at_s.append(job[0])
                    jobs.service_s.append(job[1])
        except csv.Error as error:
            raise TraceError(f"{self._file}:{rows.line_num}: it is no CSV: {error}") from error
        if self._mistake_count:
            more = self._mistake_count - len(self._mistakes)
            shown = [*self._mistakes, *([f"and {more} more"] if more else [])]
            raise TraceError(f"the trace has {self._mistake_count} bad rows:\n" + "\n".join(shown))
        if not jobs.at_s:
            of = f" of the function {self._function}" if self._function else ""
            raise TraceError(f"{self._file}: no jobs{of}: rows of {','.join(_COLUMNS[:2])} are expected")
        return jobs

    def _lines(self, stream: TextIO) -> Iterator[str]:
        number = 0
        while line := stream.readline(_MAX_LINE):
            number += 1
            if len(line) == _MAX_LINE:
                raise TraceError(f"{self._file}:{number}: the line is longer than {_MAX_LINE} characters")
            if number > self._max_rows + 1:
                raise TraceError(f"{self._file}: more than {self._max_rows} rows: take a part of it")
            yield line

    def _good_row(self, row: Sequence[str]) -> tuple[float, float] | None:
        """The job of a row that has nothing special, for the sake of files with very many."""
        if not 2 <= len(row) <= 3:
            return None
        try:
            at_s, service_s = float(row[0]), float(row[1])
        except ValueError:
            return None
        return (at_s, service_s) if 0 <= at_s < math.inf and 0 <= service_s <= MAX_SERVICE_S else None

    def _row(self, line: int, row: Sequence[str]) -> tuple[float, float] | None:
        """The job of one row; None for a blank row, the header, and a bad row."""
        cells = [cell.strip() for cell in row]
        if not any(cells) or (line == 1 and tuple(cells) in (_COLUMNS[:2], _COLUMNS)):
            return None
        if not 2 <= len(cells) <= 3:
            self._wrong(line, f"{len(cells)} columns, where arrival_s,service_s[,function] are expected")
            return None
        arrival_s, service_s = _number(cells[0]), self._service_s(cells[1])
        if arrival_s is None:
            self._wrong(line, f"arrival_s: a number of seconds from 0 is expected, not {cells[0]!r}")
        if service_s is None or service_s > MAX_SERVICE_S:
            self._wrong(line, f"service_s: {self._expected_service()} is expected, not {cells[1]!r}")
            return None
        return (arrival_s, service_s) if arrival_s is not None else None

    def _is_wanted(self, row: Sequence[str]) -> bool:
        return self._function is None or (len(row) == 3 and row[2].strip() == self._function)

    def _service_s(self, cell: str) -> float | None:
        if not cell and self._service_mean_s is not None:
            return self._random.expovariate(1 / self._service_mean_s)
        return _number(cell)

    def _expected_service(self) -> str:
        limits = f"a number of seconds from 0 to {MAX_SERVICE_S:.0f}"
        return limits + (" or nothing" if self._service_mean_s is not None else " (or --service-mean for empty cells)")

    def _wrong(self, line: int, message: str) -> None:
        self._mistake_count += 1
        if len(self._mistakes) < _SHOWN_MISTAKES:
            self._mistakes.append(f"{self._file}:{line}: {message}")


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _from_zero(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """The arrivals in order, moved to start at 0: a trace may hold any clock's seconds."""
    ordered = sorted(arrivals)
    start_s = ordered[0].at_s
    return [Arrival(arrival.at_s - start_s, arrival.service_s) for arrival in ordered]
