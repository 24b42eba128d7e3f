"""The transition table of a worker's link to one server."""

from __future__ import annotations

from itertools import product

import pytest

from gearman_client import ProtocolError
from gearman_client.worker.link_state import TRANSITIONS, LinkEvent, LinkState, next_state


def test_the_transitions_from_down_to_a_job_to_sleep_and_back() -> None:
    state = LinkState.DOWN
    for event, following in [
        (LinkEvent.CONNECT, LinkState.CONNECTING),
        (LinkEvent.CONNECTED, LinkState.GREETING),
        (LinkEvent.GREETED, LinkState.READY),
        (LinkEvent.GRAB, LinkState.GRABBING),
        (LinkEvent.ASSIGNED, LinkState.READY),
        (LinkEvent.GRAB, LinkState.GRABBING),
        (LinkEvent.NO_JOB, LinkState.ASLEEP),
        (LinkEvent.WAKE, LinkState.READY),
    ]:
        state = next_state(state, event)
        assert state is following


@pytest.mark.parametrize("state", list(LinkState))
def test_every_state_can_lose_its_connection(state: LinkState) -> None:
    assert next_state(state, LinkEvent.LOST) is LinkState.DOWN


@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in product(LinkState, LinkEvent) if pair not in TRANSITIONS], ids=str
)
def test_an_event_that_the_state_does_not_allow_raises_and_names_state_and_event(
    state: LinkState, event: LinkEvent
) -> None:
    with pytest.raises(ProtocolError, match=f"{event.name}.*{state.name}"):
        next_state(state, event)


@pytest.mark.parametrize("state", [state for state in LinkState if state is not LinkState.GRABBING])
def test_a_job_is_taken_only_after_a_grab(state: LinkState) -> None:
    assert (state, LinkEvent.ASSIGNED) not in TRANSITIONS
