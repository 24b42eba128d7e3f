"""The job server beside gearmand: throughput and server CPU per job, a fresh server for every measurement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from gearload import gearload
from scope import Scope
from servers import COMMANDS, fresh_server

OURS, THEIRS = "gearman-server", "gearmand"


@dataclass(frozen=True)
class Row:
    """One comparison: gearload's arguments, those of a run before it, and bars as multiples of gearmand's figures."""

    arguments: str
    at_least_rate: float
    at_most_cpu: float
    before: str | None = None


ROWS: Final = (
    Row("submit -n 30000 -c 1 -d 1", 1.0, 0.9),
    Row("submit -n 60000 -c 16 -d 1", 1.15, 0.7),
    Row("submit -n 100000 -c 4 -d 100 -u", 4.0, 0.4),
    Row("submit -n 100000 -c 4 -d 100", 0.4, 4.0),
    Row("drain -n 30000 -w 1", 1.0, 0.8, before="submit -n 30000 -c 4 -d 100"),
    Row("drain -n 60000 -w 16", 1.2, 0.7, before="submit -n 60000 -c 4 -d 100"),
    Row("drain -n 100000 -w 4", 1.8, 0.5, before="submit -n 100000 -c 4 -d 100"),
    Row("echo -n 20000 -c 1 -w 1", 1.0, 0.9),
    Row("echo -n 50000 -c 16 -w 16", 1.3, 0.7),
    Row("echo -n 50000 -c 8 -w 8 -d 16", 1.1, 0.9),
    Row("echo -n 20000 -c 4 -w 4 -s 10000", 1.4, 0.7),
    Row("idle -n 1000 -w 100", 1.0, 1.0),
    Row("idle -n 200 -w 2000", 1.0, 1.0),
)


@dataclass(frozen=True)
class Figures:
    """One measurement."""

    jobs_per_s: float
    cpu_us_per_job: float


def measure(server_name: str, row: Row) -> Figures:
    """Run one row against one fresh server."""
    with fresh_server(server_name) as server:
        if row.before is not None:
            gearload(server.port, row.before)
        cpu_before_s = server.cpu_s()
        figures = gearload(server.port, row.arguments)
        cpu_s = server.cpu_s() - cpu_before_s
    return Figures(figures["jobs_per_s"], cpu_s * 1e6 / figures["jobs"])


def compare(row: Row, rounds: int) -> str:
    """A line of the table in Markdown: medians over the rounds, both servers in turn."""
    measured: dict[str, list[Figures]] = defaultdict(list)
    for _ in range(rounds):
        for server_name in COMMANDS:
            measured[server_name].append(measure(server_name, row))
    return _line(row, measured[OURS], measured[THEIRS])


_HEAD: Final = (
    "| gearload | jobs/s | gearmand | ratio | bar | CPU µs/job | gearmand | ratio | bar | |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
)


def _line(row: Row, ours: list[Figures], theirs: list[Figures]) -> str:
    our_rate, their_rate = (median(figures.jobs_per_s for figures in side) for side in (ours, theirs))
    our_cpu, their_cpu = (median(figures.cpu_us_per_job for figures in side) for side in (ours, theirs))
    rate_ratio, cpu_ratio = our_rate / their_rate, our_cpu / their_cpu
    verdict = "ok" if rate_ratio >= row.at_least_rate and cpu_ratio <= row.at_most_cpu else "MISSED"
    return (
        f"| {row.arguments} | {our_rate:,.0f} | {their_rate:,.0f} | {rate_ratio:.2f} | ≥ {row.at_least_rate:g}"
        f" | {our_cpu:.1f} | {their_cpu:.1f} | {cpu_ratio:.2f} | ≤ {row.at_most_cpu:g} | {verdict} |"
    )


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(row.arguments)]
    if rows:
        yield f"Job server beside Debian's gearmand, medians of {scope.rounds} rounds"
        yield ""
        yield from _HEAD
        yield from (compare(row, scope.rounds) for row in rows)
