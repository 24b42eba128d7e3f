"""Debian's gearmand, for tests that need a job server of other people, or one to compare ours with."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearman_client import Address

DEADLINE_S = 20.0


class Gearmand:
    """One gearmand process with these options; `kill` and `start` keep its port."""

    def __init__(self, folder: Path, *options: str) -> None:
        executable = shutil.which("gearmand", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if executable is None:
            pytest.skip("gearmand is not installed (Debian: apt-get install gearman-job-server)")
        self._log = folder / "gearmand.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.address = Address("127.0.0.1", self.port)
        where = ["-p", str(self.port), "-L", "127.0.0.1", "-P", str(folder / "gearmand.pid"), "-l", "stderr"]
        self._command = [executable, *where, "--config-file", "", *options]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert time.monotonic() < deadline, f"gearmand does not answer within {DEADLINE_S} s"
            time.sleep(0.005)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def ask(self, line: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE_S) as admin:
            admin.sendall(line.encode() + b"\n")
            received = b""
            while not received.endswith((b".\n", b"\r\n")) and not received.startswith(b"OK "):
                received += admin.recv(65536)
        return received.decode()

    def registered(self, function: str) -> bool:
        """Whether some worker has registered the function."""
        return any(line.startswith(f"{function}\t") and line[-2:] != "\t0" for line in self.ask("status").splitlines())

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"gearmand ended at its start: {self._log.read_text()}"
        with contextlib.suppress(OSError):
            return self.ask("getpid") == f"OK {self.pid}\n"
        return False


@contextlib.contextmanager
def running_gearmand(folder: Path, *options: str) -> Iterator[Gearmand]:
    """A gearmand that has started; it is stopped afterwards."""
    gearmand = Gearmand(folder, *options)
    try:
        gearmand.start()
        yield gearmand
    finally:
        gearmand.kill()
