"""The control group's limits, in real groups of the version that this machine has."""

from __future__ import annotations

import os
from pathlib import Path

from gearman_manager.host.cgroup import Cgroup, usable_cores

from ..conftest import LIMIT_BYTES


def test_the_limit_of_the_control_group_wins_over_the_machines_size(limited_process: int) -> None:
    free = Cgroup.of(str(limited_process)).free_memory_bytes()
    assert free is not None
    assert 0 < free <= LIMIT_BYTES


def test_a_quota_of_processor_time_counts_as_cores(tmp_path: Path) -> None:
    """The files are those of both versions of the kernel's interface, in the format of its documentation."""
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


def test_without_any_limit_the_whole_machine_counts() -> None:
    assert Cgroup(()).free_memory_bytes() is None
    assert usable_cores(Cgroup(())) == len(os.sched_getaffinity(0))


def test_out_of_memory_kills_are_counted_in_the_innermost_group_of_either_version(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path
    inner.mkdir()
    assert Cgroup((inner, outer)).oom_kills() is None
    (outer / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert Cgroup((inner, outer)).oom_kills() == 2
    (inner / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert Cgroup((inner, outer)).oom_kills() == 5
