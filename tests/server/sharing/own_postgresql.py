"""PostgreSQL servers of a test's own, to be restarted, killed and promoted."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

_SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "max_wal_senders": "4"}
_SETTINGS["max_connections"] = "200"


class Node:
    """A PostgreSQL of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, which root may not."""
        path = next(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
        user = "postgres" if os.geteuid() == 0 else None
        subprocess.run([path, *arguments], user=user, stdout=subprocess.DEVNULL, timeout=60, check=True, cwd="/")

    def begin(self) -> None:
        """Start it."""
        given = " ".join(f"-c {name}={value}" for name, value in {**_SETTINGS, "port": str(self.port)}.items())
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder), "-w", "-l", log, "-o", given, "start")

    def end(self) -> None:
        """End it as a crash would."""
        self.run("pg_ctl", "-D", str(self.folder), "-w", "-m", "immediate", "stop")

    def ask(self, statement: str) -> object:
        """The first value of the answer."""
        engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            answer = connection.execute(text(statement))
            return answer.scalar() if answer.returns_rows else None


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for such servers. A test's own folder is closed to other users than root."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL's programs are missing (Debian: postgresql)")
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def begun(*nodes: Node) -> Iterator[None]:
    """They end afterwards, those of them that were begun."""
    try:
        yield
    finally:
        for node in nodes:
            if (node.folder / "postmaster.pid").exists():
                node.end()


def new_primary(folder: Path) -> Node:
    """A new one, begun."""
    node = Node(folder / "primary")
    node.run("initdb", "-D", str(node.folder), "-U", "postgres", "--auth=trust", "--no-sync")
    node.begin()
    return node
