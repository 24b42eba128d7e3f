"""`AsyncClient` with many coroutines beside the blocking client one job at a time, with gearmand and with our server.

Two of Debian's `gearman` workers run the jobs, which do nothing. In each round both clients are measured in one process
and with the same server.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from scope import Scope
from servers import COMMANDS, fresh_server

from gearman_client import AsyncClient, Client

WORKERS: Final = 2


@dataclass(frozen=True)
class Row:
    """So many coroutines, each of which submits one job after another, and the least ratio to the blocking client."""

    coroutines: int
    jobs: int
    at_least: float | None

    def __str__(self) -> str:
        return f"async_client: {self.coroutines} coroutines"


ROWS: Final = (Row(1, 5_000, None), Row(100, 40_000, 2.0), Row(10_000, 40_000, None))
BLOCKING_JOBS: Final = 5_000


@dataclass(frozen=True)
class Figures:
    """One measurement. The CPU time is the client's."""

    jobs_per_s: float
    cpu_us_per_job: float


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(str(row))]
    if not rows:
        return
    yield f"No-op jobs over AsyncClient, beside the blocking client one at a time; medians of {scope.rounds} rounds"
    yield ""
    yield "| server | coroutines | jobs/s | blocking | ratio | bar | CPU µs/job | blocking | |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|---|"
    for name in COMMANDS:
        for row in rows:
            yield _line(name, row, [_measure(name, row) for _ in range(scope.rounds)])


def _line(name: str, row: Row, rounds: list[tuple[Figures, Figures]]) -> str:
    ratio = median(ours.jobs_per_s / blocking.jobs_per_s for ours, blocking in rounds)
    rates = [median(figures[side].jobs_per_s for figures in rounds) for side in (0, 1)]
    cpu = [median(figures[side].cpu_us_per_job for figures in rounds) for side in (0, 1)]
    bar = "" if row.at_least is None else f"≥ {row.at_least:g}"
    verdict = "" if row.at_least is None else "ok" if ratio >= row.at_least else "MISSED"
    return (
        f"| {name} | {row.coroutines:,} | {rates[0]:,.0f} | {rates[1]:,.0f} | {ratio:.2f} | {bar}"
        f" | {cpu[0]:.1f} | {cpu[1]:.1f} | {verdict} |"
    )


def _measure(name: str, row: Row) -> tuple[Figures, Figures]:
    """The asynchronous client and the blocking one with a fresh server."""
    with fresh_server(name) as server, _workers(server.port):
        address = f"127.0.0.1:{server.port}"
        blocking = _blocking(address)
        return asyncio.run(_asynchronous(address, row)), blocking


def _blocking(address: str) -> Figures:
    with Client(address, timeout_s=60) as client:
        client.submit("noop", b"")
        before_s, began = time.process_time(), time.monotonic()
        for _ in range(BLOCKING_JOBS):
            client.submit("noop", b"")
        took_s = time.monotonic() - began
        return Figures(BLOCKING_JOBS / took_s, (time.process_time() - before_s) * 1e6 / BLOCKING_JOBS)


async def _asynchronous(address: str, row: Row) -> Figures:
    async with AsyncClient(address, timeout_s=60) as client:
        await client.submit("noop", b"")

        async def submit() -> None:
            for _ in range(row.jobs // row.coroutines):
                await client.submit("noop", b"")

        before_s, began = time.process_time(), time.monotonic()
        await asyncio.gather(*(submit() for _ in range(row.coroutines)))
        took_s = time.monotonic() - began
        return Figures(row.jobs / took_s, (time.process_time() - before_s) * 1e6 / row.jobs)


@contextlib.contextmanager
def _workers(port: int) -> Iterator[None]:
    program = shutil.which("gearman")
    if program is None:
        raise SystemExit("benchmarks: gearman is not installed (apt install gearman-tools)")
    command = [program, "-h", "127.0.0.1", "-p", str(port), "-w", "-f", "noop"]
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(WORKERS)]
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
