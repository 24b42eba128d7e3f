"""The states of a worker's link to one job server, and the events that lead from one to another. Pure.

    DOWN ─CONNECT→ CONNECTING ─CONNECTED→ GREETING ─GREETED→ READY ─GRAB→ GRABBING ─ASSIGNED→ READY
                                                               ↑              └─NO_JOB→ ASLEEP ─WAKE→ READY
    any ─LOST→ DOWN

GREETING ends with the answer to our first question. So a server that accepts connections but answers nobody (stopped,
stalled) is never sent a grab: all other servers would have to wait for its answer.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from gearman_client.errors import ProtocolError


class LinkState(IntEnum):
    """The state of a link."""

    DOWN = 0
    CONNECTING = 1
    GREETING = 2
    #: The server may have a job for us.
    READY = 3
    #: A grab was sent, its answer is outstanding.
    GRABBING = 4
    #: The server has no job; a NOOP will say when it has one.
    ASLEEP = 5


class LinkEvent(IntEnum):
    """An event of a link."""

    CONNECT = 0
    CONNECTED = 1
    GREETED = 2
    GRAB = 3
    ASSIGNED = 4
    NO_JOB = 5
    WAKE = 6
    LOST = 7


_S, _E = LinkState, LinkEvent

TRANSITIONS: Final[dict[tuple[LinkState, LinkEvent], LinkState]] = {
    (_S.DOWN, _E.CONNECT): _S.CONNECTING,
    (_S.CONNECTING, _E.CONNECTED): _S.GREETING,
    (_S.GREETING, _E.GREETED): _S.READY,
    (_S.READY, _E.GRAB): _S.GRABBING,
    (_S.GRABBING, _E.ASSIGNED): _S.READY,
    (_S.GRABBING, _E.NO_JOB): _S.ASLEEP,
    (_S.ASLEEP, _E.WAKE): _S.READY,
    # A NOOP can be late (we grabbed meanwhile) or come from a server that wakes everybody. Then it changes nothing.
    (_S.GREETING, _E.WAKE): _S.GREETING,
    (_S.READY, _E.WAKE): _S.READY,
    (_S.GRABBING, _E.WAKE): _S.GRABBING,
    **{(state, _E.LOST): _S.DOWN for state in _S},
}


def next_state(state: LinkState, event: LinkEvent) -> LinkState:
    """The state after `event`.

    Raises:
        ProtocolError: this state does not allow the event, for instance a job that was not asked for.
    """
    following = TRANSITIONS.get((state, event))
    if following is None:
        raise ProtocolError(f"{event.name} is not expected while {state.name}")
    return following
