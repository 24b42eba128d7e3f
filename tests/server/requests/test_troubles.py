"""The extension `server-troubles`: what keeps the server from doing all of its work, at once and at each change."""

from __future__ import annotations

from collections.abc import Callable

from gearman_client.extensions import SERVER_TROUBLE
from gearman_client.packet import PacketType
from gearman_server.jobs.events import StoreFailed, StoreRecovered

from ..broker_harness import BrokerHarness
from ..server_process import ServerProcess

OPTION = b"server-troubles"
FULL = b"the store jobs.db fails: disk full; background jobs are refused"


def test_a_subscriber_hears_of_the_present_and_of_every_change(broker: BrokerHarness) -> None:
    early, late, stranger = broker.peer(), broker.peer(), broker.peer()
    assert early.ask(PacketType.OPTION_REQ, OPTION) == [(PacketType.OPTION_RES, OPTION), (SERVER_TROUBLE, b"")]
    broker.broker.events.emit(StoreFailed("the store jobs.db fails: disk full"))
    assert early.take() == [(SERVER_TROUBLE, FULL)]
    assert early.session in broker.broker.touched
    assert late.ask(PacketType.OPTION_REQ, OPTION) == [(PacketType.OPTION_RES, OPTION), (SERVER_TROUBLE, FULL)]
    broker.broker.troubles.note("connections", "no more")
    assert early.take() == late.take() == [(SERVER_TROUBLE, FULL + b"; no more")]
    broker.broker.troubles.note("connections", "no more")
    assert early.take() == []
    late.leave()
    broker.broker.events.emit(StoreRecovered())
    assert early.take() == [(SERVER_TROUBLE, b"no more")]
    broker.broker.troubles.note("connections", None)
    assert early.take() == [(SERVER_TROUBLE, b"")]
    assert stranger.take() == []
    assert broker.broker.troubles.text is None


def test_a_server_without_free_descriptors_says_so(
    start_server: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_server("-f", "24")
    watcher = server.peer()
    assert watcher.ask(PacketType.OPTION_REQ, OPTION) == (PacketType.OPTION_RES, OPTION)
    assert watcher.receive() == (SERVER_TROUBLE, b"")
    others = [server.peer() for _ in range(40)]
    kind, text = watcher.receive()
    assert (kind, text.startswith(b"no more connections can be accepted: ")) == (SERVER_TROUBLE, True)
    for peer in others:
        peer.close()
    assert watcher.receive() == (SERVER_TROUBLE, b"")
