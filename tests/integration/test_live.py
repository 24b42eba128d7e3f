"""The overview of a running manager, and the stream of its changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from gearman_manager.command.control_client import request
from gearman_manager.errors import NotFound

from .conftest import GATE, RunningManager, eventually
from .test_access import FULL, Site, bearer

CONFIG = "pools: {gate: {functions: [gate], min: 1, max: 1}}\ncontrol: {listen: 127.0.0.1:0, token_file: full}\n"


@pytest.fixture
def gates(manager: RunningManager) -> RunningManager:
    manager.write_module("gate.py", GATE)
    (manager.folder / "full").write_text(FULL)
    return manager.start(CONFIG)


def get(manager: RunningManager, path: str) -> Any:
    return request(manager.folder / "run" / "control.sock", "GET", path)


class Stream:
    """A follower of the events."""

    def __init__(self, site: Site, query: str = "", **headers: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", site.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", f"/api/v1/events{query}", headers=bearer(FULL) | named)
        self.response = self._connection.getresponse()
        self.last_id = ""

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        kind = ""
        for line in self.response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)

    def until(self, kind: str, condition: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Read on to an event of that kind; returns its content."""
        return next(content for found, content in self if found == kind and condition(content))

    def close(self) -> None:
        self.response.close()
        self._connection.close()


def is_busy(content: dict[str, Any]) -> bool:
    return any(worker["state"] == "busy" for worker in content["changed"])


def is_idle(content: dict[str, Any]) -> bool:
    return any(worker["state"] == "idle" for worker in content["changed"])


def test_the_overview_shows_pools_workers_queues_and_reasons(gates: RunningManager) -> None:
    overview = get(gates, "/overview")
    assert (overview["well"], overview["troubles"]) == (True, [])
    assert [server["address"] for server in overview["servers"]] == [gates.address]
    begun = time.time()
    open_gate = gates.folder / "open"
    with gates.client() as client:
        handles = [client.submit_background("gate", str(open_gate)) for _ in range(3)]
        (pool,) = eventually(
            lambda: [p for p in get(gates, "/overview")["pools"] if (p["busy"], p["queued"]) == (1, 2)], "one runs"
        )
        assert (pool["name"], pool["state"], pool["functions"], pool["ready"]) == ("gate", "running", ["gate"], 1)
        assert (pool["min"], pool["max"], pool["target"], pool["running"]) == (1, 1, 1, 1)
        eventually(lambda: get(gates, "/overview")["pools"][0]["limit"] == "max", "the reason for the size")
        pool = get(gates, "/overview")["pools"][0]
        assert "max 1 holds" in pool["why"]
        (worker,) = pool["workers"]
        assert (worker["state"], worker["function"], worker["handle"]) == ("busy", "gate", handles[0])
        assert begun - 1 < worker["since"] <= time.time() + 1
        assert worker["memory_bytes"] > 100_000
        assert 0 <= worker["cpu_cores"] < 2
        assert get(gates, "/workers")["workers"][0]["name"] == worker["name"]
        listed = get(gates, "/workers?pool=gate&limit=1")
        assert (listed["workers"][0]["handle"], listed["count"], listed["next"]) == (handles[0], 1, None)
        with pytest.raises(NotFound):
            get(gates, "/workers?pool=none")
        assert get(gates, "/pools/gate").items() >= {"name": "gate", "busy": 1, "queued": 2}.items()
        demand = get(gates, "/scale/gate")
        assert (demand["value"], demand["queued"], demand["wanted"] > 1) == (3, 2, True)
        assert Site(gates).ask("GET", "/scale/gate")[0].status == 401
        assert json.loads(Site(gates).ask("GET", "/scale/gate", bearer(FULL))[1])["value"] == 3
        open_gate.touch()
        eventually(lambda: get(gates, "/overview")["pools"][0]["done"] == 3, "all have run")


def test_what_is_wrong_is_in_the_overview(gates: RunningManager) -> None:
    gates.write_module("broken.py", "import no_such_module\n")
    overview = eventually(lambda: (found := get(gates, "/overview"))["troubles"] and found, "the broken module")
    (trouble,) = overview["troubles"]
    assert (overview["well"], trouble["severity"], trouble["kind"]) == (False, "warning", "code")
    assert trouble["subject"].endswith("broken.py:1")
    assert "no_such_module" in trouble["text"]
    (gates.workers_dir / "broken.py").unlink()
    eventually(lambda: get(gates, "/overview")["well"], "it is gone")
    gates.command("pause", "gate")
    overview = eventually(lambda: (found := get(gates, "/overview"))["troubles"] and found, "the pause")
    assert (overview["well"], overview["troubles"][0]["severity"]) == (True, "note")


def test_changes_come_as_they_happen_to_everybody_who_follows(gates: RunningManager) -> None:
    site = Site(gates)
    event = get(gates, "/overview?watch=1")["event"]
    streams = [Stream(site, f"?after={event}") for _ in range(2)]
    assert streams[0].response.getheader("Content-Type", "").startswith("text/event-stream")
    with gates.client() as client:
        handle = client.submit_background("gate", str(gates.folder / "open"))
        for stream in streams:
            (worker,) = stream.until("workers", is_busy)["changed"]
            assert (worker["function"], worker["handle"]) == ("gate", handle)
        (gates.folder / "open").touch()
        streams[0].until("workers", is_idle)
    gates.command("scale", "gate", "2")
    assert streams[0].until("action")["what"] == "pools scale"
    assert streams[0].until("pool", lambda pool: pool["target"] == 2)["min"] == 2
    streams[0].until("workers", is_idle)
    assert streams[1].until("decision", lambda decision: decision["target"] == 2)["pool"] == "gate"
    for stream in streams:
        stream.close()


def test_a_follower_that_comes_back_hears_what_it_has_missed(gates: RunningManager) -> None:
    site = Site(gates)
    first = Stream(site)
    first.until("reset")  # it began with no event of ours
    gates.command("pause", "gate")
    assert first.until("pool")["state"] == "paused"
    first.close()
    gates.command("resume", "gate")
    eventually(lambda: gates.status()["pools"]["gate"]["state"] == "running", "it goes on")
    again = Stream(site, Last_Event_ID=first.last_id)
    assert "reset" not in [kind for _, (kind, _) in zip(range(2), again, strict=False)]
    again.close()
    for unknown in ("nonsense", "0000-7"):
        stream = Stream(site, Last_Event_ID=unknown)
        assert next(iter(stream))[0] == "reset"
        stream.close()
