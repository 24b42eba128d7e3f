"""Reads the simulation's traces from CSV files: the time of each job's arrival, and how long it took.

The columns are `arrival_s,service_s[,function]`. One error names the lines of all bad rows.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gearman_manager.errors import ManagerError

MAX_ROWS: Final = 1_000_000
MAX_SERVICE_S: Final = 7 * 86_400.0
_COLUMNS: Final = ("arrival_s", "service_s", "function")
_SHOWN_MISTAKES: Final = 20
_SEED: Final = 1


class TraceError(ManagerError):
    """A trace can't be used; the text names every bad line."""


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """One job of a trace."""

    at_s: float  #: since the first arrival
    service_s: float


def read_trace(file: Path, *, function: str | None = None, service_mean_s: float | None = None) -> list[Arrival]:
    """The jobs of a trace in the order of their arrival; with `function`, only that function's.

    An empty service time is drawn from an exponential distribution around `service_mean_s`. Its seed is fixed, so that
    a file always gives the same trace.

    Raises:
        TraceError: the file can't be read, or has bad rows.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TraceError(f"the trace {file} can't be read: {reason}") from error
    return _TraceReader(str(file), function, service_mean_s).read(text.splitlines())


class _TraceReader:
    """Reads one file and collects its bad rows."""

    def __init__(self, file: str, function: str | None, service_mean_s: float | None) -> None:
        self._file = file
        self._function = function
        self._service_mean_s = service_mean_s
        self._random = random.Random(_SEED)
        self._mistakes: list[str] = []

    def read(self, lines: Sequence[str]) -> list[Arrival]:
        rows = csv.reader(lines)
        if len(lines) > MAX_ROWS + 1:
            raise TraceError(f"{self._file}: more than {MAX_ROWS} rows: take a part of it")
        arrivals = [arrival for row in rows if (arrival := self._row(rows.line_num, row)) is not None]
        if self._mistakes:
            more = len(self._mistakes) - _SHOWN_MISTAKES
            shown = [*self._mistakes[:_SHOWN_MISTAKES], *([f"and {more} more"] if more > 0 else [])]
            raise TraceError(f"the trace has {len(self._mistakes)} bad rows:\n" + "\n".join(shown))
        if not arrivals:
            of = f" of the function {self._function}" if self._function else ""
            raise TraceError(f"{self._file}: no jobs{of}: rows of {','.join(_COLUMNS[:2])} are expected")
        return _from_zero(arrivals)

    def _row(self, line: int, row: Sequence[str]) -> Arrival | None:
        """The job of one row; None for a blank row, the header, another function's job, and a bad row."""
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
        is_wanted = self._function is None or (len(cells) == 3 and cells[2] == self._function)
        return Arrival(arrival_s, service_s) if arrival_s is not None and is_wanted else None

    def _service_s(self, cell: str) -> float | None:
        if not cell and self._service_mean_s is not None:
            return self._random.expovariate(1 / self._service_mean_s)
        return _number(cell)

    def _expected_service(self) -> str:
        limits = f"a number of seconds from 0 to {MAX_SERVICE_S:.0f}"
        return limits + (" or nothing" if self._service_mean_s is not None else " (or --service-mean for empty cells)")

    def _wrong(self, line: int, message: str) -> None:
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
