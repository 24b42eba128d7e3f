"""A separate redis-server for each measurement: in memory, on a free port, stopped afterwards."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from running_manager import free_port, wait_until


@contextmanager
def private_redis() -> Iterator[tuple[str, int]]:
    """Run a redis-server; gives its URL and its pid."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("benchmarks: redis-server is not installed (apt install redis-server)")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([program, *options, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: _listens(port), "redis-server listens")
            yield f"redis://127.0.0.1:{port}/0", server.pid
        finally:
            server.terminate()
            server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
