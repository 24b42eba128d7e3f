"""What is asked of the table, and what is written there, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Openings:
    """What a relay can take rows for.

    servers: the job servers that are ready and have nothing to do, by name.
    numbers: rows with these `server_number`s, taken modulo `slots`, go to one of them.
    held: functions whose jobs are not accepted for the time being.
    stand_ins: the servers among these that get the rows which another one may have, by the name of that one.
    """

    servers: Sequence[str]
    numbers: Sequence[int]
    slots: int
    held: Sequence[str] = ()
    stand_ins: Mapping[str, str] = field(default_factory=dict)


class Candidate(NamedTuple):
    """A row that may be claimed, without its workload."""

    id: int
    order_key: str | None
    server_number: int | None
    server: str | None
    attempts: int
    workload_bytes: int


class Change(NamedTuple):
    """What becomes of a claimed row that was not handed over.

    due_ms: when it is tried again; None: never, it is set aside.
    server: the job server that may have it.
    """

    id: int
    due_ms: int | None
    attempts: int
    reason: str | None
    server: str | None
