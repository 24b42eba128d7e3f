"""gearmand's options choose our stores, and `import` takes over the jobs that a real gearmand left in its tables."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request
from gearman_server.command.command_line import settings_of
from gearman_server.command.options import PARAMETERS

from ...gearmand import running_gearmand
from ..server_process import ServerProcess
from .conftest import StoreDatabase

LATER = b"2000000000"
#: Kind, and the arguments of the submission, with unique keys that gearmand can tell apart in its tables.
SUBMITTED = (
    (PacketType.SUBMIT_JOB_LOW_BG, b"f", b"low", b"1"),
    (PacketType.SUBMIT_JOB_BG, b"f", b"normal", b"\0binary\xff"),
    (PacketType.SUBMIT_JOB_HIGH_BG, b"f", b"high", b"3"),
    (PacketType.SUBMIT_JOB_BG, b"f", b"", b"no key"),
    (PacketType.SUBMIT_JOB_EPOCH, b"f", b"later", LATER, b"in 2033"),
)


@pytest.fixture
def gearmand(tmp_path: Path) -> Callable[..., None]:
    """Runs a gearmand with options, submits background jobs to it, and kills it."""

    def run(options: list[str], jobs: Iterable[tuple[int, *tuple[bytes, ...]]] = SUBMITTED) -> None:
        with running_gearmand(tmp_path, *options) as server:
            submit(socket.create_connection(("127.0.0.1", server.port), timeout=20), jobs)

    return run


def submit(connection: socket.socket, jobs: Iterable[tuple[int, *tuple[bytes, ...]]]) -> None:
    """Submits jobs; each is acknowledged."""
    parser = PacketParser(RESPONSE_MAGIC)
    with contextlib.closing(connection):
        for job in jobs:
            connection.sendall(encode_request(*job))
            answers: list[tuple[int, bytes]] = []
            while not answers:
                answers = parser.feed(connection.recv(65536))
            assert [packet_type for packet_type, _ in answers] == [PacketType.JOB_CREATED], answers


def queue_options(database: StoreDatabase) -> list[str]:
    """gearmand's own options for the database."""
    url = make_url(database.url)
    if database.kind == "sqlite":
        return ["-q", "libsqlite3", f"--libsqlite3-db={url.database}"]
    if database.kind == "mysql":
        port = url.port or 3306
        password = [f"--mysql-password={url.password}"] if url.password else []
        where = [f"--mysql-host={url.host}", f"--mysql-port={port}", f"--mysql-db={url.database}"]
        return ["-q", "MySQL", *where, f"--mysql-user={url.username}", *password]
    words = {"host": url.host, "port": url.port or 5432, "user": url.username, "dbname": url.database, **url.query}
    if url.password:
        words["password"] = url.password
    # gearmand looks for its table in all schemas, and makes none if another test has one.
    table = f"--libpq-table={make_url(database.url).query['application_name']}"
    return [
        "-q",
        "Postgres",
        table,
        "--libpq-conninfo=" + " ".join(f"{name}='{value}'" for name, value in words.items()),
    ]


@pytest.mark.in_every_database
def test_the_jobs_of_a_real_gearmand_are_taken_over(
    database: StoreDatabase,
    gearmand: Callable[..., None],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    start_server: Callable[..., ServerProcess],
) -> None:
    options = queue_options(database)
    gearmand(options)
    table = [f"--table={option.partition('=')[2]}" for option in options if option.startswith("--libpq-table=")]
    command = ["import", *table, "--from", database.url, "--store", database.url, "--job-handle-prefix", "H:test"]
    done = run_command(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("5 jobs are taken over from ")
    # The jobs are gone from gearmand's table.
    assert run_command(*command).stdout.startswith("0 jobs are taken over from ")
    # The options that started gearmand also start our server, over the same database.
    server = start_server(*options, "--verbose", "NOTICE")
    server.wait_for_log("5 jobs are back from the store")
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    assigned = []
    while (answer := worker.ask(PacketType.GRAB_JOB_UNIQ))[0] == PacketType.JOB_ASSIGN_UNIQ:
        assigned.append(tuple(answer[1].split(b"\0", 3)[2:]))
    assert assigned[0] == (b"high", b"3")
    assert set(assigned[1:3]) == {(b"normal", b"\0binary\xff"), (b"", b"no key")}
    assert assigned[3:] == [(b"low", b"1")]
    assert b"later" in server.text(b"show unique jobs")


def test_an_empty_workload_that_stops_gearmand_does_not_stop_the_import(
    database: StoreDatabase, gearmand: Callable[..., None], run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    gearmand(queue_options(database), [(PacketType.SUBMIT_JOB_BG, b"f", b"u", b"")])
    done = run_command("import", "--from", database.url, "--store", database.url, "--keep")
    assert done.stdout.startswith("1 jobs are taken over")
    assert database.rows("workload") == [(b"",)]
    with contextlib.closing(sqlite3.connect(database.file)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM gearman_queue").fetchone() == (1,)


def test_a_row_that_can_not_be_a_job_is_left_and_named(
    database: StoreDatabase, gearmand: Callable[..., None], run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    gearmand(queue_options(database), [(PacketType.SUBMIT_JOB_BG, b"a\x1bb", b"u", b"w"), *SUBMITTED[:1]])
    done = run_command("import", "--from", database.url, "--store", database.url)
    assert done.returncode == 0
    assert "a job of b'a\\x1bb' with the unique key b'u': The function name holds a control character" in done.stderr
    assert done.stdout.startswith("1 jobs are taken over")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--from", "sqlite:///{folder}/none.db", "--store", "sqlite:///{folder}/jobs.db"],
            "none.db, table gearman_queue: can't be read: there is no such file",
        ),
        (
            ["--from", "sqlite:///{folder}/other.db", "--store", "sqlite:///{folder}/jobs.db"],
            "other.db, table gearman_queue: can't be read: there is no such table; --table names another",
        ),
        (
            ["--from", "sqlite:///{folder}/other.db", "--table", "notes", "--store", "sqlite:///{folder}/jobs.db"],
            "other.db, table notes: is no table of gearmand's: it has no column unique_key",
        ),
        (
            ["--from", "memory", "--store", "sqlite:///{folder}/jobs.db"],
            "--from: that is no URL of a store: write sqlite:///FILE",
        ),
        (["--from", "redis://h", "--store", "memory"], "import needs --store URL"),
        (["--from", "redis://h", "--store", "sqlite:///{folder}/jobs.db"], "--from: redis:// is no store"),
        (["--store", "sqlite:///{folder}/jobs.db"], "--from"),
    ],
)
def test_a_failed_import_gives_one_line(
    words: list[str], message: str, run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE notes (text)")
    done = run_command("import", *(word.format(folder=tmp_path) for word in words))
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["other.db"]  # the import has made no file


@pytest.mark.parametrize(("driver", "extra"), [("psycopg", "postgresql"), ("pymysql", "mysql")])
def test_an_import_without_the_driver_names_the_package_to_install(driver: str, extra: str, tmp_path: Path) -> None:
    source = f"{extra}+{driver}://u@127.0.0.1:1/d"
    arguments = ["import", "--from", source, "--store", f"sqlite:///{tmp_path}/jobs.db"]
    without = f"import sys; sys.modules[{driver!r}] = None; from gearman_server.command.command_line import main"
    program = [sys.executable, "-c", f"{without}; main({arguments!r})"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    needed = f"needs the Python package {driver}: pip install 'gearman-manager[{extra}]'"
    assert done.stderr == f"gearman-server: gearmand's database {source} {needed}\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("-q builtin", None),
        ("-q libsqlite3 --libsqlite3-db=/q/jobs.db", "sqlite:////q/jobs.db"),
        ("-q MySQL --mysql-db=d --mysql-user=u --mysql-password=p", "mysql+pymysql://u:p@localhost:3306/d"),
        ("-q mysql --mysql-host=h --mysql-port=3307 --mysql-db=d", "mysql+pymysql://h:3307/d"),
        ("-q libdrizzle --libdrizzle-user=u", "mysql+pymysql://u@localhost:3306/gearman"),
        ("-q libdrizzle --libdrizzle-uds=/s", "mysql+pymysql://localhost:3306/gearman?unix_socket=%2Fs"),
        (
            "-q Postgres --libpq-conninfo=host=h+port=5433+dbname=d+user=u+sslmode=require",
            "postgresql+psycopg://u@h:5433/d?sslmode=require",
        ),
        ("-q Postgres --libpq-conninfo=host=a,b+port=1,2+dbname=d", "postgresql+psycopg:///d?host=a%3A1&host=b%3A2"),
    ],
)
def test_gearmands_options_choose_a_store(words: str, url: str | None) -> None:
    import click

    arguments = [word.replace("+", " ") for word in words.split()]
    given = click.Command("c", params=PARAMETERS).make_context("c", arguments).params
    store = settings_of(given).store
    assert (store and store.url) == url


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-q", "libsqlite3"], "--libsqlite3-db"),
        (["-q", "mysql"], "--mysql-db"),
        (["-q", "mysql", "--mysql-db", "d", "--mysql-port", "x"], "--mysql-port"),
        (["-q", "redis"], "-q redis"),
        (["-q", "postgres", "--libpq-conninfo", "nonsense"], "--libpq-conninfo"),
        (["-q", "postgres", "--libpq-conninfo", "host=h port=x"], "--libpq-conninfo: port x: that is no port"),
        (["-q", "libsqlite3", "--libsqlite3-db", "f", "--store", "sqlite:///g"], "-q and --store"),
    ],
)
def test_invalid_queue_options_are_refused(
    words: list[str], message: str, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_command(*words, "--check-args")
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--libsqlite3-db", "f"], "--libsqlite3-db has no effect without -q libsqlite3: no job is kept there"),
        (["--mysql-host", "h"], "--mysql-host has no effect without -q mysql: no job is kept there"),
        (
            ["-q", "libsqlite3", "--libsqlite3-db", "f", "--libpq-conninfo", "host=h"],
            "--libpq-conninfo has no effect without -q postgres: no job is kept there",
        ),
        (["-q", "libsqlite3", "--libsqlite3-db", "f"], None),
    ],
)
def test_the_message_for_an_unused_queue_option_names_the_option(
    words: list[str], said: str | None, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_command(*words, "--check-args")
    assert done.returncode == 0
    assert done.stderr == (f"gearman-server: {said}\n" if said else "")
