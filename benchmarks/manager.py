"""The manager: how fast a hundred workers are registered, what each of them costs, what the idle supervisor costs.

Everything is seen from outside: the workers by what the job server says, the memory by what the kernel says.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from scope import Scope

from gearman_client import Address, AdminClient, CouldNotConnect, connect_admin

WORKERS = 100
IDLE_S = 10.0
KILLS = 15
DEADLINE_S = 30.0

_CONFIG = """
run_dir: run
server: {{listen: "127.0.0.1:{port}"}}
log: {{file: manager.log}}
pools: {{reverse: {{functions: [reverse], min: {workers}, max: {workers}}}}}
"""
#: The sample modules are beside it, so that what they import (Pillow above all) is in the zygote as in real life.
_SAMPLES = Path(__file__).parent.parent / "workers"


@dataclass(frozen=True)
class Figures:
    """One round."""

    registered_s: float
    pss_mb: float
    supervisor_percent: float
    replaced_ms: float


def report(scope: Scope) -> Iterator[str]:
    """The table, line by line. It is one measurement: its rows can't be chosen."""
    if scope.rows:
        return
    measured = [_round() for _ in range(scope.rounds)]
    rows = (
        (f"{WORKERS} workers registered after the start, s", median(f.registered_s for f in measured), 2.0),
        ("memory of one worker (PSS, median of all), MB", median(f.pss_mb for f in measured), 5.0),
        (f"idle supervisor with {WORKERS} workers, % of a core", median(f.supervisor_percent for f in measured), 1.0),
        (f"killed worker replaced (median of {KILLS}), ms", median(f.replaced_ms for f in measured), 50.0),
    )
    yield f"manager, medians of {scope.rounds} rounds"
    yield f"{'':52} {'ours':>8} {'bar':>6}"
    for name, value, bar in rows:
        yield f"{name:52} {value:8.2f} {bar:6.1f}{'' if value <= bar else '  missed'}"


def _round() -> Figures:
    with _manager() as (process, address, started):
        registered_s = _wait_for_workers(address, started)
        supervisor = psutil.Process(process.pid)
        workers = [child for child in supervisor.children(recursive=True) if ": worker " in " ".join(child.cmdline())]
        pss_mb = median(worker.memory_full_info().pss / 1e6 for worker in workers)
        percent = _cpu_percent(supervisor)
        replaced_ms = _replacement_ms(address, [worker.pid for worker in workers[:KILLS]])
    return Figures(registered_s, pss_mb, percent, replaced_ms)


@contextmanager
def _manager() -> Iterator[tuple[subprocess.Popen[bytes], Address, float]]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", probe.getsockname()[1])
        probe.close()
        (Path(folder) / "workers").symlink_to(_SAMPLES)
        config = Path(folder) / "config.yaml"
        config.write_text(_CONFIG.format(port=address.port, workers=WORKERS))
        started = time.monotonic()
        process = subprocess.Popen([Path(sys.executable).with_name("gearman-manager"), "-c", config])
        try:
            yield process, address, started
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_S)


def _wait_for_workers(address: Address, started: float) -> float:
    while time.monotonic() < started + DEADLINE_S:
        try:
            with connect_admin(address, timeout_s=5) as admin:
                while len(_client_ids(admin)) < WORKERS and time.monotonic() < started + DEADLINE_S:
                    time.sleep(0.005)
                return time.monotonic() - started
        except CouldNotConnect:
            time.sleep(0.005)
    raise SystemExit(f"the manager's workers were not registered within {DEADLINE_S:g} s")


def _client_ids(admin: AdminClient) -> set[str]:
    return {worker.client_id for worker in admin.workers() if "reverse" in worker.functions}


def _cpu_percent(process: psutil.Process) -> float:
    time.sleep(2)  # let the start settle
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(IDLE_S)
    after = process.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    return 100 * used_s / (time.monotonic() - began)


def _replacement_ms(address: Address, pids: list[int]) -> float:
    delays = []
    with connect_admin(address, timeout_s=5) as admin:
        for pid in pids:
            before = _client_ids(admin)
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            while not _client_ids(admin) - before:
                if time.monotonic() > killed + DEADLINE_S:
                    raise SystemExit(f"worker {pid} was not replaced within {DEADLINE_S:g} s")
            delays.append((time.monotonic() - killed) * 1000)
    return median(delays)
