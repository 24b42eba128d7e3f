"""The job that only counts itself: the same for every compared system.

Each process counts in its own mapped file, so a job costs one addition and no system call. The environment names the
folder.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "NOOP_COUNTS"
_BYTES: Final = 8

_counter: memoryview | None = None
_owner = 0


def count(jobs: int = 1) -> None:
    """Count a job, or the jobs of a batch."""
    global _counter, _owner
    if _counter is None or _owner != os.getpid():
        _counter, _owner = _own_counter(), os.getpid()
    _counter[0] += jobs


def counted(folder: Path) -> int:
    """The number of jobs done by all processes."""
    return sum(int.from_bytes(file.read_bytes(), "little") for file in folder.iterdir())


def _own_counter() -> memoryview:
    path = Path(os.environ[FOLDER_VARIABLE]) / str(os.getpid())
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(descriptor, _BYTES)
    memory = mmap.mmap(descriptor, _BYTES)
    os.close(descriptor)
    return memoryview(memory).cast("Q")
