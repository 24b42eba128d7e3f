"""What has happened, to be marked in charts: the manager's start, code that took over, crashes, new job servers. Pure.

What operators did stands in the history of actions already, and changes of sizes in the points themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gearman_manager.history.action import shortened
from gearman_manager.pools.pool import Pool
from gearman_manager.series.figures import POOL, Point
from gearman_manager.series.points_table import Mark
from gearman_process.values.counting import counted

#: Pools whose crashes are told one by one, at one moment.
MOST_POOLS: Final = 5
_CRASHED: Final = POOL.place["crashed"]


class Marks:
    """Compares each look with the one before."""

    def __init__(self) -> None:
        self._generation: int | None = None
        self._restarts: Mapping[str, int] = {}

    def of_code(self, at: float, generation: int) -> Iterator[Mark]:
        """Code or settings that took over; 0: none has yet."""
        if self._generation and generation > self._generation:
            yield at, "reload", "", f"generation {generation} of code and settings took over"
        self._generation = generation

    def of_servers(self, at: float, restarts: Mapping[str, int]) -> Iterator[Mark]:
        """Job servers that were started again, by how often that has happened."""
        for title, count in restarts.items():
            if count > self._restarts.get(title, 0):
                yield at, "server", "", f"{title} was started again"
        self._restarts = dict(restarts)

    def of_crashes(self, at: float, looks: Iterable[tuple[Pool, Point]]) -> Iterator[Mark]:
        """Workers that ended without being told to; of many pools together."""
        crashed = [(pool, point[_CRASHED]) for pool, point in looks if point.get(_CRASHED)]
        for pool, count in crashed[:MOST_POOLS]:
            error = shortened(f": {pool.last_error}") if pool.last_error else ""
            yield at, "crash", pool.name, f"{counted(count, 'worker')} of {pool.name} ended unexpectedly{error}"
        if others := crashed[MOST_POOLS:]:
            count = sum(each for _, each in others)
            yield at, "crash", "", f"{counted(count, 'worker')} of {len(others)} more pools ended unexpectedly"
