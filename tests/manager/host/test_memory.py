"""A process's own memory, as /proc shows it, and the end of these readings once the process is gone."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from gearman_manager.host.memory import anonymous_bytes, private_bytes

GROWN_BYTES = 32 << 20


def test_private_memory_grows_by_what_is_written() -> None:
    before = private_bytes()
    with mmap.mmap(-1, GROWN_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"x" * GROWN_BYTES)
        assert private_bytes() - before >= GROWN_BYTES * 0.9


def test_the_cheap_reading_is_at_least_the_private_anonymous_memory() -> None:
    with mmap.mmap(-1, GROWN_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"x" * GROWN_BYTES)
        assert anonymous_bytes(Path("/proc/self/statm").read_bytes()) >= GROWN_BYTES


def test_another_process_is_read_by_its_pid() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            assert private_bytes(child.pid) > 0
        finally:
            child.communicate(b"\n")
    with pytest.raises(OSError, match="No such"):
        private_bytes(child.pid)


def test_a_process_that_has_gone_has_no_reading() -> None:
    with pytest.raises(IndexError):
        anonymous_bytes(b"")
