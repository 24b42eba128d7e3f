"""The guards of the host: no more workers where memory is short or the load is high."""

from __future__ import annotations

import os

import pytest

from gearman_manager.config import Limits
from gearman_manager.host.cgroup import Cgroup
from gearman_manager.scaling.host_guards import HostGuards, free_memory_bytes


def test_free_memory_is_that_of_the_control_group(limited_process: int) -> None:
    cgroup = Cgroup.of(str(limited_process))
    free = cgroup.free_memory_bytes()
    assert free is not None
    assert free_memory_bytes(cgroup) == pytest.approx(free, abs=1 << 20)


def test_the_memory_guard_acts_when_the_group_has_less_than_the_floor(limited_process: int) -> None:
    cgroup = Cgroup.of(str(limited_process))
    room = HostGuards(Limits.model_validate({"min_free_memory": "100MB"}), cgroup).room()
    assert room is not None
    assert room.workers == 0
    assert room.limit.name == "limits.min_free_memory"
    assert HostGuards(Limits.model_validate({"min_free_memory": "1MB"}), cgroup).room() is None


def test_the_load_guard_acts_above_its_limit() -> None:
    load = os.getloadavg()[0]
    guards = HostGuards(Limits.model_validate({"max_load": load + 100}), Cgroup(()))
    assert guards.room() is None
    if load > 0.01:
        room = HostGuards(Limits.model_validate({"max_load": load / 10}), Cgroup(())).room()
        assert room is not None
        assert room.limit.name == "limits.max_load"
