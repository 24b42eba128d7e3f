"""200 pools and 1,000 workers on one small screen: keys are answered at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from gearman_manager.errors import ManagerError
from gearman_manager.top.app import Top
from gearman_manager.top.feed import Calls
from gearman_manager.top.pools_screen import PoolsScreen
from gearman_manager.top.workers_screen import WorkersScreen

from .test_columns import pool

POOLS, WORKERS_OF_ONE, DRAWS = 200, 801, 20
#: On a machine that does much else; alone it takes some milliseconds.
MOST_S_FOR_A_DRAW = 0.25


def tile(name: str) -> dict[str, Any]:
    numbers = {"jobs": 1, "done": 5, "failed": 0, "memory_bytes": 20_000_000, "cpu_s": 1.0}
    times = {"since": time.time() - 3, "started": time.time() - 60}
    return {"name": name, "pid": 1, "state": "busy", "function": "do", "handle": "H:x:1", **numbers, **times}


def crowd() -> dict[str, Any]:
    """The overview of a manager with one large pool and many small ones."""
    sizes = {f"pool{number:03}": WORKERS_OF_ONE if number == POOLS - 1 else 1 for number in range(POOLS)}
    extra: dict[str, Any] = {"held": [], "last_error": "", "limit": None, "wanted": 1}
    pools = [
        pool(name, **extra) | {"workers": [tile(f"{name}/{n}") for n in range(size)]} for name, size in sizes.items()
    ]
    manager = {"name": "m", "pid": 1, "since": time.time()}
    return {"manager": manager, "well": True, "text": "", "troubles": [], "pools": pools, "event": "0"}


def ask(method: str, resource: str, body: object = None) -> Any:
    if "overview" in resource:
        return crowd()
    raise ManagerError("not here")


def follow(_resource: str) -> Iterator[str]:
    time.sleep(60)  # on the feed's thread: the manager is silent
    yield from ()


async def look() -> None:
    app = Top(Calls(ask, follow))
    async with app.run_test(size=(80, 24)) as pilot:
        while not isinstance(app.screen, PoolsScreen) or app.screen.table.chosen is None:
            await pilot.pause(0.05)
        await pilot.press("end")
        assert app.screen.table.chosen is not None
        assert app.screen.table.chosen["name"] == f"pool{POOLS - 1:03}"
        await pilot.press("enter")
        assert isinstance(app.screen, WorkersScreen)
        await pilot.press("end", ">", "pageup")
        began = time.monotonic()
        for _ in range(DRAWS):
            app.screen.draw()
            await pilot.pause()
        assert time.monotonic() - began < DRAWS * MOST_S_FOR_A_DRAW
        assert app.screen.table.chosen is not None
        await pilot.press("slash", "/", "8", "0", "0", "enter")
        assert app.screen.table.chosen["name"] == f"pool{POOLS - 1:03}/800"
        await pilot.press("escape", "escape")
        assert isinstance(app.screen, PoolsScreen)


def test_many_pools_and_workers_are_drawn_at_once() -> None:
    asyncio.run(look())
