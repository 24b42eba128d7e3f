"""Budgets: what the workers of all pools may use together, and which wishes can never be met. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gearman_manager.config.resolve import ResolvedPool
from gearman_manager.config.wording import nearest_name


def impossible_uses(uses: Mapping[str, int], budgets: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The budgets in a pool's `uses` that don't exist, or are too small for a single worker; with the message."""
    for name, units in uses.items():
        if name not in budgets:
            nearest = nearest_name(name, list(budgets))
            suggestion = f"did you mean {nearest}? " if nearest else ""
            known = f"known are {', '.join(sorted(budgets))}" if budgets else "there is none yet"
            yield name, f"no budget has this name; {suggestion}{known}: add it to limits.budgets, as in {name}: 50"
        elif units > budgets[name]:
            yield name, f"one worker would use {units}, and limits.budgets has only {budgets[name]}: raise that one"


def exceeded_by_minima(pools: Iterable[ResolvedPool], budgets: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The budgets that are too small for the `min` workers of all pools; with the message."""
    listed = list(pools)
    for name, units in budgets.items():
        parts = [(pool, pool.uses[name]) for pool in listed if pool.min and name in pool.uses]
        needed = sum(pool.min * each for pool, each in parts)
        if needed > units:
            sums = ", ".join(f"{pool.name}: {pool.min} of {each} each" for pool, each in parts)
            yield (
                name,
                f"{units} is less than the min workers of all pools use, {needed} ({sums}): raise it or lower a min",
            )
            continue
        for pool in listed:
            most = max((window.min for window in pool.windows if window.min is not None), default=0)
            if (needed := most * pool.uses.get(name, 0)) > units:
                yield name, f"{units} is less than the min of a window of the pool {pool.name} uses, {needed}: raise it"
