"""Submissions with three options each beside plain ones, in memory and in SQLite, and a batch of jobs beside single
ones: jobs/s, and CPU per job."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from durable import in_memory, in_sqlite, own_folder
from gearload import gearload
from scope import Scope
from servers import started

from gearman_client.extensions import OPEN_BATCH
from gearman_client.packet import encode_request

AT_LEAST: Final = 0.7
#: Equal options for all jobs, and a header that is different in each.
EQUAL: Final = "retries=3,timeout=30000,tag=mail"
DIFFERENT: Final = "retries=3,tag=mail,header:traceparent=00-#"
#: Durable jobs, submitted and drained, alone and in one batch.
BATCH_JOBS: Final = 100_000
BATCH_AT_LEAST: Final = 0.8


@dataclass(frozen=True)
class Row:
    """gearload's arguments for plain submissions, and the server."""

    arguments: str
    place: str
    command: Callable[[Path, int], list[str]]


ROWS: Final = tuple(
    Row(f"submit -n {jobs} {load}", place, command)
    for place, command in (("memory", in_memory), ("SQLite", in_sqlite))
    for jobs, load in ((60_000, "-c 16 -d 10"), (100_000, "-c 4 -d 100"))
)


def _measured(row: Row, options: str | None) -> tuple[float, float]:
    """Jobs/s, and microseconds of CPU per job, of a fresh server."""
    with own_folder() as folder, started(partial(row.command, folder)) as server:
        before_s = server.cpu_s()
        arguments = row.arguments if options is None else f"{row.arguments} -o {options}"
        figures = gearload(server.port, arguments)
        return figures["jobs_per_s"], (server.cpu_s() - before_s) * 1e6 / figures["jobs"]


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(f"{row.place}: {row.arguments}")]
    if rows:
        yield from _options(rows, scope.rounds)
    if scope.wants("SQLite: a batch"):
        yield from _batch(scope.rounds)


def _options(rows: list[Row], rounds: int) -> Iterator[str]:
    yield f"Submissions with three options, medians of {rounds} rounds"
    yield ""
    yield "| | plain, jobs/s | equal options | ratio | different ones | ratio | bar | CPU µs/job of each | |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|---|"
    for row in rows:
        measured = [[_measured(row, options) for options in (None, EQUAL, DIFFERENT)] for _ in range(rounds)]
        rates = [median(each[at][0] for each in measured) for at in range(3)]
        costs = [median(each[at][1] for each in measured) for at in range(3)]
        plain, equal, different = rates
        verdict = "ok" if min(equal, different) >= AT_LEAST * plain else "MISSED"
        yield (
            f"| {row.place}: {row.arguments} | {plain:,.0f} | {equal:,.0f} | {equal / plain:.2f} | {different:,.0f}"
            f" | {different / plain:.2f} | ≥ {AT_LEAST} | {', '.join(f'{cost:.1f}' for cost in costs)} | {verdict} |"
        )


def _batch(rounds: int) -> Iterator[str]:
    yield ""
    yield f"{BATCH_JOBS:,} durable jobs (SQLite) in a batch beside as many single ones, medians of {rounds} rounds"
    yield ""
    yield "| | jobs/s single | in a batch | ratio | bar | CPU µs/job of each | |"
    yield "|---|--:|--:|--:|--:|--:|---|"
    measured = [[_lives(is_batch=is_batch) for is_batch in (False, True)] for _ in range(rounds)]
    for at, name in enumerate(("submitted", "drained", "both")):
        single, batch = (median(each[which][at][0] for each in measured) for which in (0, 1))
        costs = (median(each[which][at][1] for each in measured) for which in (0, 1))
        verdict = "" if name != "both" else "ok" if batch >= BATCH_AT_LEAST * single else "MISSED"
        bar = "" if name != "both" else f"≥ {BATCH_AT_LEAST}"
        yield (
            f"| {name} | {single:,.0f} | {batch:,.0f} | {batch / single:.2f} | {bar}"
            f" | {', '.join(f'{cost:.1f}' for cost in costs)} | {verdict} |"
        )


def _lives(*, is_batch: bool) -> list[tuple[float, float]]:
    """Jobs/s, and microseconds of CPU per job, of the submission, the drain, and both together."""
    with (
        own_folder() as folder,
        started(partial(in_sqlite, folder)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as stream,
    ):
        stream.sendall(encode_request(OPEN_BATCH, b"b"))
        stream.recv(1 << 16)
        times, cpu_s = [], [server.cpu_s()]
        for load in ("submit -c 4 -d 100" + " -o batch=b" * is_batch, "drain -w 4"):
            figures = gearload(server.port, f"{load} -n {BATCH_JOBS}")
            times.append(BATCH_JOBS / figures["jobs_per_s"])
            cpu_s.append(server.cpu_s())
    spent = [cpu_s[1] - cpu_s[0], cpu_s[2] - cpu_s[1], cpu_s[2] - cpu_s[0]]
    return [(BATCH_JOBS / of, cpu * 1e6 / BATCH_JOBS) for of, cpu in zip([*times, sum(times)], spent, strict=True)]
