"""Which rows go to which job server in one batch each. Pure.

Equal unique ids, or without one equal keys, choose the same server, the one that a `Client` would choose; if it does
not answer, the next one in its order. Rows without either go to the first server that has nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gearman_client.connection.ring import Ring
from gearman_manager.outbox.claims import Candidate, Openings

#: The most rows and bytes of a batch; a single row may have more.
MAX_ROWS: Final = 200
MAX_BYTES: Final = 4 << 20
#: Combinations of servers for which the numbers are kept.
_MOST_KEPT: Final = 64


class Homes:
    """All job servers, by name, in the order in which rows with a number go to them."""

    def __init__(self, ring: Ring) -> None:
        self._orders = [tuple(map(str, ring.order(slot))) for slot in range(ring.slots)]
        #: Numbers with the same remainder by this have the same order.
        self.slots = ring.slots
        self._numbers: dict[tuple[frozenset[str], frozenset[str]], Sequence[int]] = {}

    def numbers(self, ready: frozenset[str], idle: frozenset[str]) -> Sequence[int]:
        """The numbers whose server is one of the `idle` ones, while those answer that are `ready`."""
        found = self._numbers.get((ready, idle))
        if found is None:
            if len(self._numbers) >= _MOST_KEPT:
                self._numbers.clear()
            found = [slot for slot in range(self.slots) if self.of(slot, ready) in idle]
            self._numbers[ready, idle] = found
        return found

    def of(self, number: int, ready: frozenset[str]) -> str | None:
        """The server for rows with this number: the first that answers."""
        return next((server for server in self._orders[abs(number) % self.slots] if server in ready), None)


def openings_of(homes: Homes, ready: Iterable[str], idle: Sequence[str], held: Sequence[str]) -> Openings:
    """What can be sent now: `ready` servers answer, `idle` ones of these have no batch."""
    answering = frozenset(ready)
    if answering.issubset(idle):
        return Openings(idle, [0], 1, held)
    return Openings(idle, homes.numbers(answering, frozenset(idle)), homes.slots, held)


def plan(
    candidates: Iterable[Candidate], openings: Openings, homes: Homes, ready: Iterable[str]
) -> Mapping[str, Sequence[Candidate]]:
    """The rows for each idle server, in their order. Of a key whose row has to wait, all later ones wait."""
    answering = frozenset(ready)
    rows: dict[str, list[Candidate]] = {server: [] for server in openings.servers}
    room_bytes = dict.fromkeys(openings.servers, MAX_BYTES)
    server_of: dict[str, str | None] = {}
    for candidate in candidates:
        key = candidate.order_key
        target = _target(candidate, openings, homes, answering)
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


def _target(candidate: Candidate, openings: Openings, homes: Homes, answering: frozenset[str]) -> str | None:
    if candidate.server is not None:
        found: str | None = openings.stand_ins.get(candidate.server, candidate.server)
    elif candidate.server_number is None:
        # One that was refused tries the next server.
        found = openings.servers[candidate.attempts % len(openings.servers)]
    else:
        found = homes.of(candidate.server_number, answering)
    return found if found in openings.servers else None


def _fits(candidate: Candidate, taken: Sequence[Candidate], room_bytes: int) -> bool:
    return not taken or (len(taken) < MAX_ROWS and candidate.workload_bytes <= room_bytes)
