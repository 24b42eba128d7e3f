"""A pool's states, what can happen to a pool, and the one table that says what follows from what. Pure.

`pool` asks the table for every change and keeps no flag beside it; what a state means for the workers is decided there.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from gearman_manager.errors import UnexpectedEvent


class PoolState(Enum):
    """Where a pool is in its life."""

    ABSENT = "absent"  # no configuration names it, and it has no workers
    RUNNING = "running"
    BACKING_OFF = "backing-off"  # its workers die too often: the next one starts after a pause; some serve
    FAILING = "failing"  # the same, and none serves
    PAUSED = "paused"  # by hand: its workers leave, and none start
    RETIRING = "retiring"  # no configuration names it any more: its workers leave
    STOPPING = "stopping"  # the manager ends


class PoolEvent(Enum):
    """What can happen to a pool."""

    ARRANGED = "arranged"  # the configuration names it, for the first time or again
    REMOVED = "removed"  # the configuration names it no more
    RENEWED = "restarted"  # other code or settings, or a restart by hand: what crashed before is forgiven
    PAUSED = "paused"
    RESUMED = "resumed"
    REGISTERED = "registered with a worker"
    SLOWED = "slowed"  # a worker could not start, or died, once too often; others serve
    FAILED = "failing"  # the same, and no other serves
    CALMED = "calm"  # nothing has died for a while
    EMPTIED = "emptied"  # its last worker is gone
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
    (_S.FAILING, _E.REGISTERED): _S.BACKING_OFF,  # it may die as well: calm is what a quiet time brings
    (_S.FAILING, _E.FAILED): _S.FAILING,
    (_S.FAILING, _E.EMPTIED): _S.FAILING,
    (_S.FAILING, _E.STOPPED): _S.STOPPING,
    (_S.PAUSED, _E.REMOVED): _S.RETIRING,
    (_S.PAUSED, _E.RENEWED): _S.PAUSED,
    (_S.PAUSED, _E.PAUSED): _S.PAUSED,  # asked for twice
    (_S.PAUSED, _E.RESUMED): _S.RUNNING,
    # The last workers of a pool that wants none may still register, or die before they hear of it.
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

#: In these its workers leave, and none start.
LEAVING: Final = frozenset({_S.ABSENT, _S.PAUSED, _S.RETIRING, _S.STOPPING})
#: In these the configuration does not name it.
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
