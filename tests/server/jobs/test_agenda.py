"""Alarms of the broker, each of which rings at the earliest of its times."""

from __future__ import annotations

import pytest

from gearman_server.jobs.agenda import Agenda, Alarm


@pytest.fixture
def rung() -> list[float]:
    """The times at which the alarm rang."""
    return []


@pytest.fixture
def agenda() -> Agenda:
    return Agenda(lambda: 0.0)


@pytest.fixture
def alarm(agenda: Agenda, rung: list[float]) -> Alarm:
    return agenda.alarm(rung.append)


def pass_seconds(agenda: Agenda) -> None:
    for now in range(1, 10):
        agenda.run_due(float(now))


@pytest.mark.parametrize(
    ("times", "rings"),
    [([], []), ([5], [5]), ([5, 3], [3]), ([3, 5], [3]), ([5, 3, 4], [3]), ([3, 3], [3]), ([-1], [1])],
    ids=str,
)
def test_an_alarm_rings_once_at_the_earliest_of_its_times(
    agenda: Agenda, alarm: Alarm, rung: list[float], times: list[float], rings: list[float]
) -> None:
    for due in times:
        alarm.by(due)
    pass_seconds(agenda)
    assert rung == rings
    assert agenda.next_due is None


def test_an_alarm_can_be_set_again_once_it_has_rung(agenda: Agenda, alarm: Alarm, rung: list[float]) -> None:
    alarm.by(2)
    agenda.run_due(2)
    alarm.by(5)
    pass_seconds(agenda)
    assert rung == [2, 5]


def test_an_alarm_that_was_turned_off_does_not_ring_until_it_is_set_again(
    agenda: Agenda, alarm: Alarm, rung: list[float]
) -> None:
    alarm.by(2)
    alarm.turn_off()
    pass_seconds(agenda)
    assert rung == []
    alarm.by(12)
    agenda.run_due(12)
    assert rung == [12]
