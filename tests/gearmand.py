"""Debian's gearmand, and Perl's Gearman::Server, for tests that need a job server of other people."""

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
PERL_PROGRAM = "/usr/bin/gearmand"


class Gearmand:
    """One gearmand process with these options; `kill` and `start` keep its port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._log = folder / "gearmand.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.address = Address("127.0.0.1", self.port)
        self._command = [*self._program(folder), "-p", str(self.port), "-L", "127.0.0.1", *options]
        self.process: subprocess.Popen[bytes] | None = None

    def _program(self, folder: Path) -> list[str]:
        # Debian's package of Perl's server has a program of this name too, in /usr/bin.
        executable = shutil.which("gearmand", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")
        if executable is None or executable == PERL_PROGRAM:
            pytest.skip("gearmand is not installed (Debian: apt-get install gearman-job-server)")
        return [executable, "-P", str(folder / "gearmand.pid"), "-l", "stderr", "--config-file", ""]

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
                data = admin.recv(65536)
                if not data:
                    break
                received += data
        return received.decode()

    def registered(self, function: str) -> bool:
        """Whether some worker has registered the function."""
        return any(line.startswith(f"{function}\t") and line[-2:] != "\t0" for line in self.ask("status").splitlines())

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"gearmand ended at its start: {self._log.read_text()}"
        with contextlib.suppress(OSError):
            return self._is_this_one()
        return False

    def _is_this_one(self) -> bool:
        return self.ask("getpid") == f"OK {self.pid}\n"


class PerlServer(Gearmand):
    """One process of Perl's Gearman::Server. It knows no low priority, no time, no reducer, no key in a status."""

    def _program(self, folder: Path) -> list[str]:
        if not os.access(PERL_PROGRAM, os.X_OK):
            pytest.skip("Perl's server is not installed (Debian: apt-get install gearman-server)")
        return ["perl", PERL_PROGRAM]

    def _is_this_one(self) -> bool:
        return self.ask("status") == ".\n"


@contextlib.contextmanager
def running_gearmand(folder: Path, *options: str) -> Iterator[Gearmand]:
    """A gearmand that has started; it is stopped afterwards."""
    gearmand = Gearmand(folder, *options)
    try:
        gearmand.start()
        yield gearmand
    finally:
        gearmand.kill()
