"""Managers that know each other: one page for all, also while one is down."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import NAP, RunningManager, eventually
from .test_access import FULL, READ, Site, bearer

CONFIG = """
pools: {{nap: {{functions: [nap], min: 1, max: 1}}}}
control:
  listen: 127.0.0.1:{port}
  token_file: full
  read_token_file: read
{more}
"""
PEERS = """\
  peer_token_file: peer
  peers:
    - {{url: "http://127.0.0.1:{b}/gearman", name: "<b>"}}
    - {{url: "http://localhost:{b}/gearman", token_file: full}}
    - "http://127.0.0.1:{a}"
    - {{url: "http://127.0.0.1:{nobody}", token_file: full}}
"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Known:
    """Two managers, of which the first knows the second, itself, and one that is not there."""

    def __init__(self, a: RunningManager, b: RunningManager) -> None:
        self.a, self.b = a, b
        self.ports = dict(zip(("a", "b", "nobody"), free_ports(3), strict=True))

    def start_b(self) -> None:
        self.b.start(CONFIG.format(port=self.ports["b"], more="  prefix: /gearman"))

    def start(self) -> None:
        for manager in (self.a, self.b):
            manager.write_module("nap.py", NAP)
            (manager.folder / "full").write_text(f"{FULL}{manager.folder.name}")
            (manager.folder / "read").write_text(READ)
        (self.a.folder / "peer").write_text(READ)
        self.start_b()
        self.a.start(CONFIG.format(port=self.ports["a"], more=PEERS.format(**self.ports)))

    def get(self, path: str) -> str:
        headers = bearer(READ) | {"Accept": "text/html"}
        response, content = Site(self.a).ask("GET", path, headers)
        assert response.status == 200, content
        return content

    def managers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.get("/api/v1/peers"))["managers"]
        return found

    def asked(self) -> list[dict[str, Any]]:
        """All of them, once each was asked."""
        found: list[dict[str, Any]] = eventually(
            lambda: (rows := self.managers()) and all(row["up"] is not None for row in rows) and rows, "all are asked"
        )
        return found


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    managers = [RunningManager(tmp_path_factory.mktemp(name)) for name in ("a", "b")]
    try:
        both = Known(*managers)
        both.start()
        yield both
    finally:
        for manager in managers:
            manager.destroy()


def test_each_is_asked_over_its_own_api_with_its_own_token(known: Known) -> None:
    me, b, refused, again, nobody = known.asked()
    assert (me["self"], me["up"], me["url"]) == (True, True, "")
    assert (b["up"], b["name"], b["self"], b["error"]) == (True, "<b>", False, "")
    told = b["summary"]
    assert [told[name] for name in ("well", "pools", "workers", "busy", "queued")] == [True, 1, 1, 0, 0]
    [server] = told["servers"]
    assert (server["up"], server["version"], server["store"]) == (True, "0.1.0", "memory")
    assert server["connections"] >= 2
    assert server["address"] != me["summary"]["servers"][0]["address"]
    assert (refused["up"], refused["summary"]) == (False, None)
    assert "refuses the token (401)" in refused["error"]
    assert (again["up"], again["self"], again["summary"]["name"]) == (True, True, me["summary"]["name"])
    assert (nobody["up"], nobody["summary"]) == (False, None)
    assert "refused" in nobody["error"]
    printed = known.a.command("peers").stdout.splitlines()
    assert [" up " in line for line in printed[1:]] == [True, True, False, True, False]
    assert "(this one)" in printed[1]
    assert f"<b> {b['url']} " in printed[2]
    assert re.search(r" down for .* refuses the token", printed[3])
    assert json.loads(known.a.command("peers", "--json").stdout)[1]["name"] == "<b>"
    log = known.a.log()
    assert READ not in log
    assert FULL not in log


def test_a_page_shows_all_of_them_and_the_page_of_servers_theirs(known: Known) -> None:
    known.asked()
    page = known.get("/peers")
    assert f'<a href="http://127.0.0.1:{known.ports["b"]}/gearman" rel="noreferrer"><bdi>&lt;b&gt;</bdi></a>' in page
    assert "<b>" not in page
    assert "this manager itself: leave it out" in page
    assert page.count("does not answer</span>") == 2
    assert 'aria-current="page">Managers</a>' in page
    servers = known.get("/servers")
    [address] = known.b.status()["servers"]
    row = re.search(rf"<tr><td>.*?{re.escape(address)}.*?</tr>", servers, re.DOTALL)
    assert row is not None
    assert "memory" in row[0]
    assert "<dt>store</dt><dd><bdi>memory</bdi></dd>" in servers  # its own
    assert ">Managers</a>" not in Site(known.b).ask("GET", "/gearman/", bearer(READ) | {"Accept": "text/html"})[1]


def test_of_one_that_is_down_the_last_word_stays_and_it_may_come_back(known: Known) -> None:
    before = known.asked()[1]
    assert known.b.process is not None
    known.b.process.send_signal(signal.SIGKILL)
    known.b.process.wait(20)
    down: dict[str, Any] = eventually(lambda: not (row := known.managers()[1])["up"] and row, "it is seen to be down")
    assert down["summary"]["name"] == before["summary"]["name"]
    assert (down["since"] >= before["since"], down["asked"] >= before["asked"]) == (True, True)
    page = known.get("/peers")
    assert 'class="stale"' in page
    assert "Its last word is from" in page
    assert 'class="stale"' in known.get("/servers")
    known.start_b()
    back: dict[str, Any] = eventually(lambda: (row := known.managers()[1])["up"] and row, "it is back")
    assert back["summary"]["since"] > before["summary"]["since"]
    assert f"the peer http://127.0.0.1:{known.ports['b']}/gearman is back" in known.a.log()


def test_a_reload_takes_other_peers_and_refuses_wrong_ones(known: Known) -> None:
    file = known.a.config_file
    text = file.read_text()
    file.write_text(text.replace(f'    - "http://127.0.0.1:{known.ports["a"]}"\n', ""))
    known.a.command("reload")
    eventually(lambda: len(known.managers()) == 4, "one is gone")
    (known.a.folder / "peer").write_text("short")
    known.a.command("reload")
    eventually(lambda: "control.peer_token_file: no token in the file" in known.a.log(), "the reason is logged")
    assert len(known.managers()) == 4
    (known.a.folder / "peer").write_text(READ)
    file.write_text(text)
    known.a.command("reload")
    eventually(lambda: len(known.managers()) == 5, "it is there again")
