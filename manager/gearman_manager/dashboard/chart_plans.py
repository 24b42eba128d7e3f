"""The charts of each page: which figures they have, in which words and colours. Pure."""

from __future__ import annotations

from typing import Final

from gearman_manager.dashboard.charts import BYTES, COUNT, SECONDS, Line, Plan

_SIZE: Final = ("grown", "shrunk")
_JOBS: Final = Plan("Jobs per minute", COUNT, (Line("done", "done", "1"),))
_FAILURES: Final = Plan("Failures per minute", COUNT, (Line("failed", "failed", "bad"),))
_WAITING: Final = Plan("Jobs that wait", COUNT, (Line("waiting", "mean", "1"), Line("waiting_max", "most", "2")))
_TIMES: Final = (("p50", "p50", "1"), ("p95", "p95", "2"), ("p99", "p99", "4"))
_WAITED: Final = Plan(
    "Waiting time",
    SECONDS,
    tuple(Line(f"waited_{share}_s", label, look) for share, label, look in _TIMES),
    needs_counts=True,
)
_RAN: Final = Plan(
    "Run time",
    SECONDS,
    tuple(Line(f"ran_{share}_s", label, look) for share, label, look in _TIMES),
    needs_counts=True,
)
_WORKERS: Final = Plan(
    "Workers",
    COUNT,
    (
        Line("wanted", "wanted", "2"),
        Line("target", "target", "4"),
        Line("ready", "ready", "3"),
        Line("busy", "busy", "1"),
    ),
    ticks=_SIZE,
)
ALL: Final = (_JOBS, _FAILURES, _WAITING, _WAITED, _WORKERS)
POOL: Final = (
    _WORKERS,
    _JOBS,
    _FAILURES,
    Plan("Jobs that wait, and run", COUNT, (Line("waiting", "waiting", "2"), Line("running", "running", "1"))),
    Plan("The oldest waits for", SECONDS, (Line("oldest_s", "most", "2"),)),
    Plan("Memory", BYTES, (Line("memory_bytes", "of the workers", "1"),)),
    Plan("Processor", COUNT, (Line("cpu_cores", "cores", "1"),)),
    Plan("Workers started, and lost", COUNT, (Line("spawned", "started", "1"), Line("crashed", "crashed", "bad"))),
)
FUNCTION: Final = (
    Plan(
        "Jobs queued, and running",
        COUNT,
        (Line("waiting", "queued", "2"), Line("running", "running", "1")),
        needs_counts=True,
    ),
    _WAITED,
    _RAN,
    Plan(
        "Outcomes per minute",
        COUNT,
        (Line("completed", "completed", "1"), Line("failed", "failed", "bad"), Line("other", "others", "2")),
        needs_counts=True,
    ),
    Plan(
        "Attempts per minute",
        COUNT,
        (
            Line("started", "all", "1"),
            Line("retried", "again", "2"),
            Line("timed_out", "timed out", "bad"),
        ),
        needs_counts=True,
    ),
)
#: Outcomes that are rare: the charts have their sum.
OTHERS: Final = ("expired", "dropped", "stopped")
