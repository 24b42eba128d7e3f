"""The owner of a store, valid URLs, and hidden passwords."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearman_client.packet import PacketType, encode_request
from gearman_server.errors import OwnershipLostError, StartError, StoreError, UsageError
from gearman_server.jobs.kept_results import Ending, KeptResult
from gearman_server.stores import database as database_module
from gearman_server.stores import ownership
from gearman_server.stores.batch import Batch
from gearman_server.stores.database import Database
from gearman_server.stores.engine import parse_url, shown
from gearman_server.stores.results_table import read_results

from ..server_process import ServerProcess
from .conftest import StoreDatabase


@pytest.fixture
def open_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[StoreDatabase], Database]]:
    """Opens a database as a server does, but does not wait for another owner."""
    monkeypatch.setattr(ownership, "OWNER_PATIENCE_S", 0.2)
    opened = []

    def open_one(store: StoreDatabase) -> Database:
        opened.append(Database(parse_url(store.url), timeout_s=5.0))
        opened[-1].open()
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.mark.in_every_database
def test_a_store_has_one_owner_whose_name_other_servers_are_told(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    open_database: Callable[[StoreDatabase], Database],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="gearman_server")
    server = start_durable(database)
    with pytest.raises(StartError, match=f"belongs to another gearman-server: process {server.pid} on "):
        open_database(database)
    (told,) = caplog.messages  # reported at once, and once
    assert f"belongs to another gearman-server (process {server.pid} on " in told
    assert told.endswith("s at most for its end")
    server.process.kill()
    server.process.wait()
    open_database(database)


@pytest.mark.in_every_database
def test_only_a_job_that_is_too_large_for_the_database_is_refused(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database)
    client = server.peer()
    packets = [(b"f", b"", b"small"), (b"f", b"", b"x" * 17_000_000), (b"f", b"", b"last")]
    for packet in packets:
        client.send(PacketType.SUBMIT_JOB_BG, *packet)
    kinds = [client.receive()[0] for _ in packets]
    refused = PacketType.ERROR if database.kind == "mysql" else PacketType.JOB_CREATED
    assert kinds == [PacketType.JOB_CREATED, refused, PacketType.JOB_CREATED]


def test_many_jobs_with_long_names_fit_into_mysqls_statements(
    database_of: Callable[[str], StoreDatabase], start_durable: Callable[..., ServerProcess]
) -> None:
    server = start_durable(database_of("mysql"))
    client = server.peer()
    long = [encode_request(PacketType.SUBMIT_JOB_BG, b"%04d" % n + b"f" * 8188, b"", b"w" * 8190) for n in range(1600)]
    sending = threading.Thread(target=client.socket.sendall, args=(b"".join(long),))
    sending.start()
    assert {client.receive()[0] for _ in long} == {PacketType.JOB_CREATED}
    sending.join()


def test_a_postgresql_that_has_become_read_only_is_trouble_of_the_store_and_refuses_no_single_job(
    database_of: Callable[[str], StoreDatabase], start_durable: Callable[..., ServerProcess]
) -> None:
    database = database_of("postgresql")
    server = start_durable(database)
    client = server.peer()
    assert client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")[0] == PacketType.JOB_CREATED
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE SQLSTATE ''25006'' USING MESSAGE = ''read-only transaction''; END'"
    )
    database.execute("CREATE TRIGGER refuse BEFORE INSERT ON gearman_jobs EXECUTE FUNCTION refuse()")
    assert client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")[0] == PacketType.ERROR
    assert "read-only transaction" in server.wait_for_log("background jobs are refused")
    database.execute("DROP TRIGGER refuse ON gearman_jobs")
    server.wait_for_log("NOTICE the store can be written again")
    assert client.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")[0] == PacketType.JOB_CREATED


def test_a_server_that_lost_its_store_to_another_one_ends(
    database: StoreDatabase,
    start_durable: Callable[..., ServerProcess],
    open_database: Callable[[StoreDatabase], Database],
) -> None:
    server = open_database(database)
    server.break_off()
    server._drop_connection()
    database.execute("UPDATE gearman_store SET content = '17' WHERE name = 'epoch'")
    with pytest.raises(OwnershipLostError):
        server.write(Batch(), is_repeated=False)


def test_a_store_of_a_newer_version_is_left_alone(
    database: StoreDatabase, open_database: Callable[[StoreDatabase], Database]
) -> None:
    open_database(database).close()
    database.execute("UPDATE gearman_store SET content = '999' WHERE name = 'version'")
    with pytest.raises(StartError, match=r"version 999.*use a newer one"):
        open_database(database)


def test_a_file_that_can_not_be_used_gives_one_line(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = run_command("--store", f"sqlite:///{tmp_path}/none/jobs.db", "-p", "0")
    assert done.returncode == 1
    line = rf"gearman-server: the store sqlite:///\S+ can't be used: .*: there is no folder {tmp_path}/none\n"
    assert re.fullmatch(line, done.stderr)


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A writable folder, and the same folder mounted read-only."""
    writable, read_only = tmp_path / "writable", tmp_path / "read-only"
    writable.mkdir()
    read_only.mkdir()
    if subprocess.run(["mount", "--bind", "-o", "ro", writable, read_only], check=False).returncode != 0:
        pytest.skip("only root may mount a file system")
    yield writable, read_only
    subprocess.run(["umount", "--lazy", read_only], check=True)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_read_only_disk_is_named_at_the_start(
    read_only_folder: tuple[Path, Path],
    database_in: Callable[[Path], StoreDatabase],
    start_durable: Callable[..., ServerProcess],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    is_there: bool,
) -> None:
    writable, read_only = read_only_folder
    if is_there:
        start_durable(database_in(writable)).stop()
    done = run_command("--store", f"sqlite:///{read_only}/jobs.db", "-p", "0")
    assert done.returncode == 1
    expected = (
        rf"gearman-server: the store sqlite:///\S+/jobs.db can't be used: .*{'R' if is_there else 'r'}ead-only .*\n"
    )
    assert re.fullmatch(expected, done.stderr)
    assert str(read_only) in done.stderr.partition("can't be used")[2]


@pytest.mark.parametrize("what", ["jobs.db", "jobs.db-wal", "jobs.db-shm", "jobs.db-owner", ""])
def test_a_database_that_this_user_may_not_write_is_reported_at_the_start(
    tmp_path: Path, database_in: Callable[[Path], StoreDatabase], start_durable: Callable[..., ServerProcess], what: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if what:
        server = start_durable(database_in(folder))
        server.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
        server.process.kill()
        server.process.wait()
    (folder / what).chmod(0o555)
    # Root may write everything, unless that right is taken away.
    without_power = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    command = [sys.executable, "-m", "gearman_server", "--store", f"sqlite:///{folder}/jobs.db", "-p", "0"]
    done = subprocess.run([*without_power, *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    line = rf"gearman-server: the store sqlite:///\S+ can't be used: .*: (this user may not write .*)?{folder / what}\n"
    assert re.fullmatch(line, done.stderr)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        (
            "mysql+pymysql://u:secret@h",
            r"mysql\+pymysql:// needs a database, as in mysql\+pymysql://USER@HOST/DATABASE",
        ),
        ("mysql+pymysql://u:secret@h/?charset=utf8", "needs a database"),
        ("oracle://u:secret@h/d", "oracle:// is no store"),
        ("secret", "that is no URL"),
    ],
)
def test_other_urls_are_refused_and_shown_without_a_password(
    url: str, message: str, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


def test_no_password_is_shown(run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
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


def test_a_failed_write_says_why_and_leaves_nothing(
    database: StoreDatabase, open_database: Callable[[StoreDatabase], Database]
) -> None:
    opened = open_database(database)
    database.execute("DROP TABLE gearman_jobs")
    batch = Batch()
    batch.deletes.append(1)
    with pytest.raises(StoreError, match="no such table: gearman_jobs"):
        opened.write(batch, is_repeated=False)


def test_the_repeat_of_a_failed_batch_deletes_only_the_rows_that_are_left(
    database: StoreDatabase, open_database: Callable[[StoreDatabase], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "DELETES_AT_ONCE", 10)
    opened = open_database(database)
    database.execute(
        "WITH RECURSIVE some(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM some WHERE id < 35)"
        " INSERT INTO gearman_jobs (id, state, priority, requeues, failures, submitted_at, handle, function_name,"
        " unique_key, workload) SELECT id, 0, 1, 0, 0, 0, 'h', 'f', '', '' FROM some"
    )
    batch = Batch()
    batch.deletes = list(range(1, 36))
    batch.results[b"H:test:34"] = KeptResult(b"H:test:34", b"f", Ending.COMPLETE, b"r", b"", 0, b"0", b"0", 1.0, 2.0)
    database.execute("ALTER TABLE gearman_results RENAME TO away")  # the rest of the batch will fail because of this
    with pytest.raises(StoreError):
        opened.write(batch, is_repeated=False)
    left = {number for (number,) in database.rows("id")}
    assert 34 in left  # until its result is there
    assert set(batch.deletes) == left
    assert len(left) <= 11
    database.execute("ALTER TABLE away RENAME TO gearman_results")
    assert opened.write(batch, is_repeated=False) == []
    assert database.rows("id") == []
    assert list(batch.results.values()) == opened.call(read_results)


def test_a_file_of_the_first_version_is_migrated(
    database: StoreDatabase, start_durable: Callable[..., ServerProcess]
) -> None:
    written = (Path(__file__).parent / "version_1.sql").read_text()
    with contextlib.closing(sqlite3.connect(database.file)) as connection:
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
    packet_type, handle = server.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"new")
    assert packet_type == PacketType.JOB_CREATED
    assert int(handle.removeprefix(b"H:test:")) > 1_000_000_000
    assert database.rows("COUNT(*)") == [(6,)]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///{folder}/jobs.db?foo=secret", "foo"),
        ("mysql+pymysql://u:secret@127.0.0.1:1/d?foo=secret&charset=utf8", "foo, charset"),
        ("mysql+pymysql://u:secret@127.0.0.1:1/d?connect_timeout=secret", "connect_timeout"),
        ("mysql+pymysql://u:secret@127.0.0.1:1/d?charset=secret", "charset"),
    ],
)
@pytest.mark.parametrize(
    "command", [("-p", "0", "--store"), ("import", "--store", "sqlite:///{folder}/ours.db", "--from")]
)
def test_a_value_that_the_driver_refuses_is_reported_without_the_value(
    url: str,
    words: str,
    command: tuple[str, ...],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    (tmp_path / "jobs.db").touch()
    refused = run_command(*(word.format(folder=tmp_path) for word in (*command, url)), "--job-handle-prefix", "H:test")
    assert refused.returncode == 1
    assert f"the driver does not take what stands behind the ? of the URL ({words}): correct it" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "secret" not in refused.stderr
