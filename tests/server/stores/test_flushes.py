"""The price of durability: flushes of the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.packet import PacketType, encode_request

from ..server_process import ServerProcess
from .conftest import Disk, StoreDatabase

JOBS = 300


@pytest.fixture
def server(
    start_durable: Callable[..., ServerProcess], database_in: Callable[[Path], StoreDatabase], disk: Disk
) -> ServerProcess:
    """A server whose flushes are counted."""
    return start_durable(database_in(disk.read_only.parent), **disk.environment)


def test_a_lone_clients_job_costs_one_flush_of_the_disk(server: ServerProcess, disk: Disk) -> None:
    client = server.peer()
    before = disk.flushes
    for _ in range(JOBS):
        assert client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w" * 100)[0] == PacketType.JOB_CREATED
    # One for each commit; now and then SQLite moves its log into the file.
    assert JOBS <= disk.flushes - before <= 1.2 * JOBS + 10


def test_jobs_that_come_together_share_flushes(server: ServerProcess, disk: Disk) -> None:
    client = server.peer()
    before = disk.flushes
    client.socket.sendall(encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w" * 100) * JOBS)
    assert [client.receive()[0] for _ in range(JOBS)] == [PacketType.JOB_CREATED] * JOBS
    assert 1 <= disk.flushes - before <= JOBS / 10
