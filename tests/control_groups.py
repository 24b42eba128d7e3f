"""Real control groups for tests, of the version that this machine has."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gearman_manager.host.cgroup import CGROUPS


@contextmanager
def limited_group(controller: str, limits: dict[str, str]) -> Iterator[Path]:
    """A group with a limit: the name of its file and its value, first for version 1, then for version 2."""
    for root, (file, value) in zip((CGROUPS / controller, CGROUPS), limits.items(), strict=True):
        folder = root / f"gearman-manager-test-{uuid.uuid4().hex}"
        try:
            folder.mkdir()
            (folder / file).write_text(value)
        except OSError:
            if folder.is_dir():
                folder.rmdir()
            continue
        try:
            yield folder
        finally:
            _remove(folder)
        return
    pytest.skip(f"this machine lets nobody make a control group for {controller}")


def _remove(folder: Path) -> None:
    """Remove the group; the kernel allows that once its last process is reaped."""
    for _ in range(100_000):
        try:
            folder.rmdir()
            return
        except OSError:
            os.sched_yield()
