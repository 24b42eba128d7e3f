"""Turns of the HTTP port: connections with much work share the loop with all other sockets."""

from __future__ import annotations

import gevent
from gevent.pool import Group

from gearman_process.http.messages import HttpAnswer, HttpRequest
from gearman_server.http.port import HttpPeer, HttpPort, HttpSettings

CONNECTIONS = 20


def no_application(request: HttpRequest, peer: HttpPeer) -> HttpAnswer:
    """No request comes here."""
    raise AssertionError((request, peer))


def test_the_loop_looks_at_all_sockets_between_the_turns_of_two_connections() -> None:
    port = HttpPort(no_application, gevent.get_hub().loop, HttpSettings())
    passes, turns = [0], list[int]()

    def note_pass() -> None:
        passes[0] += 1

    def take_turns() -> None:
        for _ in range(3):
            port._wait_for_turn()
            turns.append(passes[0])

    watcher = gevent.get_hub().loop.check()
    watcher.start(note_pass)
    connections = Group()
    for _ in range(CONNECTIONS):
        connections.spawn(take_turns)
    connections.join(timeout=10, raise_error=True)
    watcher.stop()
    watcher.close()
    assert len(turns) == 3 * CONNECTIONS
    assert len(set(turns)) == len(turns), "two connections had a turn in one pass"
