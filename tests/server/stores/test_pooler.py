"""PostgreSQL behind a real PgBouncer: the lock of the store's owner would belong to a session that others share."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from ..server_process import ServerProcess
from .conftest import StoreDatabase


@pytest.fixture(params=["transaction", "session"])
def pooled(
    request: pytest.FixtureRequest,
    database_of: Callable[[str], StoreDatabase],
    free_port: int,
    tmp_path: Path,
    until: Callable[[Callable[[], bool]], None],
) -> Iterator[tuple[StoreDatabase, str]]:
    """A database, and its URL by way of a pooler."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("PgBouncer is missing (Debian: pgbouncer)")
    database = database_of("postgresql")
    url = make_url(database.url)
    schema = url.query["application_name"]
    # PgBouncer does not run as root, and another user can't look into the test's folder.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    users, settings, log = folder / "users", folder / "pgbouncer.ini", tmp_path / "log"
    users.write_text(f'"{url.username}" "{url.password or ""}"\n')
    target = f"host={url.host} port={url.port or 5432} dbname={url.database}"
    lines = [
        "[databases]",
        f"store = {target} connect_query='SET search_path TO {schema}'",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {free_port}",
        "unix_socket_dir =",
        "auth_type = trust",
        f"auth_file = {users}",
        f"pool_mode = {request.param}",
        "ignore_startup_parameters = extra_float_digits",
    ]
    settings.write_text("\n".join(lines))
    with log.open("wb") as output:
        user = "nobody" if os.geteuid() == 0 else None
        pooler = subprocess.Popen([program, settings], stderr=output, user=user)
    try:
        until(lambda: "process up" in log.read_text())
        yield database, f"{url.drivername}://{url.username}@127.0.0.1:{free_port}/store"
    finally:
        pooler.kill()
        pooler.wait()
        shutil.rmtree(folder)


def test_a_server_does_not_start_behind_a_pooler_and_leaves_no_lock_there(
    pooled: tuple[StoreDatabase, str],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    start_durable: Callable[..., ServerProcess],
) -> None:
    database, url = pooled
    for _ in range(2):
        refused = run_command("--store", url, "-p", "0")
        assert refused.returncode == 1
        assert "leads to a pooler, such as PgBouncer" in refused.stderr
        assert refused.stderr.endswith("give the address of PostgreSQL itself\n")
    server = start_durable(database)
    assert server.text(b"status") == b".\n"
