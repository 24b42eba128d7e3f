"""Schedules over a durable store: each due time counts once, whatever happens to the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from .conftest import StoreDatabase

HOURLY = "schedules:\n  tick: {every: 1h, function: f, workload: w}\n"


@pytest.fixture
def start_scheduled(start_durable: Callable[..., ServerProcess], tmp_path: Path) -> Callable[..., ServerProcess]:
    """Starts a server over a database, with schedules."""

    def start(database: StoreDatabase, schedules: str = HOURLY, options: tuple[str, ...] = ()) -> ServerProcess:
        path = tmp_path / "policies.yaml"
        path.write_text(schedules)
        return start_durable(database, "--policies", str(path), "--verbose", "INFO", *options)

    return start


@pytest.mark.in_every_database
def test_a_run_that_was_missed_while_the_server_was_down_is_made_up_for_once(
    database: StoreDatabase, start_scheduled: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_scheduled(database)
    until(lambda: len(database.rows("name", "gearman_schedules")) == 1)
    server.stop()
    database.execute("UPDATE gearman_schedules SET handled_until = handled_until - 7200")
    server = start_scheduled(database)
    server.wait_for_log("schedule tick: job H:test:")
    until(lambda: len(database.rows("id")) == 1)
    server.stop()
    [(handled_until, last_run)] = database.rows("handled_until, last_run", "gearman_schedules")
    assert 0 <= time.time() - handled_until < 60
    assert last_run == handled_until
    server = start_scheduled(database)
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    server.wait_for_log("1 jobs are back from the store")
    assert worker.ask(PacketType.GRAB_JOB)[0] == PacketType.JOB_ASSIGN
    assert worker.ask(PacketType.GRAB_JOB)[0] == PacketType.NO_JOB


def test_a_killed_server_has_stored_both_the_job_and_its_mark_or_neither(
    database: StoreDatabase, start_scheduled: Callable[..., ServerProcess]
) -> None:
    every_second = "schedules:\n  tick: {every: 1s, function: f}\n"
    for _ in range(4):
        server = start_scheduled(database, every_second)
        server.wait_for_log("schedule tick: job H:test:")
        server.process.kill()
        server.process.wait()
    due_seconds = [int(submitted_at) for (submitted_at,) in database.rows("submitted_at")]
    assert len(due_seconds) == len(set(due_seconds))
    [(last_run,)] = database.rows("last_run", "gearman_schedules")
    assert (int(last_run) if last_run is not None else None) == max(due_seconds, default=None)


@pytest.mark.in_every_database
def test_a_triggered_schedule_is_answered_when_its_job_is_stored(
    database: StoreDatabase, start_scheduled: Callable[..., ServerProcess]
) -> None:
    server = start_scheduled(database)
    answer = server.text(b"schedules trigger tick")
    server.process.kill()
    assert answer.startswith(b"OK H:test:")
    assert [bytes(handle) for (handle,) in database.rows("handle")] == [answer.split()[1]]


def test_a_schedule_is_not_triggered_while_the_store_refuses_jobs(
    database: StoreDatabase, start_scheduled: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_scheduled(database, options=("--store-timeout", "0.4"))
    until(lambda: len(database.rows("name", "gearman_schedules")) == 1)
    with database.connect() as connection:
        connection.execute(text("BEGIN IMMEDIATE"))  # from here on no other process can write
        for _ in range(2):
            assert server.text(b"schedules trigger tick").startswith(b"ERR QUEUE_ERROR ")
    server.wait_for_log("the store can be written again")
    until(lambda: database.rows("id") == [])
    assert server.text(b"schedules trigger tick").startswith(b"OK ")
    assert len(database.rows("id")) == 1


def test_missed_runs_that_are_skipped_are_logged(
    database: StoreDatabase, start_scheduled: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    skipping = HOURLY.replace("}", ", missed: skip}")
    server = start_scheduled(database, skipping)
    until(lambda: len(database.rows("name", "gearman_schedules")) == 1)
    server.stop()
    database.execute("UPDATE gearman_schedules SET handled_until = handled_until - 86400")
    server = start_scheduled(database, skipping)
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400 + 3600))
    line = server.wait_for_log("schedule tick: runs of f were missed since 2")
    assert f"since {day} " in line
    assert database.rows("id") == []


@pytest.mark.in_every_database
def test_a_pause_is_written_before_its_answer_and_outlives_the_server(
    database: StoreDatabase, start_scheduled: Callable[..., ServerProcess]
) -> None:
    every_second = "schedules:\n  tick: {every: 1s, function: f}\n"
    server = start_scheduled(database, every_second)
    handle = server.text(b"schedules trigger tick").split()[1]
    assert server.text(b"schedules pause tick") == b"OK\r\n"
    server.process.kill()
    server.process.wait()
    count = len(database.rows("id"))
    server = start_scheduled(database, every_second)
    before = server.text(b"schedules list").splitlines()[0].split(b"\t")
    assert before[9] != b"", "it is paused"
    assert before[8] >= handle
    assert len(database.rows("id")) == count
    assert server.text(b"schedules resume tick") == b"OK\r\n"
    server.wait_for_log("schedule tick: job H:test:")
    [(paused_at,)] = database.rows("paused_at", "gearman_schedules")
    assert paused_at is None
