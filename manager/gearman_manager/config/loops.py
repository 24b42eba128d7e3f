"""Which functions an asyncio loop can run together, in one pool. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gearman_manager.config.wording import listed


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
