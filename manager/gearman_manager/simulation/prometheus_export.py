"""Reads arrivals from an export of our job server's metrics: the JSON of Prometheus' `/api/v1/query_range`.

`gearman_jobs_submitted_total` says how many jobs came between two samples; within a step each job comes at a random
moment, the same in each run. `gearman_job_ran_seconds` says how long jobs take.
"""

from __future__ import annotations

import json
import math
import random
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final

from gearman_manager.errors import ManagerError
from gearman_manager.simulation.trace import Jobs
from gearman_process.values.quoting import shown

ARRIVALS: Final = "gearman_jobs_submitted_total"
RAN: Final = "gearman_job_ran_seconds"
MAX_BYTES: Final = 128 * 2**20
#: After a pause of so many steps nobody knows when the jobs came.
MOST_STEPS: Final = 5
_LONGEST_BUCKET: Final = 2.0  #: what is longer than the last bound counts as up to so many times as long
_SEED: Final = 1
_QUERY: Final = f'query={{__name__=~"{ARRIVALS}|{RAN}_(bucket|sum|count)"}}'

Labels = tuple[tuple[str, str], ...]


class ExportError(ManagerError):
    """An export can't be used; the text names the place."""


@dataclass(slots=True)
class Export:
    """The jobs of an export, and what it says about itself."""

    jobs: Jobs = field(default_factory=Jobs)
    start_s: float = math.inf  #: of the first sample
    end_s: float = -math.inf
    step_s: float = 0.0
    lost: int = 0  #: jobs of pauses between samples, of which nobody knows when they came


@dataclass(slots=True)
class _Series:
    """A counter's samples. They may come from several files."""

    times_s: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def put_in_order(self) -> None:
        """Sort the samples, and drop those that two files have in common."""
        if any(first >= second for first, second in pairwise(self.times_s)):
            samples = dict(sorted(zip(self.times_s, self.values, strict=True)))
            self.times_s, self.values = array("d", samples), array("d", samples.values())


def is_export(start: str) -> bool:
    """Whether a file that begins like this is meant to be an export, not a trace."""
    return start.lstrip("\ufeff \t\r\n").startswith(("{", "["))


def read_exports(
    files: Sequence[Path], *, functions: frozenset[str] | None, service_mean_s: float | None, max_jobs: int
) -> Export:
    """The jobs of some functions, or of all, in the order of their arrival. Files may overlap.

    `service_mean_s` replaces the times from the histogram.

    Raises:
        ExportError: a file can't be read, or holds something else; or there are no jobs, or too many.
    """
    series: dict[Labels, _Series] = {}
    for file in files:
        _read(file, series)
    for one in series.values():
        one.put_in_order()
    named = ", ".join(str(file) for file in files)
    return _Reading(named, series, functions, service_mean_s, max_jobs).export()


def _read(file: Path, series: dict[Labels, _Series]) -> None:
    """Add a file's series. Samples become numbers as soon as their series has been parsed, to save memory."""
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise ExportError(
                f"{file}: {size >> 20} MB are more than {MAX_BYTES >> 20}: export fewer days or functions"
            )
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ExportError(f"the export {file} can't be read: {reason}") from error
    parser = _Parser(file, series)
    try:
        answer = json.loads(text, object_hook=parser.hook)
    except json.JSONDecodeError as error:
        raise ExportError(f"{file}:{error.lineno}:{error.colno}: it is no JSON: {error.msg}") from error
    except RecursionError as error:
        raise ExportError(f"{file}: it is no answer of Prometheus: brackets in brackets without end") from error
    _check_envelope(file, answer)
    if not parser.found:
        raise ExportError(f"{file}: the answer is empty: no series matched the query in that time")


def _check_envelope(file: Path, answer: object) -> None:
    if not isinstance(answer, dict) or "status" not in answer:
        raise ExportError(f"{file}: the JSON of Prometheus' /api/v1/query_range is expected, with status and data")
    if answer["status"] != "success":
        raise ExportError(f"{file}: Prometheus has answered with an error: {shown(answer.get('error'))}")
    data = answer.get("data")
    kind = data.get("resultType") if isinstance(data, dict) else None
    if kind != "matrix":
        raise ExportError(f"{file}: data.resultType is {shown(kind)}, not matrix: ask /api/v1/query_range")


class _Parser:
    """Turns each series into numbers when the JSON parser has reached its end."""

    def __init__(self, file: Path, series: dict[Labels, _Series]) -> None:
        self._file = file
        self._series = series
        self.found = 0

    def hook(self, parsed: dict[str, Any]) -> Any:
        """Take a series; leave all other mappings as they are."""
        if "metric" not in parsed:
            return parsed
        self.found += 1
        labels, values = parsed["metric"], parsed.get("values")
        if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
            raise ExportError(f"{self._file}: series {self.found}: metric: a mapping of labels is expected")
        name = labels.get("__name__")
        if name is None:
            raise ExportError(
                f"{self._file}: series {self.found} has no name: rate() and sum() lose what is needed, "
                f"export the counters themselves: {_QUERY}"
            )
        if not isinstance(values, list):
            what = "it is an answer of /api/v1/query: ask /api/v1/query_range" if "value" in parsed else "no values"
            raise ExportError(f"{self._file}: series {self.found} ({name}): {what}")
        if name == ARRIVALS or name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") == RAN:
            self._add(name, tuple(sorted(labels.items())), values)
        return None

    def _add(self, name: str, labels: Labels, values: list[Any]) -> None:
        series = self._series.setdefault(labels, _Series())
        for number, sample in enumerate(values, 1):
            try:
                at_s, text = sample
                at_s, value = float(at_s), float(text)
            except (TypeError, ValueError):
                at_s = value = math.nan
            if not (0 <= at_s < math.inf and 0 <= value < math.inf):
                raise ExportError(
                    f"{self._file}: series {self.found} ({name}), sample {number}: "
                    f'[seconds, "count"] is expected, not {json.dumps(sample)[:60]}'
                )
            series.times_s.append(at_s)
            series.values.append(value)


class _Reading:
    """Makes jobs of the counters."""

    def __init__(
        self,
        named: str,
        series: Mapping[Labels, _Series],
        functions: frozenset[str] | None,
        service_mean_s: float | None,
        max_jobs: int,
    ) -> None:
        self._named = named
        self._series = series
        self._functions = functions
        self._service_mean_s = service_mean_s
        self._max_jobs = max_jobs
        self._random = random.Random(_SEED)

    def export(self) -> Export:
        """The jobs in order, and the time that the samples cover."""
        export = Export()
        counters = list(self._wanted(ARRIVALS))
        if not counters:
            raise ExportError(f"{self._named}: no series of {ARRIVALS}{self._of_functions()}: export {_QUERY}")
        steps = [second - first for _, one in counters for first, second in pairwise(one.times_s)]
        export.step_s = sorted(steps)[len(steps) // 2] if steps else 0.0
        if not export.step_s:
            raise ExportError(f"{self._named}: one sample says nothing: a range of days is needed")
        seen_from: dict[str, float] = {}  # the first sample of each job server
        for labels, one in counters:
            server = dict(labels).get("instance", "")
            seen_from[server] = min(seen_from.get(server, math.inf), one.times_s[0])
            export.start_s, export.end_s = min(export.start_s, one.times_s[0]), max(export.end_s, one.times_s[-1])
        parts: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
        for labels, one in counters:
            by_label = dict(labels)
            is_new = one.times_s[0] > seen_from[by_label.get("instance", "")]
            parts[by_label.get("function", "")] += self._increases(export, one, is_new=is_new)
        count = sum(jobs for several in parts.values() for _, _, jobs in several)
        if not count or count > self._max_jobs:
            wrong = f"{count:,} jobs are more than {self._max_jobs:,}: export fewer days" if count else "no jobs"
            raise ExportError(f"{self._named}: {wrong}{self._of_functions()}")
        for function, several in sorted(parts.items()):
            self._draw(export.jobs, function, several)
        export.jobs = export.jobs.in_order()
        return export

    def _wanted(self, name: str) -> Iterator[tuple[Labels, _Series]]:
        for labels, one in self._series.items():
            by_label = dict(labels)
            is_wanted = self._functions is None or by_label.get("function") in self._functions
            if by_label["__name__"] == name and is_wanted and one.times_s:
                yield labels, one

    def _of_functions(self) -> str:
        return f" of the function {', '.join(sorted(self._functions))}" if self._functions else ""

    def _increases(self, export: Export, one: _Series, *, is_new: bool) -> Iterator[tuple[float, float, int]]:
        """The jobs that came between two samples. A counter that fell, or that was not there before, began at 0."""
        step_s = export.step_s
        if is_new and one.values[0]:
            yield one.times_s[0] - step_s, one.times_s[0], round(one.values[0])
        samples = zip(one.times_s, one.values, strict=True)
        for (from_s, before), (to_s, after) in pairwise(samples):
            is_pause = to_s - from_s > MOST_STEPS * step_s
            jobs = round(after if after < before else after - before)
            if is_pause and after >= before:
                export.lost += jobs
            elif jobs:
                yield (to_s - step_s if is_pause else from_s), to_s, jobs

    def _draw(self, jobs: Jobs, function: str, increases: Sequence[tuple[float, float, int]]) -> None:
        service_s = self._service_times(function)
        uniform = self._random.random
        for from_s, to_s, count in increases:
            for _ in range(count):
                jobs.at_s.append(from_s + (to_s - from_s) * uniform())
                jobs.service_s.append(service_s())

    def _service_times(self, function: str) -> Any:
        """Draws a job's time: from the histogram's buckets, so that their mean is right, else around the mean."""
        if self._service_mean_s is not None:
            return lambda rate=1 / self._service_mean_s: self._random.expovariate(rate)
        by_bound: dict[float, float] = defaultdict(float)
        total_s = count = 0.0
        for labels, one in self._series.items():
            by_label = dict(labels)
            if by_label.get("function", "") != function:
                continue
            if by_label["__name__"] == f"{RAN}_sum":
                total_s += _increase(one)
            elif by_label["__name__"] == f"{RAN}_count":
                count += _increase(one)
            elif by_label["__name__"] == f"{RAN}_bucket":
                by_bound[float(by_label.get("le", "+Inf"))] += _increase(one)
        mean_s = total_s / count if count else None
        if sum(by_bound.values()):
            return _from_buckets(by_bound, mean_s, self._random)
        if not mean_s:
            raise ExportError(
                f"{self._named}: no run times of the function {function}: export {RAN} too, as {_QUERY}, "
                "or give --service, the mean"
            )
        return lambda: self._random.expovariate(1 / mean_s)


def _increase(one: _Series) -> float:
    return sum(after if after < before else after - before for before, after in pairwise(one.values))


def _from_buckets(by_bound: Mapping[float, float], mean_s: float | None, numbers: random.Random) -> Any:
    """Draws evenly within the buckets, scaled so that the mean is that of the histogram's sum."""
    bounds = sorted(by_bound)
    finite = [bound for bound in bounds if bound < math.inf]
    edges = [0.0, *finite, (finite[-1] if finite else 1.0) * _LONGEST_BUCKET]
    cumulative = [by_bound[bound] for bound in bounds]
    counts = [max(0.0, after - before) for before, after in pairwise([0.0, *cumulative])]
    middle_s = sum(count * (low + high) / 2 for count, (low, high) in zip(counts, pairwise(edges), strict=False))
    total = sum(counts)
    scale = mean_s * total / middle_s if mean_s and middle_s else 1.0
    sums = list(accumulate(counts))

    def draw() -> float:
        at = bisect_left(sums, numbers.random() * total)
        return scale * (edges[at] + (edges[at + 1] - edges[at]) * numbers.random())

    return draw
