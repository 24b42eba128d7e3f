"""Reads the private memory of a process: the real cost of a worker, without the memory that it shares with its zygote.

Both readings of /proc are here, the exact one and the cheap one. Light, because workers import it: no psutil.
"""

from __future__ import annotations

import os
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def private_bytes(pid: int | str = "self") -> int:
    """The private memory of a process, from smaps_rollup: half a millisecond.

    Raises:
        OSError: there is no such process, or we may not look at it.
    """
    total_kb = 0
    with open(f"/proc/{pid}/smaps_rollup", "rb") as rollup:
        for line in rollup:
            if line.startswith((b"Private_Clean:", b"Private_Dirty:")):
                total_kb += int(line.split()[1])
    return total_kb * 1024


def anonymous_bytes(statm: bytes) -> int:
    """The memory that belongs to no file, from the content of /proc/PID/statm: some microseconds.

    It includes memory still shared with the process that forked this one, so the private memory is less.

    Raises:
        IndexError: the process is gone, and the content empty.
    """
    fields = statm.split()
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES
