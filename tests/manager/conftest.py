"""A fixture for the manager's tests: a process in a memory control group of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from ..control_groups import limited_group

LIMIT_BYTES = 64 << 20


@pytest.fixture
def limited_process() -> Iterator[int]:
    """The pid of a process in a memory control group of its own."""
    limits = {"memory.limit_in_bytes": str(LIMIT_BYTES), "memory.max": str(LIMIT_BYTES)}
    with limited_group("memory", limits) as folder:
        process = subprocess.Popen(["sleep", "600"])
        (folder / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
        process.kill()
        process.wait()
