"""What the manager's tests share: a process in a memory control group of its own."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearman_manager.host.cgroup import CGROUPS

LIMIT_BYTES = 64 << 20


@pytest.fixture
def limited_process() -> Iterator[int]:
    """The pid of a process in a memory control group of its own."""
    for root, limit in ((CGROUPS / "memory", "memory.limit_in_bytes"), (CGROUPS, "memory.max")):
        folder = root / f"gearman-manager-test-{uuid.uuid4().hex}"
        try:
            folder.mkdir()
            (folder / limit).write_text(str(LIMIT_BYTES))
        except OSError:
            if folder.is_dir():
                folder.rmdir()
            continue
        process = subprocess.Popen(["sleep", "600"])
        (folder / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
        process.kill()
        process.wait()
        _remove(folder)
        return
    pytest.skip("this machine lets nobody make a memory control group")


def _remove(folder: Path) -> None:
    """The kernel lets a group go when its last process is reaped."""
    for _ in range(1000):
        try:
            folder.rmdir()
            return
        except OSError:
            os.sched_yield()
