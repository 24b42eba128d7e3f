"""The manager's states: the events that each allows, and those that it refuses."""

from __future__ import annotations

import itertools

import pytest

from gearman_manager.errors import UnexpectedEvent
from gearman_manager.supervisor.manager_state import ENDING, TRANSITIONS, ManagerEvent, ManagerState, transition


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(ManagerState, ManagerEvent) if pair not in TRANSITIONS],
)
def test_an_event_that_a_state_does_not_allow_is_an_error(state: ManagerState, event: ManagerEvent) -> None:
    with pytest.raises(UnexpectedEvent, match=state.value):
        transition(state, event)


def test_it_can_be_stopped_in_any_state_and_never_runs_again() -> None:
    for state in ManagerState:
        assert transition(state, ManagerEvent.STOPPED) in ENDING
    assert transition(ManagerState.STOPPING, ManagerEvent.STARTED) is ManagerState.STOPPING


def test_a_stop_does_not_turn_a_failure_into_a_success() -> None:
    given_up = transition(ManagerState.RUNNING, ManagerEvent.HOPELESS)
    assert transition(given_up, ManagerEvent.STOPPED) is ManagerState.GIVING_UP


def test_a_drain_can_be_moved_and_stopped_but_does_not_follow_a_stop() -> None:
    draining = transition(ManagerState.RUNNING, ManagerEvent.DRAINED)
    assert transition(draining, ManagerEvent.DRAINED) is draining
    assert transition(draining, ManagerEvent.STOPPED) is ManagerState.STOPPING
    assert (ManagerState.STOPPING, ManagerEvent.DRAINED) not in TRANSITIONS
