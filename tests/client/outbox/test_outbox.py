"""Rows in the outbox: the same from every kind of connection, in its transaction, and none after a mistake."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from gearman_client import ArgumentError, Client, JsonCodec, OutboxError, outbox, set_default_client, task
from gearman_client.client.server_choice import hash_of
from gearman_client.errors import GearmanError

from ...databases import MAKERS, StoreDatabase

WORKLOAD = b"\0\xff%s?:x'"
WRONG: Any = {"timeout_s": 3}
COLUMNS = "submission, function_name, unique_key, order_key, server_number, job_options, workload"
OF_RELAY = "is_aside, due_ms, attempts, relay, server, sent_ms, reason"


def rows(database: StoreDatabase, columns: str = COLUMNS) -> list[tuple[Any, ...]]:
    return database.rows(columns, "gearman_outbox ORDER BY id")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A SQLite database with a table."""
    connection = sqlite3.connect(tmp_path / "shop.db")
    outbox.create_table(connection)
    yield connection
    connection.close()


def test_a_row_holds_the_job_whatever_the_connection_is(connection: Any, database: StoreDatabase) -> None:
    outbox.create_table(connection)
    outbox.create_table(connection)
    connection.commit()
    before = int(time.time() * 1000)
    first = outbox.background(connection, "f", WORKLOAD)
    outbox.background(connection, "é", json={"to": "ü"}, submission="s", unique="u", key="k", tags=["a&b", "ß"])
    assert rows(database) == []  # not committed
    connection.commit()
    one, two = rows(database)
    assert one == (first, "f", "", None, None, "", WORKLOAD)
    assert two[:5] + two[6:] == ("s", "é", "u", "k", hash_of(b"u"), '{"to":"ü"}'.encode())
    assert sorted(two[5].split("&")) == ["key=k", "tag=%C3%9F", "tag=a%26b"]
    assert len(first) == 32
    assert rows(database, OF_RELAY) == [(0, 0, 0, None, None, None, None)] * 2
    assert before <= rows(database, "created_ms")[0][0] <= time.time() * 1000


def test_a_rollback_takes_the_row_back_and_many_are_written_in_order(connection: Any, database: StoreDatabase) -> None:
    outbox.create_table(connection)
    connection.commit()
    outbox.background(connection, "f", b"never")
    connection.rollback()
    ids = outbox.background_many(connection, "f", (b"%d" % number for number in range(1201)), key="k")
    connection.commit()
    assert rows(database, "submission, workload") == [(name, b"%d" % at) for at, name in enumerate(ids)]
    assert len(set(ids)) == 1201


def test_a_missing_table_is_named_with_its_remedy(connection: Any, database: StoreDatabase) -> None:
    with pytest.raises(OutboxError, match=rf'create_table\(connection\).*create_statements\("{database.kind}"\)'):
        outbox.background(connection, "f", b"")
    connection.rollback()
    with pytest.raises(OutboxError, match="no table of_others"):
        outbox.Outbox(table="of_others").background_many(connection, "f", [b"1", b"2"])


def test_a_table_of_another_name_and_statements_for_migrations(database: StoreDatabase) -> None:
    for statement in outbox.create_statements(database.kind, "shop_outbox"):
        database.execute(statement)
    shop = outbox.Outbox(table="shop_outbox", codec=JsonCodec(), namespace="shop/")
    with database.connect() as connection, connection.begin():
        shop.background(connection, "f", {"a": 1})
    assert database.rows("function_name, workload", "shop_outbox") == [("shop/f", b'{"a":1}')]


def test_a_schema_stands_before_the_table(database: StoreDatabase) -> None:
    schema = {"sqlite": "main"}.get(database.kind) or str(
        database.rows("current_schema()" if database.kind == "postgresql" else "DATABASE()", "(SELECT 1) one")[0][0]
    )
    there = outbox.Outbox(table=f"{schema}.gearman_outbox")
    with database.connect() as connection, connection.begin():
        there.create_table(connection)
        there.background(connection, "f", b"1")
    assert rows(database, "workload") == [(b"1",)]


def test_times_from_now_are_points_in_time(file: sqlite3.Connection) -> None:
    now = time.time()
    outbox.background(file, "f", b"", delay="5m", expires="1h")
    outbox.background(file, "f", b"", delay=0)
    (options,), (none,) = file.execute("SELECT job_options FROM gearman_outbox ORDER BY id").fetchall()
    pairs = dict(pair.split("=") for pair in options.split("&"))
    assert set(pairs) == {"at", "expires"}
    assert 300 <= int(pairs["at"]) / 1000 - now < 310
    assert 3600 <= int(pairs["expires"]) / 1000 - now < 3610
    assert none == ""


@pytest.mark.parametrize(
    ("options", "key", "meeting"),
    [
        ({"unique": "u"}, "u", b"u"),
        ({"key": "k"}, "k", b"k"),
        ({"unique": "u", "key": "k"}, "k", b"u"),
        ({"unique": "-"}, None, b"work"),
        ({"unique": ""}, None, None),
    ],
)
def test_the_order_and_the_server_of_a_row(
    file: sqlite3.Connection, options: Any, key: str | None, meeting: bytes | None
) -> None:
    outbox.background(file, "f", b"work", **options)
    ((order, number),) = file.execute("SELECT order_key, server_number FROM gearman_outbox").fetchall()
    assert order == key
    assert number is None if meeting is None else number % 3 == hash_of(meeting) % 3


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda c: outbox.background(c, "f"), TypeError, "needs a workload"),
        (lambda c: outbox.background(c, "", b""), ArgumentError, "must not be empty"),
        (lambda c: outbox.background(c, "f" * 513, b""), ArgumentError, "function's name has 513 bytes"),
        (lambda c: outbox.background(c, "f", b"", unique="u" * 65), ArgumentError, "unique id has 65 bytes"),
        (lambda c: outbox.background(c, "f", 3), ArgumentError, "expected bytes or str"),
        (lambda c: outbox.background(c, "f", b"", retries=-1), ArgumentError, "retries -1"),
        (lambda c: outbox.background(c, "f", b"", **WRONG), TypeError, "timeout_s"),
        (lambda c: outbox.background(c, "f", b"", batch="b"), ArgumentError, "Client.batch"),
        (lambda c: outbox.background(c, "f", b"", at=1.0, delay=1), ArgumentError, "at and delay"),
        (lambda c: outbox.background(c, "f", b"", submission="s" * 65), ArgumentError, "1 to 64 bytes"),
        (lambda c: outbox.background(c, "f\udcff", b""), ArgumentError, "not UTF-8"),
        (lambda c: outbox.background_many(c, "f", [b""], submission="s"), ArgumentError, "many jobs would be one"),
        (lambda c: outbox.background_many(c, "f", b"abc"), ArgumentError, "expected a list"),
        (lambda _: outbox.background(None, "f", b""), ArgumentError, "NoneType is no connection.*Session"),
        (lambda _: outbox.background(create_engine("sqlite://"), "f", b""), ArgumentError, "Connection or Session"),
        (lambda _: outbox.create_statements("oracle"), ArgumentError, "sqlite, postgresql or mysql"),
        (lambda _: outbox.Outbox(table="a; b"), ArgumentError, "letters, digits"),
    ],
)
def test_a_mistake_inserts_nothing(
    file: sqlite3.Connection, call: Callable[[Any], object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        call(file)
    assert file.execute("SELECT count(*) FROM gearman_outbox").fetchone() == (0,)


def test_an_asynchronous_connection_gets_the_row_by_run_sync(tmp_path: Path) -> None:
    for database in MAKERS["postgresql"](tmp_path):
        asyncio.run(write_asynchronously(database))
        assert rows(database, "workload") == [(b"1",)]


async def write_asynchronously(database: StoreDatabase) -> None:
    engine = create_async_engine(database.url)
    async with AsyncSession(engine) as session, session.begin():
        await session.run_sync(outbox.create_table)
        with pytest.raises(ArgumentError, match=r"AsyncSession is asynchronous.*run_sync"):
            outbox.background(session, "f", b"2")
        await session.run_sync(lambda session: outbox.background(session, "f", b"1"))
    async with engine.connect() as connection:
        with pytest.raises(ArgumentError, match="run_sync"):
            outbox.background(connection, "f", b"2")
        driver = (await connection.get_raw_connection()).driver_connection
        with pytest.raises(ArgumentError, match=r"psycopg.*is asynchronous"):
            outbox.background(driver, "f", b"2")
    await engine.dispose()


@task(name="mails.send")
def send(to: str, copies: int = 1) -> None:
    """Send a mail."""


def test_a_task_is_written_with_its_arguments_and_options(file: sqlite3.Connection) -> None:
    client = Client("127.0.0.1:1", namespace="shop/")
    set_default_client(client)
    try:
        name = send.options(retries=2, submission="s").outbox(file, "ann", copies=2)
    finally:
        set_default_client(None)
    send.with_options(client=client).outbox(file, "bob")
    found = file.execute("SELECT submission, function_name, job_options, workload FROM gearman_outbox").fetchall()
    assert found[0] == (name, "shop/mails.send", "retries=2", b'{"args": ["ann"], "kwargs": {"copies": 2}}')
    assert found[1][1:] == ("shop/mails.send", "", b'{"args": ["bob"], "kwargs": {}}')
    with pytest.raises(TypeError, match="to"):
        send.outbox(file)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="resubmit does not apply to outbox"):
        send.options(resubmit=False).outbox(file, "ann")
    assert issubclass(OutboxError, GearmanError)
