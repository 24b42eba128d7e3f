"""What the limits for all pools leave to one of them: alone, and while every pool wants its `max`. Pure.

The simulation runs one pool on one trace; the demand of the others is unknown, so these two are its bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gearman_manager.config.resolve import ResolvedPool
from gearman_manager.scaling.allotment import Bounds, Part, Wish, grant
from gearman_manager.scaling.decision import Limit


@dataclass(frozen=True, slots=True)
class SharedRoom:
    """The most workers of a pool, and the limits from which that follows; empty if its own `max` is less."""

    alone: int
    crowded: int  #: while every other pool wants its `max`
    alone_by: str = ""
    crowded_by: str = ""

    def __str__(self) -> str:
        texts = [f"{self.alone} workers at most: {self.alone_by}"] if self.alone_by else []
        if self.crowded_by and self.crowded < self.alone:
            texts.append(f"{self.crowded} while every other pool wants its max: {self.crowded_by}")
        return "; ".join(texts)


def shared_room(name: str, pools: Mapping[str, ResolvedPool], bounds: Bounds) -> SharedRoom:
    """The room that `max_workers`, budgets, weights and `max_everywhere` leave to a pool, with no other manager."""
    wishes = {each: _wish(pool, _most(pool)) for each, pool in pools.items()}
    crowded = grant(wishes, bounds)
    quiet = {each: wish if each == name else replace(wish, wanted=wish.minimum) for each, wish in wishes.items()}
    alone = grant(quiet, bounds)
    reasons = [str(allotment.limits[name]) if name in allotment.limits else "" for allotment in (alone, crowded)]
    return SharedRoom(alone.sizes[name], crowded.sizes[name], *reasons)


def _most(pool: ResolvedPool) -> int:
    return max(pool.max, *(window.max or 0 for window in pool.windows)) if pool.windows else pool.max


def _wish(pool: ResolvedPool, wanted: int) -> Wish:
    most = pool.max_everywhere
    limit = Limit("max_everywhere", "max_everywhere holds")
    part = None if most is None else Part(most, most, limit, limit)
    return Wish(wanted, pool.min, 0, weight=pool.weight, uses=pool.uses, part=part)
