"""Very many clients that wait for one job: each comes and goes without a walk over the others, and each is told."""

from __future__ import annotations

import pytest

from gearman_client.packet import PacketType
from gearman_server.edge.listener import TOLD_AT_ONCE

from ..broker_harness import BrokerHarness, Peer, lines_run
from ..server_process import ServerProcess

MANY = 1000


@pytest.fixture
def crowd(broker: BrokerHarness) -> list[Peer]:
    """Clients that wait for the same job."""
    peers = [broker.peer() for _ in range(MANY)]
    for peer in peers:
        peer.submit(b"f", b"w", b"u")
    return peers


def test_a_client_that_joins_or_leaves_costs_the_same_however_many_wait(
    broker: BrokerHarness, crowd: list[Peer]
) -> None:
    late = broker.peer()
    assert lines_run(lambda: late.submit(b"f", b"w", b"u")) < 200
    assert lines_run(crowd[0].leave) < 200
    [job] = broker.broker.table.jobs.values()
    assert len(job.listeners) == MANY
    assert crowd[0].session not in job.listeners


def test_each_is_told_once_for_each_submission(broker: BrokerHarness, crowd: list[Peer]) -> None:
    handle = crowd[3].submit(b"f", b"w", b"u")
    worker = broker.worker(b"f")
    worker.grab()
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    told = [(PacketType.WORK_COMPLETE, handle + b"\0r")]
    assert [peer.take() for peer in crowd[:5]] == [told, told, told, told * 2, told]
    assert all(peer.take() == told for peer in crowd[5:])


def test_a_packet_for_very_many_ends_its_senders_turn(broker: BrokerHarness, crowd: list[Peer]) -> None:
    worker = broker.worker(b"f")
    handle = worker.grab_handle()
    worker.begin(*[(PacketType.WORK_DATA, handle + b"\0d")] * 5)
    assert crowd[0].take() == [(PacketType.WORK_DATA, handle + b"\0d")]
    worker.have_turns()
    assert len(crowd[0].take()) == 4


def test_the_job_is_dropped_when_the_last_of_them_leaves(broker: BrokerHarness, crowd: list[Peer]) -> None:
    for peer in crowd:
        assert broker.broker.table.jobs
        peer.leave()
    assert not broker.broker.table.jobs


def test_a_server_tells_all_of_them(server: ServerProcess) -> None:
    clients = [server.peer() for _ in range(2 * TOLD_AT_ONCE)]
    for client in clients:
        client.send(PacketType.SUBMIT_JOB, b"f", b"u", b"w")
    handle = clients[-1].receive()[1]
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    worker.ask(PacketType.GRAB_JOB)
    worker.send(PacketType.WORK_COMPLETE, handle, b"r")
    for client in clients[:-1]:
        assert client.receive() == (PacketType.JOB_CREATED, handle)
    assert all(client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0r") for client in clients)
