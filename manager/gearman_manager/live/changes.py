"""What differs between two overviews, as events. Each has the new values, so it does no harm to hear one twice. Pure.

What changes all the time (memory, processor time, counts of jobs) is no event by itself; it comes along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

Report = Mapping[str, Any]
Event = tuple[str, dict[str, Any]]
#: Of a pool, what comes with its decision.
DECISION: Final = ("why", "limit", "wanted", "target")
_FIGURES: Final = ("done", "failed", "done_per_minute", "failed_per_minute", "memory_bytes")
#: And what is not told with the pool: its workers are told one by one.
_APART: Final = frozenset({"workers", "why", "decided", *_FIGURES})
#: Of a worker, what is no event by itself.
VOLATILE: Final = frozenset({"memory_bytes", "cpu_s", "cpu_cores", "done", "failed"})


def changes(before: Report, now: Report) -> Iterator[Event]:
    """The events that make `before` into `now`: their kinds and contents."""
    if (before["well"], before["troubles"]) != (now["well"], now["troubles"]):
        yield "troubles", {name: now[name] for name in ("well", "text", "troubles")}
    if before["servers"] != now["servers"]:
        yield "servers", {"servers": now["servers"]}
    known = {pool["name"]: pool for pool in before["pools"]}
    for pool in now["pools"]:
        yield from _pool(known.pop(pool["name"], None), pool)
    for name in known:
        yield "pool-gone", {"name": name}


def figures(now: Report) -> dict[str, Any]:
    """What changes all the time, by pool."""
    return {"pools": {pool["name"]: {name: pool[name] for name in _FIGURES} for pool in now["pools"]}}


def _pool(before: Report | None, now: Report) -> Iterator[Event]:
    if before is None or _summary(before) != _summary(now):
        yield "pool", {name: value for name, value in now.items() if name != "workers"}
    if before is not None and any(before[key] != now[key] for key in ("limit", "target")):
        yield "decision", {"pool": now["name"], "at": now["decided"], **{key: now[key] for key in DECISION}}
    known = {worker["name"]: worker for worker in (before["workers"] if before else ())}
    changed = [worker for worker in now["workers"] if _steady(known.pop(worker["name"], {})) != _steady(worker)]
    if changed or known:
        yield "workers", {"pool": now["name"], "changed": changed, "gone": [*known]}


def _summary(pool: Report) -> Report:
    return {name: value for name, value in pool.items() if name not in _APART}


def _steady(worker: Report) -> Report:
    return {name: value for name, value in worker.items() if name not in VOLATILE}
