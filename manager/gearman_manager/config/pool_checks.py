"""Wishes of pools that can never be met: of budgets, and of functions that no asyncio loop can run together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from gearman_manager.config.resolve import ResolvedPool
from gearman_manager.config.wording import listed, nearest_name


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
    all_pools = list(pools)
    for name, units in budgets.items():
        parts = [(pool, pool.uses[name]) for pool in all_pools if pool.min and name in pool.uses]
        needed = sum(pool.min * each for pool, each in parts)
        if needed > units:
            sums = ", ".join(f"{pool.name}: {pool.min} of {each} each" for pool, each in parts)
            yield (
                name,
                f"{units} is less than the min workers of all pools use, {needed} ({sums}): raise it or lower a min",
            )
            continue
        for pool in all_pools:
            most = max((window.min for window in pool.windows if window.min is not None), default=0)
            if (needed := most * pool.uses.get(name, 0)) > units:
                yield name, f"{units} is less than the min of a window of the pool {pool.name} uses, {needed}: raise it"


def loop_problem(
    pool: str, of_loop: Sequence[str], plain: Sequence[str], prefetch: Mapping[str, int | None]
) -> tuple[str, str] | None:
    """The key and the text of a mistake in a pool, or None.

    of_loop, plain: the names of its functions with `async def`, and with `def`.
    prefetch: the key and its value for the pool itself, then for all pools; None: not set.
    """
    if not of_loop:
        return None
    if plain:
        kinds = f"{listed(of_loop)} with async def, {listed(plain)} with def"
        return (
            f"pools.{pool}.functions",
            f"a pool runs its functions either on an asyncio loop or without one, and here are {kinds}: "
            "name either in a pool of their own",
        )
    key, number = next(((key, number) for key, number in prefetch.items() if number is not None), ("", 1))
    if number == 1:
        return None
    return (
        key,
        f"the pool {pool} has functions with async def ({listed(of_loop)}), and an asyncio loop asks for a job for "
        "each of its places: use concurrency instead, and prefetch: 1",
    )
