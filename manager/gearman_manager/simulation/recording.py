"""Reads arrivals of days for `simulate --propose`: traces whose clock counts Unix seconds, or exports of Prometheus."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gearman_manager.errors import ManagerError
from gearman_manager.simulation.prometheus_export import is_export, read_exports
from gearman_manager.simulation.proposing import Load
from gearman_manager.simulation.trace import Jobs, TraceError, read_jobs

MAX_JOBS: Final = 5_000_000
MAX_DAYS: Final = 400
#: Smaller numbers are hardly Unix seconds: this is March 1973.
FIRST_UNIX_TIME: Final = 100_000_000.0
#: The end of the year 9999, the last that a calendar knows.
LAST_UNIX_TIME: Final = 253_402_300_799.0
_START: Final = 4096


class RecordingError(ManagerError):
    """The files can't be used together, or not for windows."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The jobs, and what is to be said about how they were read."""

    load: Load
    notes: tuple[str, ...] = ()


def read_recording(
    files: Sequence[Path], *, function: str | None, service_mean_s: float | None, start_s: float | None = None
) -> Recording:
    """The jobs of all files together. `start_s` is the Unix time of the first job of a trace with another clock.

    Raises:
        ManagerError: a file can't be used, or they cover too much.
    """
    kinds = {_is_export(file) for file in files}
    if len(kinds) > 1:
        raise RecordingError("--trace: either traces or exports of Prometheus are expected, not both")
    if start_s is not None and (len(files) > 1 or kinds == {True}):
        raise RecordingError("--start says when one trace begins; several, and exports, have times of their own")
    if kinds == {True}:
        recording = _of_exports(files, function, service_mean_s)
    else:
        recording = _of_traces(files, function, service_mean_s, start_s)
    days = (recording.load.end_s - recording.load.start_s) / 86_400
    if days > MAX_DAYS:
        raise RecordingError(f"the jobs came within {days:.0f} days, more than {MAX_DAYS}: take a part of them")
    return recording


def _is_export(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return is_export(stream.read(_START))
    except OSError as error:
        raise TraceError(f"the trace {file} can't be read: {error.strerror}") from error


def _of_traces(
    files: Sequence[Path], function: str | None, service_mean_s: float | None, start_s: float | None
) -> Recording:
    together = Jobs()
    for file in files:
        left = MAX_JOBS - len(together.at_s)
        jobs = read_jobs(file, function=function, service_mean_s=service_mean_s, max_rows=left)
        first_s, last_s = min(jobs.at_s), max(jobs.at_s)
        if start_s is not None:
            jobs.at_s = array("d", (at_s - first_s + start_s for at_s in jobs.at_s))
            first_s, last_s = start_s, last_s - first_s + start_s
        if first_s < FIRST_UNIX_TIME:
            raise RecordingError(
                f"{file}: the day of the week is unknown: write arrival_s in Unix seconds (`date +%s`), "
                "or say when the trace begins, as --start 2026-03-30T07:50"
            )
        if last_s > LAST_UNIX_TIME:
            raise RecordingError(f"{file}: arrival_s must be in Unix seconds: {last_s:g} is after the year 9999")
        together.at_s.extend(jobs.at_s)
        together.service_s.extend(jobs.service_s)
    together = together.in_order()
    return Recording(Load(together, together.at_s[0], together.at_s[-1]))


def _of_exports(files: Sequence[Path], function: str | None, service_mean_s: float | None) -> Recording:
    functions = None if function is None else frozenset((function,))
    export = read_exports(files, functions=functions, service_mean_s=service_mean_s, max_jobs=MAX_JOBS)
    start_s = min(export.start_s, export.jobs.at_s[0])
    if start_s < FIRST_UNIX_TIME or export.end_s > LAST_UNIX_TIME:
        raise RecordingError("the times of the samples are no Unix seconds of our days")
    notes = [f"bursts shorter than the step of the samples, {export.step_s:g} s, are spread over it"]
    if export.lost:
        notes.append(f"{export.lost:,} jobs came within pauses between samples and are left out")
    return Recording(Load(export.jobs, start_s, export.end_s), tuple(notes))
