"""Letters of jobs that failed for good survive the server; a letter whose job is tried again becomes a job again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.extensions import JOB_FAILURE_OPTION, WORK_FAILURE
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from .conftest import StoreDatabase


@pytest.mark.in_every_database
def test_letters_survive_until_they_are_dropped_or_tried_again(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_durable(database)
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handles = [client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"u%d" % n, b"\0\xff%d" % n)[1] for n in range(3)]
    for handle in handles:
        assert worker.ask(PacketType.GRAB_JOB)[1].startswith(handle)
        worker.send(PacketType.WORK_EXCEPTION, handle, b"broken")
        worker.send(PacketType.WORK_FAIL, handle)
    worker.sync()
    listed = server.text(b"dead list")
    assert [line.split(b"\t")[0] for line in listed.splitlines()[:-1]] == handles
    until(lambda: database.rows("id") == [])

    server.process.kill()
    server = start_durable(database)
    assert server.text(b"dead list") == listed
    assert server.text(b"dead drop " + handles[0]) == b"OK 1\n"
    assert server.text(b"dead retry " + handles[1]) == b"OK 1\n"
    until(lambda: len(database.rows("id")) == 1)

    server.process.kill()
    server = start_durable(database)
    server.wait_for_log("jobs are back")
    assert server.text(b"dead list").startswith(handles[2])
    assert server.text(b"dead list").count(b"\n") == 2
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.GRAB_JOB_UNIQ)[1] == handles[1] + b"\0f\0u1\0\0\xff1"


def test_a_letter_too_large_for_a_mysql_packet_loses_its_traceback_and_the_store_goes_on(
    database_of: Callable[[str], StoreDatabase],
    start_durable: Callable[..., ServerProcess],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    database = database_of("mysql")
    [(packet_bytes,)] = database.rows("@@max_allowed_packet", "DUAL")
    server = start_durable(database)
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.OPTION_REQ, JOB_FAILURE_OPTION)[0] == PacketType.OPTION_RES
    workload = b"x" * (packet_bytes // 2 - 10_100)  # as large as a job can be there: the driver doubles it
    packet_type, handle = client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", workload)
    assert packet_type == PacketType.JOB_CREATED
    assert worker.ask(PacketType.GRAB_JOB)[0] == PacketType.JOB_ASSIGN
    worker.send(WORK_FAILURE, handle, b"fail", b"", b"", b"e" * 4096, b"t" * 32_768)
    worker.sync()
    until(lambda: database.rows("id") == [])
    assert database.rows("handle, LENGTH(workload)", "gearman_dead") == [(handle, len(workload))]
    assert database.rows("LENGTH(error) >= 1000, LENGTH(traceback)", "gearman_dead") == [(1, 0)]
    assert client.ask(PacketType.SUBMIT_JOB_BG, b"g", b"", b"w")[0] == PacketType.JOB_CREATED


def test_a_letter_and_the_delete_of_its_row_are_one_transaction(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_durable(database)
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    _, handle = client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    # The letter can't be written: then its row must not go either.
    database.execute("CREATE TRIGGER refuse BEFORE INSERT ON gearman_dead BEGIN SELECT RAISE(ABORT, 'no'); END")
    worker.ask(PacketType.GRAB_JOB)
    worker.send(PacketType.WORK_FAIL, handle)
    server.wait_for_log("fails: no")
    assert database.rows("handle") == [(handle,)]
    database.execute("DROP TRIGGER refuse")
    until(lambda: database.rows("handle") == [])
    server.process.kill()
    assert start_durable(database).text(b"dead list").startswith(handle)
