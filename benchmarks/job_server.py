"""The job server beside gearmand: throughput and server CPU per job, a fresh server for every measurement."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from gearload import gearload
from servers import COMMANDS, fresh_server

OURS, THEIRS = "gearman-server", "gearmand"


@dataclass(frozen=True)
class Row:
    """One comparison: gearload's arguments, what to run before it, and the bars as multiples of gearmand's figures."""

    arguments: str
    at_least_rate: float
    at_most_cpu: float
    before: str | None = None


ROWS = (
    Row("submit -n 60000 -c 16 -d 1", 1.1, 0.8),
    Row("drain -n 60000 -w 16", 1.1, 0.8, before="submit -n 60000 -c 4 -d 100 -u"),
    Row("echo -n 50000 -c 16 -w 16", 1.2, 0.8),
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


def compare(rows: tuple[Row, ...], rounds: int) -> list[str]:
    """The lines of a table in Markdown: medians over the rounds, both servers in turn within each round."""
    measured: dict[tuple[Row, str], list[Figures]] = defaultdict(list)
    for _ in range(rounds):
        for row in rows:
            for server_name in COMMANDS:
                measured[row, server_name].append(measure(server_name, row))
    return [*_HEAD, *(_line(row, measured[row, OURS], measured[row, THEIRS]) for row in rows)]


_HEAD = (
    "| gearload | jobs/s | gearmand | ratio | bar | CPU µs/job | gearmand | ratio | bar | |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
)


def _line(row: Row, ours: list[Figures], theirs: list[Figures]) -> str:
    our_rate, their_rate = (median(figures.jobs_per_s for figures in side) for side in (ours, theirs))
    our_cpu, their_cpu = (median(figures.cpu_us_per_job for figures in side) for side in (ours, theirs))
    rate_ratio, cpu_ratio = our_rate / their_rate, our_cpu / their_cpu
    is_met = rate_ratio >= row.at_least_rate and cpu_ratio <= row.at_most_cpu
    return (
        f"| {row.arguments} | {our_rate:,.0f} | {their_rate:,.0f} | {rate_ratio:.2f} | ≥ {row.at_least_rate}"
        f" | {our_cpu:.1f} | {their_cpu:.1f} | {cpu_ratio:.2f} | ≤ {row.at_most_cpu} | {'ok' if is_met else 'MISSED'} |"
    )


def report(rounds: int) -> list[str]:
    """The subject's section of the report."""
    return [f"Job server beside Debian's gearmand, medians of {rounds} rounds", "", *compare(ROWS, rounds)]
