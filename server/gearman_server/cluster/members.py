"""The servers that share a store, as its tables tell of them. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

DEFAULT_LEASE_S: Final = 2.5
#: The shortest lease: a few beats have to fit in.
MIN_LEASE_S: Final = 1.5
MAX_LEASE_S: Final = 60.0
#: The time between two beats.
BEAT_EVERY_S: Final = 0.5
#: A server trusts itself for this much less than the lease that the others grant it.
LEASE_MARGIN_S: Final = 0.5


class MemberState(IntEnum):
    """What the others may do with a server's jobs."""

    #: They are its own.
    ALIVE = 0
    #: It can write nothing any more: whoever lives adopts them.
    DEAD = 1
    #: The same, and it has ended in order: it has written all that it did.
    LEFT = 2


class Member(NamedTuple):
    """One server that shares the store."""

    #: The first number of the block that it reserved at its start: no other server ever has it.
    id: int
    #: What people call it. Names come back after a restart, so nothing depends on them.
    name: str
    #: Where clients, workers and other servers reach it; empty if nowhere.
    address: str
    version: str
    state: MemberState
    #: The number of its last beat; None: it has none any more.
    beat: int | None
    #: What it tells the others with its beats.
    facts: bytes
