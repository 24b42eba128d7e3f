"""Keys within a function: draining 10,000 of them beside a plain queue, and the longest wait of a small key."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from gearload import gearload
from scope import Scope
from servers import Server, ours, started

from gearman_client import Worker, WorkerJob
from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.packet import encode_request

JOBS: Final = 100_000
KEYS: Final = 10_000
AT_LEAST_RATIO: Final = 0.7
_LIMITS: Final = "per_key: {rate: 1000/m}"
#: By what the row shows: the policy of the function.
POLICIES: Final = {
    "fair": "fair: true",
    "per_key.rate": _LIMITS,
    "fair, per_key.rate": f"fair: true, {_LIMITS}",
    "fair, per_key.rate and .max_running": "fair: true, per_key: {rate: 1000/m, max_running: 5}",
}

#: One key with very many jobs, and nine with ten each, which come while four workers are at the first.
BIG_JOBS: Final = 100_000
SMALL_KEYS: Final = 9
SMALL_JOBS: Final = 10
WORKERS: Final = 4
JOB_S: Final = 0.002


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    rows = {name: policy for name, policy in POLICIES.items() if scope.wants(f"keys: {name}")}
    if rows:
        yield f"Draining {JOBS:,} jobs of {KEYS:,} keys beside as many plain ones, medians of {scope.rounds} rounds"
        yield ""
        yield "| policy | jobs/s | plain | CPU µs/job | plain | ratio of the CPU | bar | |"
        yield "|---|--:|--:|--:|--:|--:|--:|---|"
        for name, policy in rows.items():
            yield _line(name, [(_drain(policy), _drain(None)) for _ in range(scope.rounds)])
    if scope.wants("keys: small"):
        yield ""
        yield f"{SMALL_KEYS} keys with {SMALL_JOBS} jobs behind one with {BIG_JOBS:,}; {WORKERS} workers, 2 ms a job"
        yield ""
        yield "| policy | longest wait of a small key's first job | of its last job |"
        yield "|---|--:|--:|"
        for name, policy in (("fair: true", "fair: true"), ("none", "retries: 0")):
            first_s, last_s = _waits(policy)
            yield f"| {name} | {first_s * 1000:,.0f} ms | {last_s * 1000:,.0f} ms |"


def _line(name: str, rounds: list[tuple[tuple[float, float], tuple[float, float]]]) -> str:
    rate, cpu_us = (median(figures[part] for figures, _ in rounds) for part in (0, 1))
    plain_rate, plain_cpu_us = (median(figures[part] for _, figures in rounds) for part in (0, 1))
    ratio = plain_cpu_us / cpu_us
    verdict = "ok" if ratio >= AT_LEAST_RATIO else "MISSED"
    return (
        f"| {name} | {rate:,.0f} | {plain_rate:,.0f} | {cpu_us:.1f} | {plain_cpu_us:.1f} | {ratio:.2f}"
        f" | ≥ {AT_LEAST_RATIO:g} | {verdict} |"
    )


def _drain(policy: str | None) -> tuple[float, float]:
    """Jobs per second, and the server's CPU time for each in microseconds."""
    with _server(policy or "retries: 0") as server:
        if policy is None:
            gearload(server.port, f"submit -n {JOBS} -c 4 -d 100")
        else:
            for _ in range(JOBS // KEYS):  # every run has the same keys
                gearload(server.port, f"submit -n {KEYS} -c 4 -d 100 -o key=customer-#")
        before_s = server.cpu_s()
        figures = gearload(server.port, f"drain -n {JOBS} -w 4")
        return figures["jobs_per_s"], (server.cpu_s() - before_s) * 1e6 / JOBS


class _server:  # noqa: N801 (a context manager)
    """A server with this policy for the load generator's function."""

    def __init__(self, policy: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "policies.yaml"
        file.write_text(f"functions: {{gearload: {{{policy}}}}}\n")
        self._started = started(lambda port: [*ours(port), "--policies", str(file)])

    def __enter__(self) -> Server:
        return self._started.__enter__()

    def __exit__(self, *error: object) -> None:
        self._started.__exit__(None, None, None)
        self._folder.cleanup()


def _waits(policy: str) -> tuple[float, float]:
    """The longest wait of a small key's first job, and of its last (seconds)."""
    with _server(policy) as server:
        gearload(server.port, f"submit -n {BIG_JOBS} -c 4 -d 100 -o key=big")
        begun: dict[bytes, float] = {}
        all_begun = threading.Event()
        wanted = SMALL_KEYS * SMALL_JOBS

        def work(job: WorkerJob) -> None:
            if job.workload.startswith(b"small"):
                begun[bytes(job.workload)] = time.monotonic()
                if len(begun) == wanted:
                    all_begun.set()
            time.sleep(JOB_S)

        workers = [Worker([f"127.0.0.1:{server.port}"]) for _ in range(WORKERS)]
        threads = [threading.Thread(target=_run, args=(worker, work), daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        submitted = time.monotonic()
        _submit_small(server.port)
        all_begun.wait()
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join()
        waits = [
            [begun[b"small %d %d" % (key, job)] - submitted for key in range(SMALL_KEYS)] for job in (0, SMALL_JOBS - 1)
        ]
        return max(waits[0]), max(waits[1])


def _run(worker: Worker, work: object) -> None:
    worker.register("gearload", work)  # type: ignore[arg-type]
    worker.run()


def _submit_small(port: int) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", port)) as stream:
        for job in range(SMALL_JOBS):
            for key in range(SMALL_KEYS):
                pairs = (b"background=1", b"key=small-%d" % key, b"")
                stream.sendall(encode_request(SUBMIT_JOB_WITH, b"gearload", b"", *pairs, b"small %d %d" % (key, job)))
                stream.recv(4096)
