"""Who owns a store, what its URL may be, and how passwords stay hidden."""

import contextlib
import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gearman_client.packet import PacketType
from gearman_server.errors import OwnershipLostError, StartError, StoreError, UsageError
from gearman_server.stores import database as database_module
from gearman_server.stores.batch import Batch
from gearman_server.stores.database import Database
from gearman_server.stores.url import parse_url, shown


@pytest.fixture
def open_database(monkeypatch):
    """Opens a database as a server does, but waits for no other owner."""
    monkeypatch.setattr(database_module, "OWNER_PATIENCE_S", 0.2)
    opened = []

    def open_one(store):
        opened.append(Database(parse_url(store.url), timeout_s=5.0))
        opened[-1].open()
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.mark.in_every_database
def test_a_store_has_one_owner_who_is_named_to_others(database, start_durable, open_database):
    server = start_durable(database)
    with pytest.raises(StartError, match=f"belongs to another gearman-server: process {server.pid} on "):
        open_database(database)
    server.process.kill()
    server.process.wait()
    open_database(database)


@pytest.mark.in_every_database
def test_a_large_job_that_the_database_refuses_is_refused_alone(database, start_durable):
    server = start_durable(database)
    client = server.peer()
    packets = [(b"f", b"", b"small"), (b"f", b"", b"x" * 17_000_000), (b"f", b"", b"last")]
    for packet in packets:
        client.send(PacketType.SUBMIT_JOB_BG, *packet)
    kinds = [client.receive()[0] for _ in packets]
    refused = PacketType.ERROR if database.kind == "mysql" else PacketType.JOB_CREATED
    assert kinds == [PacketType.JOB_CREATED, refused, PacketType.JOB_CREATED]


def test_a_server_that_lost_its_store_to_another_one_ends(database, start_durable, open_database):
    server = open_database(database)
    server.break_off()
    server._drop_connection()
    database.execute("UPDATE gearman_store SET content = '17' WHERE name = 'epoch'")
    with pytest.raises(OwnershipLostError):
        server.write(Batch(), is_repeated=False)


def test_a_store_of_a_newer_version_is_left_alone(database, open_database):
    open_database(database).close()
    database.execute("UPDATE gearman_store SET content = '999' WHERE name = 'version'")
    with pytest.raises(StartError, match=r"version 999.*use a newer one"):
        open_database(database)


def test_a_file_that_can_not_be_used_is_one_line(run_command, tmp_path):
    done = run_command("--store", f"sqlite:///{tmp_path}/none/jobs.db", "-p", "0")
    assert done.returncode == 1
    assert re.fullmatch(r"gearman-server: the store sqlite:///\S+ can't be used: .*\n", done.stderr)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("oracle://u:secret@h/d", "oracle:// is no store"),
        ("secret", "that is no URL"),
    ],
)
def test_other_urls_are_refused_and_shown_without_a_password(url, message, run_command):
    with pytest.raises(UsageError, match=message) as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


def test_no_password_is_shown(run_command, tmp_path):
    url = "postgresql+psycopg://user:s3cret@127.0.0.1:1/db?password=s3cret&connect_timeout=1"
    assert shown(parse_url(url)) == "postgresql+psycopg://user:***@127.0.0.1:1/db"
    file = tmp_path / "url"
    file.write_text(url + "\n")
    by_file = run_command("--store-url-file", str(file), "-p", "0", "-v")
    by_environment = run_command("-p", "0", "-v", GEARMAN_STORE_URL=url)
    for done in (by_file, by_environment):
        assert done.returncode == 1
        assert "the store postgresql+psycopg://user:***@127.0.0.1:1/db can't be used" in done.stderr
        assert "s3cret" not in done.stderr


def test_a_failed_write_says_why_and_leaves_nothing(database, open_database):
    opened = open_database(database)
    database.execute("DROP TABLE gearman_jobs")
    batch = Batch()
    batch.deletes.append(1)
    with pytest.raises(StoreError, match="no such table: gearman_jobs"):
        opened.write(batch, is_repeated=False)


def test_a_file_of_the_first_version_is_brought_up_to_date(database, start_durable):
    written = (Path(__file__).parent / "version_1.sql").read_text()
    with contextlib.closing(sqlite3.connect(make_url(database.url).database)) as connection:
        connection.executescript(written)
    server = start_durable(database)
    server.wait_for_log("5 jobs are back from the store")
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    assigned = [worker.ask(PacketType.GRAB_JOB_ALL) for _ in range(4)]
    assert [body for _, body in assigned] == [
        b"H:old:2\0f\0key\0first",
        b"H:old:1\0f\0\0plain\0\xff",
        b"H:old:5\0f\0\0sum\0reduced",
        b"H:old:3\0f\0-\0",
    ]
    assert b"H:old:2\t1\t0\t1" in server.text(b"show jobs").splitlines()  # it was running
    # A job of the present version is among them.
    assert server.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"new") == (
        PacketType.JOB_CREATED,
        b"H:test:1000000001",
    )
    assert database.rows("COUNT(*)") == [(6,)]
