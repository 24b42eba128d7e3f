"""The manager's states: what each allows, and what it does not."""

from __future__ import annotations

import itertools

import pytest

from gearman_manager.errors import UnexpectedEvent
from gearman_manager.supervisor.life import ENDING, TRANSITIONS, ManagerEvent, ManagerState, transition


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(ManagerState, ManagerEvent) if pair not in TRANSITIONS],
)
def test_an_event_that_a_state_does_not_allow_is_an_error(state: ManagerState, event: ManagerEvent) -> None:
    with pytest.raises(UnexpectedEvent, match=state.value):
        transition(state, event)


def test_it_can_be_stopped_at_any_time_and_then_never_runs_again() -> None:
    for state in ManagerState:
        assert transition(state, ManagerEvent.STOPPED) in ENDING
    assert transition(ManagerState.STOPPING, ManagerEvent.STARTED) is ManagerState.STOPPING


def test_a_stop_makes_no_success_of_a_failure() -> None:
    given_up = transition(ManagerState.RUNNING, ManagerEvent.HOPELESS)
    assert transition(given_up, ManagerEvent.STOPPED) is ManagerState.GIVING_UP
