"""Durable jobs beside gearmand's libsqlite3 queue, and the start with a million. Every figure is from a fresh server.

The databases are those of the tests: `GEARMAN_TEST_POSTGRESQL_URL` and `GEARMAN_TEST_MYSQL_URL`. The files are in a
folder below `build/`, on the disk of the checkout.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from gearload import BUILD, gearload
from scope import Scope
from servers import Server, gearmand, ours, started
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

POSTGRESQL: Final = os.environ.get("GEARMAN_TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/test")
MYSQL: Final = os.environ.get("GEARMAN_TEST_MYSQL_URL", "mysql+pymysql://root@127.0.0.1:3306/test")
MILLION: Final = 1_000_000
WORKLOAD_BYTES: Final = 100

#: A function that makes the command to start a server on a port.
Command = Callable[[int], list[str]]


@dataclass(frozen=True)
class Row:
    """Submissions: gearload's arguments without the number of jobs, the numbers of jobs, and the bars."""

    arguments: str
    ours: int
    theirs: int
    at_least_times: float
    at_least_of_memory: float | None = None


ROWS: Final = (
    Row("-c 1 -d 1", 3000, 1000, 1.7),
    Row("-c 16 -d 10", 100_000, 2000, 45.0, 0.3),
    Row("-c 4 -d 100", 100_000, 2000, 45.0, 0.3),
)
DRAIN: Final = "drain -n 60000 -w 16"
AT_LEAST_OF_MEMORY_DRAIN: Final = 0.5
DATABASE_ROW: Final = "submit -n 30000 -c 16 -d 10"
AT_LEAST_BY_DATABASE: Final = 10_000


def report(scope: Scope) -> Iterator[str]:
    """The subject's section of the report."""
    yield f"Durable jobs, medians of {scope.rounds} rounds"
    yield ""
    yield "| | jobs/s | bar | gearmand, libsqlite3 | times | bar | in memory | of that | bar | |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    for row in ROWS:
        if scope.wants(row.arguments):
            yield _submission_line(row, scope.rounds)
    if scope.wants(DRAIN):
        yield _drain_line(scope.rounds)
    for name, url in (("PostgreSQL", POSTGRESQL), ("MariaDB", MYSQL)):
        if scope.wants(name):
            yield _database_line(name, url, scope.rounds)
    if scope.wants("million"):
        yield from ("", *_million())


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A folder on the disk of the checkout, which is removed afterwards."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        yield Path(folder)


def in_memory(_folder: Path, port: int) -> list[str]:
    """Our server's command, without a store."""
    return ours(port)


def in_sqlite(folder: Path, port: int) -> list[str]:
    """Our server's command, with a store in the folder."""
    return [*ours(port), "--store", f"sqlite:///{folder / 'jobs.db'}"]


def _gearmand(folder: Path, port: int) -> list[str]:
    return [*gearmand(port), "-q", "libsqlite3", f"--libsqlite3-db={folder / 'gearmand.db'}"]


def _rate(command: Callable[[Path, int], list[str]], arguments: str, before: str | None = None) -> float:
    with own_folder() as folder, started(partial(command, folder)) as server:
        if before is not None:
            gearload(server.port, before)
        return gearload(server.port, arguments)["jobs_per_s"]


def _submission_line(row: Row, rounds: int) -> str:
    durable, theirs, memory = [], [], []
    for _ in range(rounds):
        durable.append(_rate(in_sqlite, f"submit -n {row.ours} {row.arguments}"))
        theirs.append(_rate(_gearmand, f"submit -n {row.theirs} {row.arguments}"))
        memory.append(_rate(in_memory, f"submit -n {row.ours} {row.arguments}"))
    rate, their_rate, memory_rate = median(durable), median(theirs), median(memory)
    times, of_memory = rate / their_rate, rate / memory_rate
    is_met = times >= row.at_least_times and of_memory >= (row.at_least_of_memory or 0)
    bar = f"≥ {row.at_least_of_memory}" if row.at_least_of_memory else ""
    return (
        f"| submit {row.arguments} | {rate:,.0f} | | {their_rate:,.0f} | {times:.1f} | ≥ {row.at_least_times}"
        f" | {memory_rate:,.0f} | {of_memory:.2f} | {bar} | {_verdict(is_met)} |"
    )


def _drain_line(rounds: int) -> str:
    before = "submit -n 60000 -c 4 -d 100"
    durable, memory = [], []
    for _ in range(rounds):
        durable.append(_rate(in_sqlite, DRAIN, before))
        memory.append(_rate(in_memory, DRAIN, before))
    rate, memory_rate = median(durable), median(memory)
    of_memory = rate / memory_rate
    return (
        f"| {DRAIN} | {rate:,.0f} | | | | | {memory_rate:,.0f} | {of_memory:.2f} | ≥ {AT_LEAST_OF_MEMORY_DRAIN}"
        f" | {_verdict(of_memory >= AT_LEAST_OF_MEMORY_DRAIN)} |"
    )


def _database_line(name: str, url: str, rounds: int) -> str:
    rates = []
    for _ in range(rounds):
        with own_database(url) as own, started(lambda port, own=own: [*ours(port), "--store", own]) as server:
            rates.append(gearload(server.port, DATABASE_ROW)["jobs_per_s"])
    is_met = median(rates) >= AT_LEAST_BY_DATABASE
    bar = f"≥ {AT_LEAST_BY_DATABASE:,}"
    return f"| {name}: {DATABASE_ROW} | {median(rates):,.0f} | {bar} | | | | | | | {_verdict(is_met)} |"


@contextlib.contextmanager
def own_database(url: str) -> Iterator[str]:
    """The URL of a new schema (PostgreSQL) or database (MySQL), which is dropped afterwards."""
    name = f"gearman_{uuid.uuid4().hex}"
    kind = "SCHEMA" if url.startswith("postgresql") else "DATABASE"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    parsed = make_url(url)
    own = (
        parsed.update_query_dict({"options": f"-csearch_path={name}"})
        if kind == "SCHEMA"
        else parsed.set(database=name)
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE {kind} {name}"))
        yield own.render_as_string(hide_password=False)
        connection.execute(text(f"DROP {kind} {name}{' CASCADE' if kind == 'SCHEMA' else ''}"))
    engine.dispose()


def _million() -> Iterator[str]:
    """Start with a million jobs in the file: time until the first is served, until all are loaded, and their memory."""
    with own_folder() as folder:
        with started(partial(in_sqlite, folder)) as server:
            before_bytes = server.resident_bytes()
            gearload(server.port, f"submit -n {MILLION} -c 4 -d 100 -s {WORKLOAD_BYTES}")
        launched = time.monotonic()
        with started(partial(in_sqlite, folder)) as server:
            gearload(server.port, "drain -n 1 -w 1")
            first_s = time.monotonic() - launched - 0.1  # gearload waits 0.1 s before it ends
            while _queued(server) < MILLION - 1:
                time.sleep(0.1)
            all_s = time.monotonic() - launched
            each_bytes = (server.resident_bytes() - before_bytes) / MILLION
    yield f"A million durable jobs of {WORKLOAD_BYTES} bytes in SQLite"
    yield ""
    yield "| | | bar | |"
    yield "|---|--:|--:|---|"
    yield f"| from the start to the first job served | {first_s:.1f} s | ≤ 2 s | {_verdict(first_s <= 2)} |"
    yield f"| all of them loaded | {all_s:.1f} s | ≤ 30 s | {_verdict(all_s <= 30)} |"
    yield f"| memory of each | {each_bytes:.0f} bytes | ≤ 450 | {_verdict(each_bytes <= 450)} |"


def _queued(server: Server) -> int:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"status\n")
        line = connection.makefile("rb").readline()
    return int(line.split(b"\t")[1]) if b"\t" in line else 0


def _verdict(is_met: bool) -> str:
    return "ok" if is_met else "MISSED"
