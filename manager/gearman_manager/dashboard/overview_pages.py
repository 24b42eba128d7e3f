"""The first page: is all well, what is not, each pool with its workers; and what can be done to pools and manager."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from gearman_manager.access.caller import Role
from gearman_manager.access.requirements import needs
from gearman_manager.control.operator_changes import OperatorChanges
from gearman_manager.dashboard.chart_parts import ChartParts
from gearman_manager.dashboard.forms import done, whole_number
from gearman_manager.dashboard.rendering import shared_page
from gearman_manager.errors import ManagerError
from gearman_manager.history.recording import say_action
from gearman_manager.live.urgency import POOL_STATES, WORKER_STATES
from gearman_process.errors import UnitError
from gearman_process.values.durations import parse_duration_s

Report = Mapping[str, Any]
#: Where to look for each kind of trouble.
LINKS: Final = {"server": "servers", "code": "functions"}
#: Tiles of one pool, pools with tiles, and tiles in all, on the first page; the pools' own pages have the others.
MOST_TILES: Final = 60
MOST_POOLS: Final = 20
MOST_TILES_IN_ALL: Final = 200


class Ends(Protocol):
    """The supervisor, as far as it is used here."""

    def reload(self) -> None:
        """Load configuration and code anew."""

    def drain(self, within_s: float | None) -> None:
        """Begin no job from now on, finish the running ones, and end."""


def add_overview(
    routes: Blueprint, overview: Callable[[], Report], charts: ChartParts, changes: OperatorChanges, manager: Ends
) -> None:
    """The first page, and the forms on it."""

    @routes.get("/")
    def start() -> ResponseReturnValue:
        return shared_page("overview.html", lambda: _shown(overview()), charts.on_page("all"))

    @routes.post("/pools/<path:name>/scale")
    def scale(name: str) -> ResponseReturnValue:
        low, high = whole_number("min", "at least"), whole_number("max", "at most")
        say_action("pools scale", name, f"{low}..{high}")
        changes.scale(name, low, high)
        return done(_back(), "scaled")

    @routes.post("/pools/<path:name>/pause")
    def pause(name: str) -> ResponseReturnValue:
        changes.pause(name)
        return done(_back(), "paused")

    @routes.post("/pools/<path:name>/resume")
    def resume(name: str) -> ResponseReturnValue:
        changes.resume(name)
        return done(_back(), "resumed")

    @routes.post("/pools/<path:name>/restart")
    def restart(name: str) -> ResponseReturnValue:
        changes.restart(name)
        return done(_back(), "restarted")

    @routes.post("/restart")
    def restart_all() -> ResponseReturnValue:
        changes.restart(None)
        return done(_back(), "restarted")

    @routes.post("/reload")
    @needs(Role.ADMIN)
    def reload() -> ResponseReturnValue:
        manager.reload()
        return done(_back(), "reloaded")

    @routes.post("/drain")
    @needs(Role.ADMIN)
    def drain() -> ResponseReturnValue:
        given = request.form.get("within", "").strip()
        say_action("drain", "", given)
        try:
            within_s = parse_duration_s(given) if given else None
        except UnitError as error:
            raise ManagerError(f"how long running jobs may take: {error}") from error
        manager.drain(within_s)
        return done(_back(), "draining")


def _back() -> str:
    """The page on which the form was: the pool's own one, or the first."""
    pool = request.form.get("page_of")
    return url_for("dashboard.pool", name=pool) if pool else url_for("dashboard.start")


def _shown(report: Report) -> dict[str, Any]:
    """What the page shows of an overview: the pools that need a look first, with all of it, the others in a row."""
    pools = sorted(
        report["pools"],
        key=lambda pool: (POOL_STATES.index(pool["state"]), not pool["queued"], not pool["waiting"], pool["name"]),
    )
    first = list(_with_tiles(pools[:MOST_POOLS]))
    sums = {key: _sum(report["pools"], key) for key in ("done_per_minute", "failed_per_minute", "waiting", "busy")}
    return {"now": report, "pools": first, "others": pools[MOST_POOLS:], "links": LINKS, "sums": sums}


def _sum(pools: list[dict[str, Any]], key: str) -> float | None:
    """The sum over all pools of which the figure is known; None: of none it is."""
    known = [pool[key] for pool in pools if pool[key] is not None]
    return sum(known) if known else None


def _with_tiles(pools: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pools, each with the tiles that are shown, and the number of those that are not."""
    left = MOST_TILES_IN_ALL
    for pool in pools:
        workers = sorted(pool["workers"], key=_urgency)[: min(MOST_TILES, left)]
        left -= len(workers)
        yield {**pool, "tiles": workers, "hidden": len(pool["workers"]) - len(workers)}


def _urgency(worker: Report) -> tuple[int, float]:
    return WORKER_STATES.index(worker["state"]), worker["since"] or worker["started"]
