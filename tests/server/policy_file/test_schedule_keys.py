"""Schedules in the policies file: the permitted keys, and the messages for mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_server.errors import PolicyFileError
from gearman_server.jobs.job import HIGH, NORMAL
from gearman_server.jobs.schedule_rules import Missed, ScheduleRule
from gearman_server.options.timing import Every, parse_cron
from gearman_server.policy_file.file import read_policies


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], tuple[ScheduleRule, ...]]:
    def read(text: str) -> tuple[ScheduleRule, ...]:
        path = tmp_path / "policies.yaml"
        path.write_text(text)
        return read_policies(str(path)).schedules

    return read


def test_schedules_are_read_from_the_policies_file(read: Callable[[str], tuple[ScheduleRule, ...]]) -> None:
    assert read(
        """
schedules:
  nightly:
    cron: "30 3 * * *"
    time_zone: Europe/Berlin
    function: clean_up
    workload: {days: 7, deep: [true, null, 1.5, "x"], since: 2026-01-01}
    unique: nightly
    priority: high
    missed: skip
  tick: {every: 10m, function: f, workload: plain}
"""
    ) == (
        ScheduleRule(
            "nightly",
            parse_cron("30 3 * * *", "Europe/Berlin"),
            b"clean_up",
            b'{"days":7,"deep":[true,null,1.5,"x"],"since":"2026-01-01"}',
            b"nightly",
            HIGH,
            Missed.SKIP,
        ),
        ScheduleRule("tick", Every(600), b"f", b"plain", b"", NORMAL, Missed.RUN_ONCE),
    )


def test_all_mistakes_in_schedules_are_reported_at_once(
    read: Callable[[str], tuple[ScheduleRule, ...]], tmp_path: Path
) -> None:
    with pytest.raises(PolicyFileError) as refused:
        read(
            """schedules:
  a b: {every: 1m, function: f}
  both: {every: 1m, cron: "* * * * *", function: f}
  none: {function: f}
  nobody: {every: 1m}
  values: {every: 10ms, function: f, priority: urgent, missed: maybe, colour: red}
  broken:
    cron: "61 * * * *"
    function: f
  lost: {cron: "* * * * *", time_zone: Moon, function: f}
  zone: {every: 1m, time_zone: UTC, function: f}
  bomb:
    every: 1m
    function: f
    workload: &a [&b [1, 2], *b]
  deep: {every: 1m, function: f, workload: %s}
"""
            % ("[" * 60 + "]" * 60)
        )
    path = tmp_path / "policies.yaml"
    lines = [problem.removeprefix(f"{path}:") for problem in refused.value.problems]
    assert [line.split(": ")[:2] for line in lines] == [
        ["2", "schedules.a b"],
        ["3", "schedules.both"],
        ["4", "schedules.none"],
        ["5", "schedules.nobody.function"],
        ["6", "schedules.values.every"],
        ["6", "schedules.values.priority"],
        ["6", "schedules.values.missed"],
        ["6", "schedules.values.colour"],
        ["8", "schedules.broken.cron"],
        ["10", "schedules.lost.time_zone"],
        ["11", "schedules.zone"],
        ["16", "schedules.deep.workload"],
    ]
    assert "bad minute" in lines[8]
    assert "one of cron and every" in lines[1]
