"""Shares out the workers that a manager's pools may have together, within the global cap and the host's room. Pure.

It runs after the scaler's steps and has no memory, so a worker that was held back is granted as soon as there is room.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """The number of workers that one pool wants, and the number that it has."""

    wanted: int
    minimum: int
    serving: int  #: its workers, including those on their way
    leaving: int = 0  #: its workers that finish their last job


@dataclass(frozen=True, slots=True)
class Room:
    """How many more workers, beyond `min`, the host allows all pools together; `reason` names the guard."""

    workers: int
    reason: str


def grant(wishes: Mapping[str, Wish], cap: int | None, room: Room | None) -> dict[str, int]:
    """The size of each pool: never above its wish nor below its minimum, which the cap always allows.

    If there is too little for all, the smallest pool gets the next worker. The host's room ends no existing worker, and
    under a cap no worker starts before the one that it replaces has gone.
    """
    sizes = {name: wish.wanted for name, wish in wishes.items()}
    limits = [] if room is None else [room.workers]
    if cap is not None:
        minima = {name: min(wish.minimum, wish.wanted) for name, wish in wishes.items()}
        sizes = _fill(minima, sizes, cap - sum(minima.values()))
        limits.append(cap - sum(max(wish.serving, wish.minimum) + wish.leaving for wish in wishes.values()))
    if limits:
        present = {name: min(sizes[name], max(wish.minimum, wish.serving)) for name, wish in wishes.items()}
        sizes = _fill(present, sizes, min(limits))
    return sizes


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
