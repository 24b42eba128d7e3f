"""The overview that follows the manager's events, as the stream of the same changes tells them."""

from __future__ import annotations

import json
from typing import Any

from gearman_manager.live.changes import changes, figures
from gearman_manager.live.event_ring import EventRing
from gearman_manager.top.feed import events
from gearman_manager.top.model import Model


def tile(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "pid": 7, "state": "idle", "memory_bytes": 1, "cpu_s": 0.1, "done": 0, "failed": 0} | values


def overview(*pools: dict[str, Any], **values: Any) -> dict[str, Any]:
    manager = {"name": "m", "pid": 1, "since": 0.0}
    return {"manager": manager, "well": True, "text": "", "troubles": [], "servers": [], "pools": [*pools]} | values


def pool(name: str, *workers: dict[str, Any], **values: Any) -> dict[str, Any]:
    decision = {"why": "", "limit": None, "wanted": 1, "target": 1, "decided": None}
    counts = {
        "state": "running",
        "done": 0,
        "failed": 0,
        "memory_bytes": 0,
        "done_per_minute": 0,
        "failed_per_minute": 0,
    }
    return {"name": name, "workers": [*workers], **decision, **counts} | values


def copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_after_the_events_it_is_as_the_next_overview() -> None:
    before = overview(pool("a", tile("a/1"), tile("a/2")), pool("b", tile("b/1")), pool("gone", tile("gone/1")))
    now = overview(
        pool("a", tile("a/2", state="busy"), tile("a/3"), why="because", target=2, limit="max", decided=5.0),
        pool("b", tile("b/1"), state="paused", done=4, failed=1, memory_bytes=9),
        pool("new", tile("new/1")),
        well=False,
        troubles=[{"severity": "note", "kind": "pool", "subject": "b", "text": "paused by hand"}],
    )
    ring = EventRing("era")
    ring.add("figures", figures(now))
    for kind, content in changes(before, now):
        ring.add(kind, content)
    ring.add("of another version", {"x": 1})
    stream = b"".join(ring.after("era-0") or ()).decode()
    told, wanted = Model(), Model()
    told.load(copy(before))
    for _, kind, content in events(iter([": alive", "", *stream.split("\n")])):
        told.apply(kind, content)
    wanted.load(copy(now))
    for each in (*told.pools.values(), *wanted.pools.values()):
        each.pop("decided")  # is told with a decision, as its time
    assert told.pools == wanted.pools
    assert told.workers == wanted.workers
    assert (told.is_well, told.troubles) == (wanted.is_well, wanted.troubles)


def test_figures_of_workers_come_from_another_look_but_nothing_else() -> None:
    model = Model()
    model.load(overview(pool("a", tile("a/1", state="busy"), tile("a/2"))))
    model.refresh("a", overview(pool("a", tile("a/1", memory_bytes=5), tile("a/2", pid=8, memory_bytes=6))))
    assert model.workers["a"]["a/1"] == tile("a/1", state="busy", memory_bytes=5)
    assert model.workers["a"]["a/2"] == tile("a/2")  # another process than the look saw
