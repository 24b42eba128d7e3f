"""Deaths by the out-of-memory killer: as many as the kernel counts, without those that it counted long ago."""

from __future__ import annotations

from pathlib import Path

from gearman_manager.host.cgroup import Cgroup
from gearman_manager.pools.oom import OomKills

BY_KERNEL = "killed by SIGKILL, by the out-of-memory killer"


def counted(folder: Path, kills: int) -> None:
    """Let the kernel have killed this many processes of the group."""
    (folder / "memory.events").write_text(f"oom 9\noom_kill {kills}\n")


def test_each_kill_explains_one_death(tmp_path: Path) -> None:
    counted(tmp_path, 4)
    kills = OomKills(Cgroup((tmp_path,)))
    assert kills.describe(-9) == "killed by SIGKILL"
    counted(tmp_path, 6)
    assert [kills.describe(-9) for _ in range(3)] == [BY_KERNEL, BY_KERNEL, "killed by SIGKILL"]


def test_other_ends_are_not_explained_by_a_kill(tmp_path: Path) -> None:
    counted(tmp_path, 0)
    kills = OomKills(Cgroup((tmp_path,)))
    counted(tmp_path, 1)
    assert [kills.describe(status) for status in (0, 1, -15, None)] == [
        "exit status 0",
        "exit status 1",
        "killed by SIGTERM",
        "for an unknown reason",
    ]


def test_a_kill_from_a_while_ago_explains_no_later_death(tmp_path: Path) -> None:
    counted(tmp_path, 0)
    kills = OomKills(Cgroup((tmp_path,)))
    counted(tmp_path, 1)
    kills.look()
    assert kills.describe(-9) == BY_KERNEL  # just now
    counted(tmp_path, 2)
    kills.look()
    kills.look()
    assert kills.describe(-9) == "killed by SIGKILL"


def test_without_a_control_group_the_machine_counts(tmp_path: Path) -> None:
    machine = tmp_path / "vmstat"
    machine.write_text("pgfault 12\noom_kill 3\n")
    kills = OomKills(Cgroup(()), machine)
    machine.write_text("pgfault 12\noom_kill 4\n")
    assert kills.describe(-9) == BY_KERNEL
    assert OomKills(Cgroup(()), tmp_path / "nowhere").describe(-9) == "killed by SIGKILL"
