"""The figures of charts, made of the points of a range: a list for each, None where nothing is known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gearman_manager.series.figures import COUNTERS, FUNCTION, POOL, RAN, WAITED, Figures, Point
from gearman_manager.series.percentiles import percentile_s

Value = float | None
Times = dict[str, Value]
Columns = dict[str, list[Value]]
#: The times of percentiles, by their names.
SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
#: What a pool's points have of moments: the mean is told.
MOMENTS: Final = ("starting", "idle", "busy", "wanted", "target", "waiting", "running")
#: What they have counted: how often in a minute is told, and of the rare ones how often at all.
OFTEN: Final = ("done", "failed")
RARELY: Final = ("spawned", "crashed", "grown", "shrunk")
POOL_COLUMNS: Final = (*OFTEN, *MOMENTS, "waiting_max", "oldest_s", "memory_bytes", "cpu_cores", *RARELY, "held")
#: How long jobs have waited, and run.
TIMES: Final = (*(f"{of}_{share}_s" for of in ("waited", "ran") for share in SHARES), "ran_mean_s")
NO_TIMES: Final[Times] = dict.fromkeys(TIMES)
FUNCTION_COLUMNS: Final = (*COUNTERS, "waiting", "waiting_max", "running", "oldest_s", *TIMES)
_WAITED: Final = tuple(FUNCTION.place[name] for name in WAITED)
_RAN_MS: Final = FUNCTION.place["ran_ms"]
_RAN: Final = tuple(FUNCTION.place[name] for name in RAN)


def pool_columns(points: Sequence[Point], every_s: float) -> Columns:
    """Of a pool, or of all together. A point stands for as many looks as it says, with `every_s` seconds for each."""
    told = [_of_pool(point, every_s) for point in points]
    return {name: [each.get(name) for each in told] for name in POOL_COLUMNS}


def _of_pool(point: Point, every_s: float) -> dict[str, Value]:
    get = _reader(POOL, point)
    samples = get("samples")
    if not samples:
        return {}
    told: dict[str, Value] = {name: round(get(name) * 60 / (samples * every_s), 2) for name in OFTEN}
    told |= {name: round(get(name) / samples, 2) for name in (*MOMENTS, "held")}
    told |= {name: get(name) for name in ("waiting_max", *RARELY)}
    return told | {
        "oldest_s": get("oldest_ms") / 1000,
        "memory_bytes": round(get("memory_kb") * 1000 / samples),
        "cpu_cores": round(get("cpu_ms") / 1000 / (samples * every_s), 3),
    }


def function_columns(points: Sequence[Point], samples: Sequence[int], every_s: float) -> Columns:
    """Of a function, or of all together. `samples` are the looks at which job servers told of functions: where there
    were some, a function without a point had nothing to do."""
    columns: Columns = {name: [] for name in FUNCTION_COLUMNS}
    for point, count in zip(points, samples, strict=True):
        told = _of_function(point, count, every_s) if count else {}
        for name, values in columns.items():
            values.append(told.get(name))
    return columns


def _of_function(point: Point, samples: int, every_s: float) -> dict[str, Value]:
    get = _reader(FUNCTION, point)
    told: dict[str, Value] = {name: round(get(name) * 60 / (samples * every_s), 2) for name in COUNTERS}
    told |= {name: round(get(name) / samples, 2) for name in ("waiting", "running")}
    told |= {"waiting_max": get("waiting_max"), "oldest_s": get("oldest_ms") / 1000}
    return told | times_of(point)


def times_of(point: Point) -> Times:
    """The times of a function's point, by the names of `TIMES`."""
    told: Times = {}
    for of, places in (("waited", _WAITED), ("ran", _RAN)):
        counts = [point.get(place, 0) for place in places]
        for word, share in SHARES.items():
            time_s = percentile_s(counts, share)
            told[f"{of}_{word}_s"] = None if time_s is None else float(f"{time_s:.3g}")
    ended = sum(point.get(place, 0) for place in _RAN)
    told["ran_mean_s"] = round(point.get(_RAN_MS, 0) / 1000 / ended, 4) if ended else None
    return told


def _reader(figures: Figures, point: Point) -> Callable[[str], int]:
    def get(name: str) -> int:
        return point.get(figures.place[name], 0)

    return get
