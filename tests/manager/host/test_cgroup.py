"""The control group's limits: in real groups, of the version that this machine has."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearman_manager.config import Limits
from gearman_manager.host.cgroup import CGROUPS, Cgroup, usable_cores
from gearman_manager.scaling.host_guards import HostGuards, free_memory_bytes

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


def test_a_limit_of_the_control_group_is_what_counts(limited_process: int) -> None:
    free = Cgroup.of(str(limited_process)).free_memory_bytes()
    assert free is not None
    assert 0 < free <= LIMIT_BYTES
    assert free_memory_bytes(Cgroup.of(str(limited_process))) == pytest.approx(free, abs=1 << 20)


def test_the_guard_holds_where_the_group_has_less_than_the_floor(limited_process: int) -> None:
    cgroup = Cgroup.of(str(limited_process))
    room = HostGuards(Limits.model_validate({"min_free_memory": "100MB"}), cgroup).room()
    assert room is not None
    assert room.workers == 0
    assert "limits.min_free_memory" in room.reason
    assert HostGuards(Limits.model_validate({"min_free_memory": "1MB"}), cgroup).room() is None


def test_the_load_guard_holds_above_its_limit() -> None:
    load = os.getloadavg()[0]
    guards = HostGuards(Limits.model_validate({"max_load": load + 100}), Cgroup(()))
    assert guards.room() is None
    if load > 0.01:
        room = HostGuards(Limits.model_validate({"max_load": load / 10}), Cgroup(())).room()
        assert room is not None
        assert "limits.max_load" in room.reason


def test_a_quota_of_processor_time_counts_as_cores(tmp_path: Path) -> None:
    """The files are those that both versions of the kernel's interface have, in the format of its documentation."""
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert Cgroup((tmp_path,)).cores() == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert Cgroup((tmp_path,)).cores() is None
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert Cgroup((tmp_path,)).cores() is None
    (tmp_path / "cpu.cfs_quota_us").write_text("50000\n")
    assert Cgroup((tmp_path,)).cores() == 0.5
    assert usable_cores(Cgroup((tmp_path,))) == 1


def test_without_any_limit_all_of_the_machine_counts() -> None:
    assert Cgroup(()).free_memory_bytes() is None
    assert usable_cores(Cgroup(())) == len(os.sched_getaffinity(0))


def test_kills_for_want_of_memory_are_counted_in_the_innermost_group_of_either_version(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path
    inner.mkdir()
    assert Cgroup((inner, outer)).oom_kills() is None
    (outer / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert Cgroup((inner, outer)).oom_kills() == 2
    (inner / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert Cgroup((inner, outer)).oom_kills() == 5
