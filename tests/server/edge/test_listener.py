"""The listener in this process, around a broker with a durable store: replies that wait for a commit."""

from __future__ import annotations

import socket as blocking_socket
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from gearman_client.packet import PacketType
from gearman_server.edge import hang_ups
from gearman_server.edge.listener import Listener
from gearman_server.edge.settings import ListenerSettings
from gearman_server.jobs.session import Session
from gearman_server.text_commands import bulk_changes

from ..broker_harness import DurableBroker
from ..stream_peer import StreamPeer

DEADLINE_S = 20
BOUND_BYTES = 100_000
JOBS = 500


def connected(port: int) -> StreamPeer:
    """A connection whose waits let the listener's loop run."""
    return StreamPeer(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S))


@pytest.fixture
def edge(durable: DurableBroker) -> Iterator[tuple[DurableBroker, int]]:
    """A broker with a batch store behind a listening socket, and the port."""
    listening = blocking_socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    listener = Listener(durable.broker, gevent.get_hub().loop, ListenerSettings(max_backlog_bytes=BOUND_BYTES))
    listener.listen([listening])
    yield durable, port
    listener.close()


def test_a_withheld_reply_is_sent_when_its_batch_is_committed(edge: tuple[DurableBroker, int]) -> None:
    durable, port = edge
    client, other = connected(port), connected(port)
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    client.send(PacketType.ECHO_REQ, b"behind")
    other.send(PacketType.GET_STATUS, b"H:test:1")
    while other.receive()[1].split(b"\0")[1] != b"1":
        other.send(PacketType.GET_STATUS, b"H:test:1")
    durable.commit()
    assert client.receive() == (PacketType.JOB_CREATED, b"H:test:1")
    assert client.receive() == (PacketType.ECHO_RES, b"behind")


def test_a_connection_with_too_many_bytes_behind_a_withheld_reply_is_dropped_and_its_job_stays(
    edge: tuple[DurableBroker, int],
) -> None:
    durable, port = edge
    client, other = connected(port), connected(port)
    client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    for _ in range(3):
        client.send(PacketType.ECHO_REQ, b"x" * (BOUND_BYTES // 2))
    with pytest.raises(ConnectionResetError):
        client.receive()
    durable.commit()
    other.send(PacketType.GET_STATUS, b"H:test:1")
    assert other.receive() == (PacketType.STATUS_RES, b"H:test:1\0001\0000\0000\0000")


def test_an_internal_error_costs_one_connection_and_is_logged(
    edge: tuple[DurableBroker, int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable, port = edge
    monkeypatch.setattr("gearman_server.log.logger.propagate", True)
    victim, other = connected(port), connected(port)
    # No input is known that makes a handler fail: the test has to insert a fault.
    durable.broker._handlers[PacketType.GET_STATUS] = lambda *_: 1 // 0
    victim.send(PacketType.GET_STATUS, b"x")
    with pytest.raises(ConnectionResetError):
        victim.receive()
    assert "internal error" in caplog.text
    other.send(PacketType.ECHO_REQ, b"x")
    assert other.receive() == (PacketType.ECHO_RES, b"x")


@pytest.fixture
def looks(durable: DurableBroker, edge: tuple[DurableBroker, int], monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """Many jobs, of which one is looked at in a step, and for each step its session."""
    monkeypatch.setattr(bulk_changes, "LOOKS", 1)
    client = durable.peer()
    for _ in range(JOBS):
        client.send(PacketType.SUBMIT_JOB, b"f", b"", b"w")
    steps: list[Session] = []
    has_left = durable.broker.long_changes.peer_has_left

    def counting(session: Session) -> bool:
        steps.append(session)
        return has_left(session)

    durable.broker.long_changes.peer_has_left = counting
    return steps


def test_a_peer_that_sends_no_more_is_told_what_it_has_asked_for(
    edge: tuple[DurableBroker, int], looks: list[Session]
) -> None:
    client = connected(edge[1])
    client.socket.sendall(b"jobs count\n")
    client.socket.shutdown(socket.SHUT_WR)
    answer = client.socket.makefile("rb").read()
    assert answer.startswith(b"waiting\t%d\n" % JOBS)
    assert len(looks) >= JOBS - 1


def test_a_look_at_jobs_ends_when_its_peer_has_left(
    edge: tuple[DurableBroker, int], looks: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hang_ups, "PATIENCE_S", 0.0)
    durable, port = edge
    client, other = connected(port), connected(port)
    other.sync()
    sessions = len(durable.broker.sessions)
    client.socket.sendall(b"jobs count\n" * 3)
    client.close()
    with gevent.Timeout(DEADLINE_S):
        while len(durable.broker.sessions) == sessions:
            other.sync()
    assert 0 < len(looks) < JOBS / 10
    assert not durable.broker.chores
