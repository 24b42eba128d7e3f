"""Results of background jobs over a durable store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.extensions import GET_RESULT, RESULT
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import StoreDatabase

FUNCTIONS = "functions:\n  f: {keep_result: 1h}\n"
ALL_BYTES = bytes(range(256))


@pytest.fixture
def start_keeping(start_durable: Callable[..., ServerProcess], tmp_path: Path) -> Callable[..., ServerProcess]:
    """Starts a server over a database that keeps results of `f`."""

    def start(database: StoreDatabase, functions: str = FUNCTIONS) -> ServerProcess:
        path = tmp_path / "policies.yaml"
        path.write_text(functions)
        return start_durable(database, "--policies", str(path))

    return start


def run_one(server: ServerProcess) -> bytes:
    """Runs a background job that sends data; its handle."""
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    _, handle = client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"u", b"w")
    assert worker.ask(PacketType.GRAB_JOB)[0] == PacketType.JOB_ASSIGN
    worker.send(PacketType.WORK_DATA, handle, b"part" + ALL_BYTES)
    worker.send(PacketType.WORK_STATUS, handle, b"3", b"4")
    worker.send(PacketType.WORK_COMPLETE, handle, ALL_BYTES)
    worker.sync()
    return handle


def expect_result(peer: StreamPeer, handle: bytes) -> None:
    assert peer.ask(GET_RESULT, handle, b"0") == (PacketType.WORK_DATA, handle + b"\0part" + ALL_BYTES)
    packet_type, body = peer.receive()
    assert packet_type == RESULT
    _, state, numerator, denominator, _, _, lost, content = body.split(b"\0", 7)
    assert (state, numerator, denominator, lost, content) == (b"complete", b"3", b"4", b"0", ALL_BYTES)


@pytest.mark.in_every_database
def test_a_result_outlives_a_server_that_ends_and_one_that_is_killed(
    database: StoreDatabase, start_keeping: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_keeping(database)
    handle = run_one(server)
    until(lambda: database.rows("handle", "gearman_jobs") == [] and len(database.rows("id", "gearman_results")) == 1)
    server.process.kill()
    server = start_keeping(database)
    expect_result(server.peer(), handle)
    server.stop()
    database.execute("UPDATE gearman_results SET expires_at = expires_at - 7200")
    server = start_keeping(database)
    assert server.peer().ask(GET_RESULT, handle, b"0")[1].split(b"\0")[1] == b"expired"
    until(lambda: database.rows("id", "gearman_results") == [])


def test_a_result_and_the_delete_of_its_row_are_one_transaction(
    database: StoreDatabase, start_keeping: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_keeping(database)
    # The result can't be written: then its row must not go either.
    database.execute("CREATE TRIGGER refuse BEFORE INSERT ON gearman_results BEGIN SELECT RAISE(ABORT, 'no'); END")
    handle = run_one(server)
    server.wait_for_log("fails: no")
    assert database.rows("handle") == [(handle,)]
    database.execute("DROP TRIGGER refuse")
    until(lambda: database.rows("handle") == [])
    server.process.kill()
    expect_result(start_keeping(database).peer(), handle)


def test_a_client_that_asks_for_a_job_still_in_the_store_waits_for_it(
    database: StoreDatabase, start_keeping: Callable[..., ServerProcess]
) -> None:
    server = start_keeping(database)
    _, handle = server.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"u", b"w")
    server.process.kill()
    server = start_keeping(database)
    client, worker = server.peer(), server.peer()
    client.send(GET_RESULT, handle, b"")
    worker.send(PacketType.CAN_DO, b"f")
    worker.send(PacketType.GRAB_JOB)
    while worker.receive()[0] != PacketType.JOB_ASSIGN:
        worker.send(PacketType.GRAB_JOB)
    worker.send(PacketType.WORK_COMPLETE, handle, b"done")
    packet_type, body = client.receive()
    assert (packet_type, body.split(b"\0", 7)[1::6]) == (RESULT, [b"complete", b"done"])


def test_a_result_too_large_for_a_mysql_packet_keeps_its_state_and_the_store_goes_on(
    database_of: Callable[[str], StoreDatabase], start_keeping: Callable[..., ServerProcess]
) -> None:
    database = database_of("mysql")
    [(packet_bytes,)] = database.rows("@@max_allowed_packet", "DUAL")
    server = start_keeping(database)
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    _, handle = client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    worker.ask(PacketType.GRAB_JOB)
    worker.send(PacketType.WORK_COMPLETE, handle, b"\0" * (packet_bytes * 3 // 4))
    worker.sync()
    next_handle = run_one(server)
    assert client.ask(PacketType.SUBMIT_JOB_BG, b"g", b"", b"w")[0] == PacketType.JOB_CREATED
    server.stop()
    server = start_keeping(database)
    assert server.peer().ask(GET_RESULT, handle, b"0")[1].split(b"\0")[1] == b"too-large"
    expect_result(server.peer(), next_handle)
