"""How often peers are asked, and what is known of them without a look at them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import gevent
import pytest

from gearman_manager.peers import watch
from gearman_manager.peers.watch import Peer, Peers

from .test_asking import answering, serving

DEADLINE_S = 20.0


def until(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(DEADLINE_S, AssertionError("it does not come true")):
        while not condition():
            gevent.sleep(0.01)


def test_an_alert_has_peers_asked_soon_enough_though_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY_S", 0.05)
    asked: list[socket.socket] = []
    refuse = answering("HTTP/1.1 503 Unavailable\nContent-Length: 0")

    def serve(connection: socket.socket) -> None:
        asked.append(connection)
        refuse(connection)

    patience_s: list[float | None] = [None]
    peers = Peers(lambda: patience_s[0])
    with serving(serve) as port:
        peer = Peer(f"http://127.0.0.1:{port}", "b", "a-token")
        peers.use([peer])
        try:
            until(lambda: peers.states()[f"b {peer.url}"][0] is False)
            assert "503" in peers.states()[f"b {peer.url}"][1]
            assert len(asked) == 1
            patience_s[0] = 0.2  # a reload has brought the rule
            peers.use([peer])
            until(lambda: len(asked) >= 4)
        finally:
            peers.close()
