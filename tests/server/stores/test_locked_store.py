"""Group commit with a store that does not answer: another process holds SQLite's lock."""

from __future__ import annotations

import contextlib
import http.client
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from sqlalchemy import text

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer
from .conftest import StoreDatabase

BACKGROUND = PacketType.SUBMIT_JOB_BG
CREATED = PacketType.JOB_CREATED


@pytest.fixture
def locked(database: StoreDatabase) -> Callable[[], AbstractContextManager[None]]:
    """In the context `with locked():` no other process can write to the database."""

    @contextlib.contextmanager
    def lock() -> Iterator[None]:
        with database.connect() as connection:
            connection.execute(text("BEGIN IMMEDIATE"))
            yield
            connection.rollback()

    return lock


def take_job(worker: StreamPeer) -> bytes:
    packet_type, body = worker.ask(PacketType.GRAB_JOB)
    assert packet_type == PacketType.JOB_ASSIGN
    return body.split(b"\0")[0]


def test_only_clients_that_wait_for_the_store_are_delayed_and_jobs_run_at_once(
    database: StoreDatabase,
    locked: Callable[[], AbstractContextManager[None]],
    start_durable: Callable[..., ServerProcess],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    server = start_durable(database)
    client, other, worker = server.peer(), server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    with locked():
        client.send(BACKGROUND, b"f", b"", b"in the batch that is being written")
        other.sync()  # the batch is on its way now
        client.send(BACKGROUND, b"f", b"", b"in the next batch")
        client.send(BACKGROUND, b"f", b"", b"not run")
        other.send(PacketType.SUBMIT_JOB_HIGH, b"f", b"", b"foreground")
        handle = other.receive()[1]
        assert take_job(worker) == handle
        worker.send(PacketType.WORK_COMPLETE, handle, b"r")
        assert other.receive() == (PacketType.WORK_COMPLETE, handle + b"\0r")
        ended = [take_job(worker), take_job(worker)]
        for handle in ended:
            worker.send(PacketType.WORK_COMPLETE, handle, b"r")
        # Jobs that have ended are acknowledged without a commit.
        assert [client.receive(), client.receive()] == [(CREATED, handle) for handle in ended]
    packet_type, left = client.receive()
    assert packet_type == CREATED
    until(lambda: database.rows("handle") == [(left,)])


def test_a_submitter_waits_no_longer_than_the_timeout_and_the_store_recovers_by_itself(
    database: StoreDatabase,
    locked: Callable[[], AbstractContextManager[None]],
    start_durable: Callable[..., ServerProcess],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    server = start_durable(database, "--store-timeout", "0.4")
    client = server.peer()
    stored = client.ask(BACKGROUND, b"f", b"", b"before")[1]
    with locked():
        for _ in range(3):
            started = time.monotonic()
            packet_type, body = client.ask(BACKGROUND, b"f", b"", b"refused")
            assert (packet_type, body.split(b"\0")[0]) == (PacketType.ERROR, b"QUEUE_ERROR")
            assert time.monotonic() - started < 2.0
    assert "no answer within 0.4 s" in server.wait_for_log("background jobs are refused")
    server.wait_for_log("NOTICE the store can be written again")
    packet_type, after = client.ask(BACKGROUND, b"f", b"", b"after")
    assert packet_type == CREATED
    until(lambda: database.rows("handle") == [(stored,), (after,)])
    assert server.text(b"status") == b"f\t2\t0\t0\n.\n"
    server.process.terminate()
    server.wait_for_log("gearman-server ended")
    assert not [line for line in server.passed if "background jobs are refused" in line]  # logged only once


def test_a_background_job_by_http_is_answered_when_it_is_stored(
    database: StoreDatabase,
    locked: Callable[[], AbstractContextManager[None]],
    start_durable: Callable[..., ServerProcess],
) -> None:
    server = start_durable(database, "--store-timeout", "0.4", "-r", "http", "--http-port", "0")
    connection = http.client.HTTPConnection(server.announced["http"][0], timeout=20)

    def post() -> tuple[int, str | None]:
        connection.request("POST", "/f", b"w", {"X-Gearman-Background": "true", "X-Gearman-Unique": ""})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("X-Gearman-Job-Handle")

    with contextlib.closing(connection):
        with locked():
            assert [post()[0], post()[0]] == [503, 503]
        server.wait_for_log("NOTICE the store can be written again")
        status, handle = post()
    server.process.kill()
    assert handle is not None
    assert (status, database.rows("handle")) == (200, [(handle.encode(),)])


def test_completions_are_written_within_50_ms_though_nobody_waits_for_them(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_durable(database)
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    delays = []
    for _ in range(5):
        assert client.ask(BACKGROUND, b"f", b"", b"w")[0] == CREATED
        worker.send(PacketType.WORK_COMPLETE, take_job(worker), b"r")
        worker.sync()
        ended = time.monotonic()
        until(lambda: database.rows("id") == [])
        delays.append(time.monotonic() - ended)
    assert min(delays) < 0.1  # 50 ms, and the time of the check on a busy machine


def test_a_job_that_ends_before_the_next_batch_is_never_marked_as_running(
    database: StoreDatabase,
    locked: Callable[[], AbstractContextManager[None]],
    start_durable: Callable[..., ServerProcess],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    server = start_durable(database)
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    kept = client.ask(BACKGROUND, b"f", b"", b"kept")[1]
    assert take_job(worker) == kept
    until(lambda: database.rows("state") == [(1,)])
    # A foreground job that becomes a background job is stored as running.
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"u", b"w")[1]
    assert take_job(worker) == handle
    assert server.peer().ask(BACKGROUND, b"f", b"u", b"w") == (CREATED, handle)
    assert database.rows("handle, state") == [(kept, 1), (handle, 1)]


def test_a_start_waits_for_another_processs_lock_up_to_its_limit(
    database: StoreDatabase,
    locked: Callable[[], AbstractContextManager[None]],
    start_durable: Callable[..., ServerProcess],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    start_durable(database).stop()
    with locked():
        started = time.monotonic()
        done = run_command("--store", database.url, "--store-timeout", "3", "-p", "0")
        waited_s = time.monotonic() - started
    assert done.returncode == 1
    assert re.search("can't be used: database is locked", done.stderr)
    assert waited_s >= 3
