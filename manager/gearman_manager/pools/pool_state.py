"""A pool's states and events, and the table of its transitions. Pure.

`pool` looks up every change in the table and keeps no flag beside it; it also decides what a state means for workers.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from gearman_manager.errors import UnexpectedEvent


class PoolState(Enum):
    """A stage in a pool's life."""

    ABSENT = "absent"  #: the configuration does not name it, and it has no workers
    RUNNING = "running"
    BACKING_OFF = "backing-off"  #: workers die too often, so the next one starts after a pause; others serve
    FAILING = "failing"  #: the same, but no worker serves
    PAUSED = "paused"  #: by an operator: its workers leave, and none start
    RETIRING = "retiring"  #: the configuration no longer names it, and its workers leave
    STOPPING = "stopping"  #: the manager ends


class PoolEvent(Enum):
    """An event in a pool's life."""

    ARRANGED = "arranged"  #: the configuration names it, for the first time or again
    REMOVED = "removed"  #: the configuration no longer names it
    RENEWED = "restarted"  #: changed code or settings, or a restart by an operator; crashes are forgotten
    PAUSED = "paused"
    RESUMED = "resumed"
    REGISTERED = "registered with a worker"
    SLOWED = "slowed"  #: a worker could not start, or died, once too often; others serve
    FAILED = "failing"  #: the same, but no other worker serves
    CALMED = "calm"  #: no worker has died for a while
    EMPTIED = "emptied"  #: its last worker is gone
    STOPPED = "stopped"


_S, _E = PoolState, PoolEvent

TRANSITIONS: Final[dict[tuple[PoolState, PoolEvent], PoolState]] = {
    (_S.ABSENT, _E.ARRANGED): _S.RUNNING,
    (_S.RUNNING, _E.REMOVED): _S.RETIRING,
    (_S.RUNNING, _E.RENEWED): _S.RUNNING,
    (_S.RUNNING, _E.PAUSED): _S.PAUSED,
    (_S.RUNNING, _E.RESUMED): _S.RUNNING,  # asked for twice
    (_S.RUNNING, _E.REGISTERED): _S.RUNNING,
    (_S.RUNNING, _E.SLOWED): _S.BACKING_OFF,
    (_S.RUNNING, _E.FAILED): _S.FAILING,
    (_S.RUNNING, _E.EMPTIED): _S.RUNNING,
    (_S.RUNNING, _E.STOPPED): _S.STOPPING,
    (_S.BACKING_OFF, _E.REMOVED): _S.RETIRING,
    (_S.BACKING_OFF, _E.RENEWED): _S.RUNNING,
    (_S.BACKING_OFF, _E.PAUSED): _S.PAUSED,
    (_S.BACKING_OFF, _E.RESUMED): _S.BACKING_OFF,
    (_S.BACKING_OFF, _E.REGISTERED): _S.BACKING_OFF,
    (_S.BACKING_OFF, _E.SLOWED): _S.BACKING_OFF,
    (_S.BACKING_OFF, _E.FAILED): _S.FAILING,
    (_S.BACKING_OFF, _E.CALMED): _S.RUNNING,
    (_S.BACKING_OFF, _E.EMPTIED): _S.BACKING_OFF,
    (_S.BACKING_OFF, _E.STOPPED): _S.STOPPING,
    (_S.FAILING, _E.REMOVED): _S.RETIRING,
    (_S.FAILING, _E.RENEWED): _S.RUNNING,
    (_S.FAILING, _E.PAUSED): _S.PAUSED,
    (_S.FAILING, _E.RESUMED): _S.FAILING,
    (_S.FAILING, _E.REGISTERED): _S.BACKING_OFF,  # this worker may die too: only a quiet time makes the pool calm
    (_S.FAILING, _E.FAILED): _S.FAILING,
    (_S.FAILING, _E.EMPTIED): _S.FAILING,
    (_S.FAILING, _E.STOPPED): _S.STOPPING,
    (_S.PAUSED, _E.REMOVED): _S.RETIRING,
    (_S.PAUSED, _E.RENEWED): _S.PAUSED,
    (_S.PAUSED, _E.PAUSED): _S.PAUSED,  # asked for twice
    (_S.PAUSED, _E.RESUMED): _S.RUNNING,
    # The last workers of a paused pool may still register, or die before they are told to leave.
    (_S.PAUSED, _E.REGISTERED): _S.PAUSED,
    (_S.PAUSED, _E.SLOWED): _S.PAUSED,
    (_S.PAUSED, _E.FAILED): _S.PAUSED,
    (_S.PAUSED, _E.EMPTIED): _S.PAUSED,
    (_S.PAUSED, _E.STOPPED): _S.STOPPING,
    (_S.RETIRING, _E.ARRANGED): _S.RUNNING,  # the file, or its entry, is back
    (_S.RETIRING, _E.REGISTERED): _S.RETIRING,
    (_S.RETIRING, _E.SLOWED): _S.RETIRING,
    (_S.RETIRING, _E.FAILED): _S.RETIRING,
    (_S.RETIRING, _E.EMPTIED): _S.ABSENT,
    (_S.RETIRING, _E.STOPPED): _S.STOPPING,
    (_S.STOPPING, _E.REGISTERED): _S.STOPPING,
    (_S.STOPPING, _E.SLOWED): _S.STOPPING,
    (_S.STOPPING, _E.FAILED): _S.STOPPING,
    (_S.STOPPING, _E.EMPTIED): _S.STOPPING,
}

#: The states in which the pool's workers leave, and none start.
LEAVING: Final = frozenset({_S.ABSENT, _S.PAUSED, _S.RETIRING, _S.STOPPING})
#: The states in which the configuration does not name the pool.
UNARRANGED: Final = frozenset({_S.ABSENT, _S.RETIRING})


def transition(state: PoolState, event: PoolEvent) -> PoolState:
    """The state after an event.

    Raises:
        UnexpectedEvent: the state does not allow it; nothing was changed.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise UnexpectedEvent(f"a pool that is {state.value} can't be {event.value}") from None
