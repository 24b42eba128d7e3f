"""The contents of a policies file, once it is read. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.schedule_rules import ScheduleRule


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The policies and schedules of one file."""

    path: str
    by_function: Mapping[bytes, FunctionPolicy]
    schedules: tuple[ScheduleRule, ...] = ()
