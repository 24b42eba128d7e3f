"""Shares out the workers that a manager's pools may have together, within the global cap and the host's room. Pure.

It runs after the scaler's steps and has no memory, so a worker that was held back is granted as soon as there is room.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gearman_manager.scaling.decision import Limit

CAP: Final = Limit("limits.max_workers", "limits.max_workers holds")
_CAP_WITH_LEAVING: Final = replace(CAP, detail="workers that leave count until they are gone")


@dataclass(frozen=True, slots=True)
class Wish:
    """The number of workers that one pool wants, and the number that it has."""

    wanted: int
    minimum: int
    serving: int  #: its workers, including those on their way
    leaving: int = 0  #: its workers that finish their last job


@dataclass(frozen=True, slots=True)
class Room:
    """How many more workers, beyond `min`, the host allows all pools together; `limit` is the guard."""

    workers: int
    limit: Limit


@dataclass(frozen=True, slots=True)
class Allotment:
    """The size of each pool, and for each that gets less than it wants the limit that holds it back."""

    sizes: dict[str, int]
    limits: dict[str, Limit]


def grant(wishes: Mapping[str, Wish], cap: int | None, room: Room | None) -> Allotment:
    """The size of each pool: never above its wish nor below its minimum, which the cap always allows.

    If there is too little for all, the smallest pool gets the next worker. The host's room ends no existing worker, and
    under a cap no worker starts before the one that it replaces has gone.
    """
    allotment = Allotment({name: wish.wanted for name, wish in wishes.items()}, {})
    more = [] if room is None else [(room.workers, room.limit)]
    if cap is not None:
        minima = {name: min(wish.minimum, wish.wanted) for name, wish in wishes.items()}
        allotment = _lower(allotment, _fill(minima, allotment.sizes, cap - sum(minima.values())), CAP)
        present = sum(max(wish.serving, wish.minimum) + wish.leaving for wish in wishes.values())
        more.append((cap - present, _CAP_WITH_LEAVING))
    if more:
        count, limit = min(more, key=lambda pair: pair[0])
        sizes = allotment.sizes
        serving = {name: min(sizes[name], max(wish.minimum, wish.serving)) for name, wish in wishes.items()}
        allotment = _lower(allotment, _fill(serving, sizes, count), limit)
    return allotment


def _lower(before: Allotment, sizes: dict[str, int], limit: Limit) -> Allotment:
    """With these sizes: the limit holds back every pool that gets less than before."""
    return Allotment(sizes, before.limits | {name: limit for name, size in sizes.items() if size < before.sizes[name]})


def _fill(start: Mapping[str, int], wanted: Mapping[str, int], count: int) -> dict[str, int]:
    """Add up to `count` workers, each to the smallest pool that still wants one."""
    sizes = dict(start)
    if sum(wanted.values()) - sum(sizes.values()) <= count:
        return dict(wanted)
    hungry = [(size, name) for name, size in sizes.items() if size < wanted[name]]
    heapq.heapify(hungry)
    for _ in range(max(0, count)):
        size, name = heapq.heappop(hungry)
        sizes[name] = size + 1
        if size + 1 < wanted[name]:
            heapq.heappush(hungry, (size + 1, name))
    return sizes
