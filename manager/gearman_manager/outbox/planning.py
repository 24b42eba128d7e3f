"""Which rows go to which job server in one batch each. Pure.

Equal unique ids, or without one equal keys, choose the same server, the one that a `Client` would choose; if it does
not answer, the next one. Rows without either go to the first server that has nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gearman_manager.outbox.claims import Candidate, Openings

#: The most rows and bytes of a batch; a single row may have more.
MAX_ROWS: Final = 200
MAX_BYTES: Final = 4 << 20


def openings_of(servers: Sequence[str], ready: Iterable[str], idle: Sequence[str], held: Sequence[str]) -> Openings:
    """What can be sent now: `ready` servers answer, `idle` ones of these have no batch."""
    answering = frozenset(ready)
    numbers = [at for at in range(len(servers)) if home_of(at, servers, answering) in idle]
    return Openings(idle, numbers, len(servers), held)


def home_of(number: int, servers: Sequence[str], ready: frozenset[str]) -> str | None:
    """The server for rows with this number: the one that it chooses, or the next one that answers."""
    start = abs(number) % len(servers)
    ring = [*servers[start:], *servers[:start]]
    return next((server for server in ring if server in ready), None)


def plan(
    candidates: Iterable[Candidate], openings: Openings, servers: Sequence[str], ready: Iterable[str]
) -> Mapping[str, Sequence[Candidate]]:
    """The rows for each idle server, in their order. Of a key whose row has to wait, all later ones wait."""
    answering = frozenset(ready)
    rows: dict[str, list[Candidate]] = {server: [] for server in openings.servers}
    room_bytes = dict.fromkeys(openings.servers, MAX_BYTES)
    server_of: dict[str, str | None] = {}
    for candidate in candidates:
        key = candidate.order_key
        target = _target(candidate, openings, servers, answering)
        if target is not None and not _fits(candidate, rows[target], room_bytes[target]):
            target = None
        if key is not None:
            # Only over one connection rows keep their order. One that may be there already goes in a wave by itself, in
            # front of the others, so none of its key may stand before it.
            is_first = key not in server_of
            if not is_first and (server_of[key] != target or candidate.server is not None):
                target = None
            server_of[key] = target
        if target is not None:
            rows[target].append(candidate)
            room_bytes[target] -= candidate.workload_bytes
    return {server: taken for server, taken in rows.items() if taken}


def _target(candidate: Candidate, openings: Openings, servers: Sequence[str], answering: frozenset[str]) -> str | None:
    if candidate.server is not None:
        found: str | None = openings.stand_ins.get(candidate.server, candidate.server)
    elif candidate.server_number is None:
        # One that was refused tries the next server.
        found = openings.servers[candidate.attempts % len(openings.servers)]
    else:
        found = home_of(candidate.server_number, servers, answering)
    return found if found in openings.servers else None


def _fits(candidate: Candidate, taken: Sequence[Candidate], room_bytes: int) -> bool:
    return not taken or (len(taken) < MAX_ROWS and candidate.workload_bytes <= room_bytes)
