"""Pauses of functions over a durable store: what was acknowledged holds after a restart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from .conftest import StoreDatabase

OK = b"OK\r\n"
#: As long as a name in a text command may be, about, and no text in any encoding of a database.
LONG = b"\xff" * 8000


@pytest.mark.in_every_database
def test_a_pause_holds_after_a_kill_and_a_resumption_too(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    for name in (b"f", b"g", LONG):
        assert server.text(b"pause function " + name) == OK
    assert server.text(b"resume function g") == OK
    held = server.text(b"holds")
    server.process.kill()
    server.process.wait()
    server = start_durable(database)
    assert sorted(server.text(b"holds").splitlines()) == sorted(held.splitlines())
    assert [line.split(b"\t")[0] for line in sorted(held.splitlines())] == [b".", rb"\xff" * 8000, b"f"]
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    packet_type, handle = server.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    assert packet_type == PacketType.JOB_CREATED
    assert worker.ask(PacketType.GRAB_JOB)[0] == PacketType.NO_JOB
    worker.send(PacketType.PRE_SLEEP)
    assert server.text(b"resume function f") == OK
    assert worker.receive() == (PacketType.NOOP, b"")
    assert worker.ask(PacketType.GRAB_JOB) == (PacketType.JOB_ASSIGN, handle + b"\0f\0w")
    server.process.kill()
    server.process.wait()
    assert [bytes(name) for (name,) in database.rows("function_name", "gearman_functions")] == [LONG]


def test_while_the_store_can_not_be_written_the_answer_says_so_and_it_is_written_later(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess], until: Callable[[Callable[[], bool]], None]
) -> None:
    server = start_durable(database, "--store-timeout", "0.4")
    with database.connect() as connection:
        connection.execute(text("BEGIN IMMEDIATE"))  # from here on no other process can write
        for _ in range(2):
            assert server.text(b"pause function f").startswith(b"ERR NOT_STORED ")
        assert server.text(b"holds").startswith(b"f\tpaused\t")
    until(lambda: len(database.rows("function_name", "gearman_functions")) == 1)
    server.wait_for_log("the store can be written again")
    assert server.text(b"resume function f") == OK
    assert database.rows("function_name", "gearman_functions") == []
