"""Searches among very many queued jobs of a server in memory: how long they take, and how long the loop is held.

The hold is the longest time that another connection waits for an echo.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from gearload import gearload
from scope import Scope
from servers import fresh_server
from stalls import connected, probe

#: The bar, on a machine without other load.
MOST_HOLD_MS: Final = 20.0


@dataclass(frozen=True)
class Row:
    """What is asked, and of how many jobs with workloads of how many bytes."""

    name: str
    command: bytes
    jobs: int = 1_000_000
    workload_bytes: int = 100


ROWS: Final = (
    Row("a page of the first 100", b"jobs list"),
    Row("a text that is nowhere", b"jobs list text=nowhere"),
    Row("a unique key that is nowhere", b"jobs list unique=nowhere"),
    Row("the number of those with a text", b"jobs count text=nowhere"),
    Row("a text that is nowhere, in 5,000 jobs of 64 kB", b"jobs list text=nowhere", 5_000, 65_536),
)


def _search(port: int, command: bytes) -> float:
    """The seconds until the last page is there."""
    operator = connected(port)
    operator.settimeout(60)
    began, after, has_pages = time.perf_counter(), b"", b"nowhere" in command
    while True:
        operator.sendall(command + after + b"\n")
        answer = b""
        while not answer.endswith(b"\n.\n") and answer != b".\n":
            answer += operator.recv(1 << 16)
        last = answer.split(b"\n")[-3] if answer.count(b"\n") > 1 else b""
        if not (has_pages and last.startswith(b"next\t")):
            operator.close()
            return time.perf_counter() - began
        after = b" after=" + last.split(b"\t")[1]


def measure(row: Row) -> tuple[float, float]:
    """The seconds that it takes, and the longest hold in milliseconds."""
    with fresh_server("gearman-server") as server:
        gearload(server.port, f"submit -n {row.jobs} -c 4 -d 100 -s {row.workload_bytes}")
        commands, other_end = multiprocessing.Pipe()
        prober = multiprocessing.Process(target=probe, args=(server.port, other_end))
        prober.start()
        commands.recv()
        took_s = _search(server.port, row.command)
        commands.send("stop")
        times_s: list[float] = commands.recv()
        prober.join()
        return took_s, max(times_s) * 1e3


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = [row for row in ROWS if scope.wants(row.name)]
    if not rows:
        return
    yield f"Searches among a million queued jobs of 100 bytes, or those that it says, medians of {scope.rounds} rounds"
    yield ""
    yield "| looked for | took, s | the loop is held, ms | bar | |"
    yield "|---|--:|--:|--:|---|"
    for row in rows:
        rounds = [measure(row) for _ in range(scope.rounds)]
        took_s, hold_ms = (median(figures) for figures in zip(*rounds, strict=True))
        verdict = "ok" if hold_ms <= MOST_HOLD_MS else "MISSED"
        yield f"| {row.name} | {took_s:.2f} | {hold_ms:.1f} | ≤ {MOST_HOLD_MS:g} | {verdict} |"
