"""Kills the processes that a job has started: after its timeout, or with a worker that has outlived the supervisor.

They are found by what ties them to the worker: they are below it, in its session, or have its name in their
environment. After a timeout the worker goes on, so what a setup or an earlier job has started stays: it is older than
the job.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from gearman_manager.worker.order import CLIENT_ID_VARIABLE

#: A process may fork while we look, so we look again until no more is found.
_LOOKS: Final = 5


class _Process(NamedTuple):
    parent: int
    session: int
    start_ticks: int


def kill_started_since(start_ns: int, client_id: str) -> None:
    """Kill what this process has started since `start_ns` (monotonic)."""
    first_tick, own = _tick(start_ns), os.getpid()
    for _ in range(_LOOKS):
        processes = _processes()
        young = {pid for pid, process in processes.items() if process.start_ticks >= first_tick}
        found = [pid for pid in young if _is_of(own, pid, processes) or _has_name(pid, client_id)]
        if not _kill(found, own):
            return


def kill_started_by(worker: int, client_id: str, named_until_ns: int) -> None:
    """Kill what the process `worker` has started, which lives still or is not reaped.

    By its name only what had started by `named_until_ns` (monotonic): later ones may be a new manager's.
    """
    last_tick = _tick(named_until_ns)
    for _ in range(_LOOKS):
        processes = _processes()
        old = {pid for pid, process in processes.items() if process.start_ticks <= last_tick}
        found = [
            pid for pid in processes if _is_of(worker, pid, processes) or (pid in old and _has_name(pid, client_id))
        ]
        if not _kill(found, worker):
            return


def _tick(at_ns: int) -> int:
    """A monotonic time in the units of `start_ticks`."""
    age_ns = time.monotonic_ns() - at_ns
    return (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - age_ns) * os.sysconf("SC_CLK_TCK") // 1_000_000_000


def _kill(pids: Iterable[int], spared: int) -> bool:
    """Kill them, except for one; returns whether there were any."""
    victims = [pid for pid in pids if pid not in (spared, os.getpid())]
    for pid in victims:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return bool(victims)


def _is_of(worker: int, pid: int, processes: Mapping[int, _Process]) -> bool:
    """Whether a process is in the session of `worker`, or below it."""
    if processes[pid].session == worker:
        return True
    above = processes[pid].parent
    while above in processes and above != worker:
        above = processes[above].parent
    return above == worker


def _has_name(pid: int, client_id: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            return f"{CLIENT_ID_VARIABLE}={client_id}".encode() in environ.read().split(b"\0")
    except OSError:
        return False


def _processes() -> dict[int, _Process]:
    """All living processes that we can see; see proc(5) for the fields."""
    processes = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
            if fields[0] not in (b"Z", b"X"):
                processes[int(name)] = _Process(int(fields[1]), int(fields[3]), int(fields[19]))
    return processes
