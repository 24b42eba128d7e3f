"""Kills the processes that a timed-out job has started, while the worker goes on with the next job.

They are found by their start, which is not before the job's, and by what ties them to this worker: they are below it,
in its session, or have its name in their environment. What a setup or an earlier job has started stays.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
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
    age_ns = time.monotonic_ns() - start_ns
    first_tick = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - age_ns) * os.sysconf("SC_CLK_TCK") // 1_000_000_000
    for _ in range(_LOOKS):
        processes = _processes()
        young = {pid for pid, process in processes.items() if process.start_ticks >= first_tick}
        ours = [pid for pid in young if pid != os.getpid() and _is_ours(pid, processes, client_id)]
        for pid in ours:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not ours:
            return


def _is_ours(pid: int, processes: Mapping[int, _Process], client_id: str) -> bool:
    own = os.getpid()
    if processes[pid].session == own:
        return True
    above = processes[pid].parent
    while above in processes and above != own:
        above = processes[above].parent
    return above == own or _has_our_name(pid, client_id)


def _has_our_name(pid: int, client_id: str) -> bool:
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
