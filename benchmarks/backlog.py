"""A million queued jobs: the memory of each, the speed of draining them, and the memory that is kept afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from gearload import gearload
from scope import Scope
from servers import COMMANDS, Server, fresh_server

OURS, THEIRS = "gearman-server", "gearmand"
JOBS: Final = 1_000_000
WORKLOAD_BYTES: Final = 100
#: The wait between the last job and the reading of the kept memory: ours returns memory within 5 s.
SETTLE_S: Final = 8.0

AT_MOST_BYTES_RATIO: Final = 0.45
AT_LEAST_DRAIN_RATIO: Final = 3.0
AT_MOST_KEPT_MB: Final = 80.0


@dataclass(frozen=True)
class Figures:
    """One measurement."""

    bytes_per_job: float
    drained_per_s: float
    kept_mb: float


def measure(server_name: str) -> Figures:
    """Queue the jobs on a fresh server, and drain them."""
    with fresh_server(server_name) as server:
        before_bytes = server.resident_bytes()
        gearload(server.port, f"submit -n {JOBS} -c 4 -d 100 -s {WORKLOAD_BYTES}")
        queued_bytes = server.resident_bytes() - before_bytes
        drained_per_s = gearload(server.port, f"drain -n {JOBS} -w 4")["jobs_per_s"]
        return Figures(queued_bytes / JOBS, drained_per_s, _kept_bytes(server, before_bytes) / 1e6)


def _kept_bytes(server: Server, before_bytes: int) -> int:
    time.sleep(SETTLE_S)
    return server.resident_bytes() - before_bytes


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    if not scope.wants("a million queued jobs"):
        return
    rounds = [{name: measure(name) for name in COMMANDS} for _ in range(scope.rounds)]
    yield f"A million queued jobs of {WORKLOAD_BYTES} bytes beside Debian's gearmand, medians of {scope.rounds} rounds"
    yield ""
    yield "| | ours | gearmand | ratio | bar | |"
    yield "|---|--:|--:|--:|--:|---|"
    ours, theirs = ([figures[name] for figures in rounds] for name in (OURS, THEIRS))
    bytes_ours, bytes_theirs = (median(figures.bytes_per_job for figures in side) for side in (ours, theirs))
    drain_ours, drain_theirs = (median(figures.drained_per_s for figures in side) for side in (ours, theirs))
    kept_ours, kept_theirs = (median(figures.kept_mb for figures in side) for side in (ours, theirs))
    bytes_ratio, drain_ratio = bytes_ours / bytes_theirs, drain_ours / drain_theirs
    yield (
        f"| bytes per job | {bytes_ours:.0f} | {bytes_theirs:.0f} | {bytes_ratio:.2f} | ≤ {AT_MOST_BYTES_RATIO:g}"
        f" | {_verdict(bytes_ratio <= AT_MOST_BYTES_RATIO)} |"
    )
    yield (
        f"| drained per s, 4 workers | {drain_ours:,.0f} | {drain_theirs:,.0f} | {drain_ratio:.2f}"
        f" | ≥ {AT_LEAST_DRAIN_RATIO:g} | {_verdict(drain_ratio >= AT_LEAST_DRAIN_RATIO)} |"
    )
    yield (
        f"| memory kept after, MB | {kept_ours:.0f} | {kept_theirs:.0f} | | ≤ {AT_MOST_KEPT_MB:g} MB"
        f" | {_verdict(kept_ours <= AT_MOST_KEPT_MB)} |"
    )


def _verdict(is_met: bool) -> str:
    return "ok" if is_met else "MISSED"
