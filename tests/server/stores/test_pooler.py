"""PostgreSQL behind a real PgBouncer: the lock of the store's owner would belong to a session that others share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from ..server_process import ServerProcess
from .conftest import StoreDatabase


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
