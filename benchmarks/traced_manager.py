"""A `gearman-manager` that notes how long its event loop is held: the longest time that a greenlet, or a callback, ran
without a switch, as processor time of the loop's thread. Other work on the machine does not count.

The environment names a file of eight bytes, a double in seconds. Whoever measures sets it to 0 and reads it.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any, Final

HELD_FILE: Final = "GEARMAN_BENCH_HELD"
_DOUBLE: Final = struct.Struct("d")


def programs(folder: Path) -> Path:
    """A folder with such a program as `gearman-manager`, below `folder`; and its file, `held`."""
    held = folder / "held"
    held.write_bytes(bytes(_DOUBLE.size))
    program = folder / "gearman-manager"
    program.write_text(f'#!/bin/sh\n{HELD_FILE}={held} exec {sys.executable} {Path(__file__).resolve()} "$@"\n')
    program.chmod(0o755)
    return folder


def reset(folder: Path) -> None:
    """Begin anew."""
    with (folder / "held").open("r+b") as file:
        file.write(bytes(_DOUBLE.size))


def held_s(folder: Path) -> float:
    """The longest time since the last reset."""
    longest: float = _DOUBLE.unpack((folder / "held").read_bytes())[0]
    return longest


def _trace(path: str) -> None:
    import greenlet

    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), _DOUBLE.size)
    since = time.thread_time()

    def note(_event: str, _greenlets: Any) -> None:
        nonlocal since
        now = time.thread_time()
        if now - since > _DOUBLE.unpack_from(memory)[0]:
            _DOUBLE.pack_into(memory, 0, now - since)
        since = now

    greenlet.settrace(note)  # type: ignore[attr-defined, unused-ignore]


if __name__ == "__main__":
    _trace(os.environ.pop(HELD_FILE))
    from gearman_process.early_signals import gearman_manager

    sys.argv[0] = "gearman-manager"
    gearman_manager()
