"""Single calls of client libraries: foreground round trips one at a time, and what `import gearman_client` takes.

Every client has the same worker, one of libgearman in C. Server and worker take most of a round trip and are the same
for all, so the time of the processor in the client itself is shown too.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from scope import Scope
from servers import COMMANDS, fresh_server

JOBS: Final = 5000
IMPORTS: Final = 20
SOURCES: Final = Path(__file__).parent / "roundtrips"
IN_PYTHON: Final = (sys.executable, str(SOURCES / "in_python.py"))


@dataclass(frozen=True)
class Figures:
    """Of one run: round trips in a second, and the microseconds of the processor for one, in the client."""

    per_s: float
    cpu_us: float


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    if scope.wants("calls: round trips"):
        yield from _round_trips(scope)
    if scope.wants("calls: import"):
        yield ""
        yield from _import(scope)


def _round_trips(scope: Scope) -> Iterator[str]:
    yield f"Foreground jobs of 100 bytes, one at a time, {JOBS} in a row; medians of {scope.rounds} rounds"
    yield ""
    yield "| server | client | jobs/s | ours is | CPU µs/job in the client |"
    yield "|---|---|--:|--:|--:|"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "roundtrips"
        subprocess.run(["cc", "-O2", "-o", program, SOURCES / "roundtrips.c", "-lgearman"], check=True)
        clients = {
            "ours": (*IN_PYTHON, "ours"),
            "libgearman in C": (str(program), "client"),
            "PHP's extension": (shutil.which("php") or "php", str(SOURCES / "roundtrips.php")),
            "gear": (*IN_PYTHON, "gear"),
            "python3-gearman": (*IN_PYTHON, "python3-gearman"),
        }
        for name in COMMANDS:
            rounds: dict[str, list[Figures]] = {client: [] for client in clients}
            for _ in range(scope.rounds):
                with fresh_server(name) as server, _worker(program, server.port):
                    for client, command in clients.items():
                        rounds[client].append(_measure(command, server.port))
            ours = median(figures.per_s for figures in rounds["ours"])
            for client, measured in rounds.items():
                per_s = median(figures.per_s for figures in measured)
                cpu_us = median(figures.cpu_us for figures in measured)
                yield f"| {name} | {client} | {per_s:,.0f} | {ours / per_s:.2f} x | {cpu_us:.0f} |"


@contextlib.contextmanager
def _worker(program: Path, port: int) -> Iterator[None]:
    process = subprocess.Popen([program, "worker", "127.0.0.1", str(port)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _measure(command: tuple[str, ...], port: int) -> Figures:
    """Run a client; it prints the seconds of its jobs. Its start is taken off its processor's time by a short run."""
    start_cpu_s = _run(command, port, 1)[1]
    seconds, cpu_s = _run(command, port, JOBS)
    return Figures(JOBS / seconds, (cpu_s - start_cpu_s) / (JOBS - 1) * 1e6)


def _run(command: tuple[str, ...], port: int, jobs: int) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, "127.0.0.1", str(port), str(jobs)], check=True, capture_output=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _import(scope: Scope) -> Iterator[str]:
    program = "import time; a = time.process_time(), time.perf_counter(); import gearman_client; "
    program += "print(time.process_time() - a[0], time.perf_counter() - a[1])"
    measured = []
    for _ in range(scope.rounds * IMPORTS):
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        measured.append([float(figure) * 1000 for figure in done.stdout.split()])
        time.sleep(0.01)
    cpu_ms, wall_ms = (sorted(figures) for figures in zip(*measured, strict=True))
    yield "| `import gearman_client` | median | best |"
    yield "|---|--:|--:|"
    yield f"| processor, ms | {median(cpu_ms):.1f} | {cpu_ms[0]:.1f} |"
    yield f"| clock, ms | {median(wall_ms):.1f} | {wall_ms[0]:.1f} |"
