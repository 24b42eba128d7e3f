"""What the manager has told so far: its overview, and the changes since then. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gearman_manager.live.changes import DECISION, VOLATILE

Report = dict[str, Any]


class Model:
    """An overview that follows the events. Each has the new values, so it does no harm to hear one twice."""

    def __init__(self) -> None:
        self.manager: Report = {"name": "", "pid": 0, "since": 0.0}
        self.is_well = False
        self.troubles: list[Report] = []
        self.pools: dict[str, Report] = {}
        #: Of each pool, its workers by name.
        self.workers: dict[str, dict[str, Report]] = {}

    def load(self, overview: Report) -> None:
        """Begin anew with an overview."""
        self.manager = overview["manager"]
        self._tell(overview)
        self.pools = {pool["name"]: pool for pool in overview["pools"]}
        self.workers = {name: _by_name(pool.pop("workers")) for name, pool in self.pools.items()}

    def apply(self, kind: str, content: Report) -> None:
        """Take an event over. Kinds that are unknown here change nothing."""
        if kind == "pool":
            self.pools[content["name"]] = {**self.pools.get(content["name"], {}), **content}
        elif kind == "pool-gone":
            self.pools.pop(content["name"], None)
            self.workers.pop(content["name"], None)
        elif kind == "workers":
            self._apply_workers(content)
        elif kind == "decision":
            self._update(content["pool"], {name: content[name] for name in DECISION})
        elif kind == "figures":
            for name, figures in content["pools"].items():
                self._update(name, figures)
        elif kind == "troubles":
            self._tell(content)

    def refresh(self, pool: str, overview: Report) -> None:
        """Take over what changes all the time of a pool's workers; the overview may be a little older than the last
        event."""
        workers = self.workers.get(pool, {})
        for tile in (tile for each in overview["pools"] if each["name"] == pool for tile in each["workers"]):
            known = workers.get(tile["name"])
            if known is not None and known["pid"] == tile["pid"]:
                known.update((name, tile[name]) for name in VOLATILE & tile.keys())

    def _tell(self, told: Mapping[str, Any]) -> None:
        self.is_well, self.troubles = told["well"], told["troubles"]

    def _apply_workers(self, content: Report) -> None:
        workers = self.workers.setdefault(content["pool"], {})
        workers.update(_by_name(content["changed"]))
        for name in content["gone"]:
            workers.pop(name, None)

    def _update(self, pool: str, values: Report) -> None:
        if pool in self.pools:
            self.pools[pool].update(values)


def _by_name(workers: list[Report]) -> dict[str, Report]:
    return {worker["name"]: worker for worker in workers}
