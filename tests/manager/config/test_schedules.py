"""Schedules in the configuration: the refusals, and the form in which the job server gets them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_manager.config import Config, ConfigError
from gearman_manager.job_servers.policies_file import schedules_of

Read = Callable[..., Config]


def test_the_job_server_gets_the_schedules_as_written(read: Read) -> None:
    config = read(
        "server:\nschedules:\n"
        "  nightly: {cron: 30 3 * * *, time_zone: Europe/Berlin, function: f, workload: {days: 7}, missed: skip}\n"
        "  often: {every: 90s, function: g, workload: plain, unique: 7, priority: high}\n"
    )
    assert schedules_of(config.schedules) == {
        "nightly": {
            "cron": "30 3 * * *",
            "time_zone": "Europe/Berlin",
            "function": "f",
            "workload": '{"days":7}',
            "priority": "normal",
            "missed": "skip",
        },
        "often": {
            "every": "90s",
            "function": "g",
            "workload": "plain",
            "unique": "7",
            "priority": "high",
            "missed": "run_once",
        },
    }


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("{every: 1m}", "config.yaml:3: schedules.s.function: function is missing"),
        ("{function: f}", "config.yaml:3: schedules.s: one of cron and every is expected"),
        ("{every: 1m, cron: '* * * * *', function: f}", "config.yaml:3: schedules.s: one of cron and every"),
        ("{every: 10ms, function: f}", "config.yaml:3: schedules.s.every: at least 1s is expected"),
        ("{every: 60, function: f}", "config.yaml:3: schedules.s.every: "),
        ("{cron: 61 * * * *, function: f}", "config.yaml:3: schedules.s.cron: '61 * * * *' is no cron expression"),
        ("{cron: '@daily', function: f}", "config.yaml:3: schedules.s.cron: a cron expression has five fields"),
        ("{cron: '* * * * *', time_zone: Moon, function: f}", "config.yaml:3: schedules.s.time_zone: there is no"),
        ("{every: 1m, time_zone: UTC, function: f}", "config.yaml:3: schedules.s.time_zone: time_zone belongs to cron"),
        ("{every: 1m, function: f, missed: maybe}", "config.yaml:3: schedules.s.missed: one of run_once, skip"),
        ("{every: 1m, function: f, when: now}", "config.yaml:3: schedules.s.when: unknown key"),
    ],
)
def test_a_wrong_schedule_is_refused_with_its_place(read: Read, schedule: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(f"server:\nschedules:\n  s: {schedule}\n")
    [only] = refused.value.problems
    assert str(only).startswith(problem)


def test_schedules_need_the_bundled_server(read: Read) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml:2: schedules: the bundled job server keeps them"):
        read("servers: [127.0.0.1:4730]\nschedules: {s: {every: 1m, function: f}}\n")
