"""The manager's states and events, and the table of its transitions. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

from gearman_manager.errors import UnexpectedEvent


class ManagerState(Enum):
    """A stage in a manager's life."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"  #: as stopping, but jobs have the time that the drain was given
    STOPPING = "stopping"  #: running jobs are being finished
    GIVING_UP = "giving up"  #: the same, but its exit code will say that it failed


class ManagerEvent(Enum):
    """An event in a manager's life."""

    STARTED = "started"
    STOPPED = "asked to stop"
    DRAINED = "asked to drain"
    HOPELESS = "without hope"  #: a pool can't keep a worker alive, and the configuration wants others to take over


_S, _E = ManagerState, ManagerEvent

TRANSITIONS: Final[dict[tuple[ManagerState, ManagerEvent], ManagerState]] = {
    (_S.STARTING, _E.STARTED): _S.RUNNING,
    (_S.STARTING, _E.STOPPED): _S.STOPPING,
    (_S.STARTING, _E.DRAINED): _S.DRAINING,
    (_S.RUNNING, _E.STOPPED): _S.STOPPING,
    (_S.RUNNING, _E.DRAINED): _S.DRAINING,
    (_S.RUNNING, _E.HOPELESS): _S.GIVING_UP,
    (_S.DRAINING, _E.STARTED): _S.DRAINING,  # as for a stop
    (_S.DRAINING, _E.DRAINED): _S.DRAINING,  # its end is moved
    (_S.DRAINING, _E.STOPPED): _S.STOPPING,
    (_S.STOPPING, _E.STARTED): _S.STOPPING,  # the stop came just before the start was complete
    (_S.STOPPING, _E.STOPPED): _S.STOPPING,  # asked again: the operator does not want to wait
    (_S.GIVING_UP, _E.STOPPED): _S.GIVING_UP,
}

#: The states in which the manager waits for its workers to end, and begins nothing.
ENDING: Final = frozenset({_S.DRAINING, _S.STOPPING, _S.GIVING_UP})


def transition(state: ManagerState, event: ManagerEvent) -> ManagerState:
    """The state after an event.

    Raises:
        UnexpectedEvent: the state does not allow it; nothing was changed.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise UnexpectedEvent(f"a manager that is {state.value} can't be {event.value}") from None
