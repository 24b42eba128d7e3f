"""What counting for Prometheus costs, and keeping the ends of jobs: our server's CPU time per job with and without."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Final

from gearload import gearload
from scope import Scope
from servers import ours, started

ROWS: Final = ("submit -n 200000 -c 4 -d 100", "echo -n 50000 -c 8 -w 8 -d 16")
_OPTIONS: Final = ((), ("--metrics-listen", "127.0.0.1:0"), ("--finished-jobs", "4096"))


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(f"metrics: {row}")]
    if not rows:
        return
    yield f"What metrics and kept ends of jobs cost gearman-server, medians of {scope.rounds} rounds"
    yield ""
    yield "| gearload | CPU µs/job without | with metrics | more | with the last ends of jobs | more |"
    yield "|---|--:|--:|--:|--:|--:|"
    for row in rows:
        rounds = [[_cpu_us_per_job(row, *options) for options in _OPTIONS] for _ in range(scope.rounds)]
        without, *others = (median(figures) for figures in zip(*rounds, strict=True))
        yield f"| {row} | {without:.1f} | " + " | ".join(f"{us:.1f} | {us - without:.1f}" for us in others) + " |"


def _cpu_us_per_job(row: str, *options: str) -> float:
    with started(lambda port: [*ours(port), *options]) as server:
        before_s = server.cpu_s()
        jobs = gearload(server.port, row)["jobs"]
        return (server.cpu_s() - before_s) * 1e6 / jobs
