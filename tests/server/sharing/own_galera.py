"""A Galera cluster of a test's own: three MariaDB nodes, each on a loopback address of its own with the usual ports."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
#: Each node has the ports 3306, 4567 and 4568 of its address.
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
_DATABASE = "gearman"
_START_WITHIN_S = 30.0
#: A killed node is left out after two seconds, not after the usual five.
_EVICTION = "evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;gcache.size=16M"


class GaleraNode:
    """One of the nodes."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.url = f"mysql+pymysql://root@{address}:3306/{_DATABASE}"
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, *, is_first: bool = False) -> None:
        """Start it; it is not ready yet."""
        listen = f"gmcast.listen_addr=tcp://{self.address}:4567"
        command = ["mariadbd", "--no-defaults", f"--datadir={self.folder}", f"--socket={self.folder}/socket"]
        command += [
            f"--bind-address={self.address}",
            f"--pid-file={self.folder}/pid",
            f"--log-error={self.folder}/log.err",
        ]
        command += ["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0"]
        command += ["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--performance-schema=OFF"]
        command += ["--wsrep-on=ON", f"--wsrep-provider={PROVIDER}", f"--wsrep-provider-options={_EVICTION};{listen}"]
        command += [f"--wsrep-node-address={self.address}", "--wsrep-sst-method=rsync"]
        command += [f"--wsrep-cluster-address=gcomm://{','.join(ADDRESSES)}"]
        if is_first:
            command.append("--wsrep-new-cluster")
        if os.geteuid() == 0:
            command.append("--user=mysql")
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def await_synced(self) -> None:
        """Wait until it takes part."""
        give_up_at = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < give_up_at and self._process is not None and self._process.poll() is None:
            with suppress(OperationalError):
                if self.ask("SHOW STATUS LIKE 'wsrep_local_state_comment'", database="") == "Synced":
                    return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log.err").read_text(errors="replace")[-3000:])

    def ask(self, statement: str, *, database: str = _DATABASE) -> object:
        """The last column of the answer's first row."""
        url = f"mysql+pymysql://root@{self.address}:3306/{database}"
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            answer = connection.execute(text(statement))
            row = answer.first() if answer.returns_rows else None
            return None if row is None else row[-1]

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def galera_cluster() -> Iterator[tuple[GaleraNode, GaleraNode, GaleraNode]]:
    """Three nodes that are in step, with an empty database. They are killed afterwards."""
    for program in ("mariadbd", "mariadb-install-db"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing (Debian: mariadb-server)")
    if not PROVIDER.exists():
        pytest.skip("Galera is missing (Debian: galera-4)")
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    folder.chmod(0o755)
    nodes = [GaleraNode(folder / address, address) for address in ADDRESSES]
    try:
        _make_data(nodes)
        first, second, third = nodes
        first.begin(is_first=True)
        first.await_synced()
        first.ask(f"CREATE DATABASE {_DATABASE}", database="")
        for node in (second, third):
            node.begin()
            node.await_synced()
        yield first, second, third
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(folder)


def _make_data(nodes: list[GaleraNode]) -> None:
    """The first has an empty database; the others copy it when they join."""
    data = nodes[0].folder
    command = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
    command += ["--skip-test-db", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"]
    if os.geteuid() == 0:
        command.append("--user=mysql")
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd="/")
    for node in nodes[1:]:
        node.folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(node.folder, "mysql", "mysql")
