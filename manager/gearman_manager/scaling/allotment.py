"""Shares out the workers that a manager's pools may have together, within the global cap, budgets and the host's room.
Pure.

It runs after the scaler's steps and has no memory, so a worker that was held back is granted as soon as there is room.

Two rounds of the same rule. The first one shares out as if no worker existed: each pool its `min`; then the next worker
always goes to the pool with the fewest workers in relation to its weight, if what it uses is left. So each pool has a
worker before any has a second one. The second round starts from the workers that are there, and adds only what fits
beside those that leave.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gearman_manager.scaling.decision import Limit

CAP: Final = Limit("limits.max_workers", "limits.max_workers holds")
_ROOM: Final = "room"
_BUDGET: Final = "limits.budgets."
_PART: Final = "part of "
_WITH_LEAVING: Final = "workers that leave count until they are gone"


@dataclass(frozen=True, slots=True)
class Part:
    """The workers that one pool may have, of a maximum over several managers; a limit that holds for `min` too."""

    units: int
    now: int  #: as long as other managers have more than their part; no worker is ended for that
    limit: Limit
    limit_now: Limit  #: the reason why `now` is less

    @property
    def told_now(self) -> Limit:
        """What keeps the pool from growing to its part."""
        return self.limit_now if self.now < self.units else replace(self.limit, detail=_WITH_LEAVING)


@dataclass(frozen=True, slots=True)
class Wish:
    """The number of workers that one pool wants, and the number that it has."""

    wanted: int
    minimum: int
    serving: int  #: its workers, including those on their way
    leaving: int = 0  #: its workers that finish their last job
    weight: int = 1
    uses: Mapping[str, int] = field(default_factory=dict)  #: by budget, the units that one worker uses
    renewing: int = 0  #: the workers that it would start on top before others that are out of date leave
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """How many more workers, beyond `min`, the host allows all pools together; `limit` is the guard."""

    workers: int
    limit: Limit


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits for all pools together. Only budgets hold for `min` too."""

    cap: int | None = None
    budgets: Mapping[str, int] = field(default_factory=dict)
    room: Room | None = None
    #: The workers of pools that exist no longer, and the units that they use.
    departing: int = 0
    departing_units: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Allotment:
    """The size of each pool, and for each that gets less than it wants the limit that holds it back."""

    sizes: dict[str, int]
    limits: dict[str, Limit]
    #: For pools that use a budget or have a part: the most processes at a time, those that leave included.
    ceilings: dict[str, int] = field(default_factory=dict)
    #: For the same pools: their sizes once every worker above its pool's share has gone.
    shares: dict[str, int] = field(default_factory=dict)


def grant(wishes: Mapping[str, Wish], bounds: Bounds) -> Allotment:
    """The size of each pool: never above its wish, nor below its minimum unless a budget is too small for that.

    The host's room ends no existing worker. Under a cap or a budget no worker starts before the one that it replaces
    has gone; the cap makes an exception for minima, a budget makes none.
    """
    is_limited = any(wish.part or (wish.uses and bounds.budgets) for wish in wishes.values())
    if bounds.cap is None and bounds.room is None and not is_limited:
        return Allotment({name: wish.wanted for name, wish in wishes.items()}, {})
    shares = _fair_shares(wishes, bounds)
    return _for_now(wishes, shares, bounds)


def _fair_shares(wishes: Mapping[str, Wish], bounds: Bounds) -> Allotment:
    """The sizes once every worker above its pool's share has gone."""
    left = {_BUDGET + name: units for name, units in bounds.budgets.items()}
    left |= {_PART + name: wish.part.units for name, wish in wishes.items() if wish.part is not None}
    sizes = dict.fromkeys(wishes, 0)
    _fill(sizes, {name: min(wish.minimum, wish.wanted) for name, wish in wishes.items()}, wishes, left)
    if bounds.cap is not None:
        left[CAP.name] = bounds.cap - sum(sizes.values())
    lacking = _fill(sizes, {name: wish.wanted for name, wish in wishes.items()}, wishes, left)
    parts = {_PART + name: wish.part.limit for name, wish in wishes.items() if wish.part is not None}
    limits = {name: parts.get(limit) or Limit(limit, f"{limit} holds") for name, limit in lacking.items()}
    return Allotment(sizes, limits)


def _for_now(wishes: Mapping[str, Wish], shares: Allotment, bounds: Bounds) -> Allotment:
    """The part of the shares for which there is room beside all workers of the moment."""
    goals = shares.sizes
    left = {_BUDGET + name: units - bounds.departing_units.get(name, 0) for name, units in bounds.budgets.items()}
    for name, wish in wishes.items():
        for budget in wish.uses.keys() & bounds.budgets.keys():
            left[_BUDGET + budget] -= wish.uses[budget] * (wish.serving + wish.leaving)
        if wish.part is not None:
            left[_PART + name] = wish.part.now - wish.serving - wish.leaving
    sizes = {name: min(goals[name], wish.serving) for name, wish in wishes.items()}
    lacking = _fill(sizes, {name: min(goals[name], wish.minimum) for name, wish in wishes.items()}, wishes, left)
    beyond_minima = dict(left)
    if bounds.cap is not None:
        present = sum(max(wish.serving, sizes[name]) + wish.leaving for name, wish in wishes.items())
        beyond_minima[CAP.name] = bounds.cap - bounds.departing - present
    if bounds.room is not None:
        beyond_minima[_ROOM] = bounds.room.workers
    lacking |= _fill(sizes, goals, wishes, beyond_minima)
    told = {_ROOM: bounds.room.limit} if bounds.room is not None else {}
    told |= {_PART + name: wish.part.told_now for name, wish in wishes.items() if wish.part is not None}
    limits = {name: told.get(limit) or Limit(limit, f"{limit} holds", _WITH_LEAVING) for name, limit in lacking.items()}
    ceilings = _ceilings(wishes, sizes, {name: beyond_minima[name] for name in left})
    return Allotment(sizes, shares.limits | limits, ceilings, {name: goals[name] for name in ceilings})


def _ceilings(wishes: Mapping[str, Wish], sizes: Mapping[str, int], left: dict[str, int]) -> dict[str, int]:
    """The processes that each pool with a budget may have; what is left is for replacements that start early."""
    renewed = dict(sizes)
    goals = {name: sizes[name] + (wish.renewing if wish.serving <= sizes[name] else 0) for name, wish in wishes.items()}
    _fill(renewed, goals, wishes, left)
    return {
        name: wish.leaving + max(wish.serving, renewed[name])
        for name, wish in wishes.items()
        if wish.part is not None or any(_BUDGET + budget in left for budget in wish.uses)
    }


def _fill(
    sizes: dict[str, int], goals: Mapping[str, int], wishes: Mapping[str, Wish], left: dict[str, int]
) -> dict[str, str]:
    """Raise sizes towards their goals, a worker at a time, while what `left` says allows it; `left` is updated.

    Returns the limit that stopped each pool whose goal was not reached.
    """
    costs = {name: _costs(name, wishes[name], left) for name, size in sizes.items() if size < goals[name]}
    if _take_all(sizes, goals, costs, left):
        return {}
    held = {}
    hungry = [_rank(name, sizes[name], wishes[name]) for name in costs]
    heapq.heapify(hungry)
    while hungry:
        name = heapq.heappop(hungry)[-1]
        lacking = next((limit for limit, units in costs[name].items() if left[limit] < units), None)
        if lacking is not None:
            held[name] = lacking
            continue
        sizes[name] += 1
        for limit, units in costs[name].items():
            left[limit] -= units
        if sizes[name] < goals[name]:
            heapq.heappush(hungry, _rank(name, sizes[name], wishes[name]))
    return held


def _rank(name: str, size: int, wish: Wish) -> tuple[float, int, str]:
    """The place in the row of those that want a worker: the smallest comes first."""
    return size / wish.weight, -wish.weight, name


def _costs(name: str, wish: Wish, left: Mapping[str, int]) -> dict[str, int]:
    """What one worker takes of the limits that hold here."""
    costs = {_BUDGET + budget: units for budget, units in wish.uses.items() if _BUDGET + budget in left}
    return costs | {limit: 1 for limit in (_PART + name, CAP.name, _ROOM) if limit in left}


def _take_all(
    sizes: dict[str, int], goals: Mapping[str, int], costs: Mapping[str, Mapping[str, int]], left: dict[str, int]
) -> bool:
    """Reach all goals at once, if there is enough for all of them."""
    needed: dict[str, int] = {}
    for name, cost in costs.items():
        for limit, units in cost.items():
            needed[limit] = needed.get(limit, 0) + units * (goals[name] - sizes[name])
    if any(left[limit] < units for limit, units in needed.items()):
        return False
    for name in costs:
        sizes[name] = goals[name]
    for limit, units in needed.items():
        left[limit] -= units
    return True
