"""The compared job servers: each is started fresh on a free port, its CPU time is read, and it is stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

START_DEADLINE_S: Final = 10
_CLOCK_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Server:
    """A running job server."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """The CPU time of all its threads so far, in user mode and in the kernel."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS_PER_S

    def resident_bytes(self) -> int:
        """Its resident memory (RSS)."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def ours(port: int) -> list[str]:
    """The command of our server."""
    return [str(Path(sys.executable).with_name("gearman-server")), "-L", "127.0.0.1", "-p", str(port)]


def our_version() -> str:
    """The version of our server, and the core that it runs: the compiled one if there is one that fits."""
    program = Path(sys.executable).with_name("gearman-server")
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def gearmand(port: int) -> list[str]:
    """The command of gearmand as Debian installs it, with its own defaults, in memory."""
    program = shutil.which("gearmand", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("benchmarks: gearmand is not installed (apt install gearman-job-server)")
    return [program, "-L", "127.0.0.1", "-p", str(port), "--log-file", "none"]


COMMANDS: Final = {"gearman-server": ours, "gearmand": gearmand}


@contextlib.contextmanager
def fresh_server(name: str) -> Iterator[Server]:
    """A newly started server of this name."""
    with started(COMMANDS[name]) as server:
        yield server


@contextlib.contextmanager
def started(command: Callable[[int], list[str]], deadline_s: float = START_DEADLINE_S) -> Iterator[Server]:
    """Start a server with a command for a port; it has to listen in this time, and is killed at the end."""
    port = _free_port()
    process = subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_listening(port, deadline_s)
        yield Server(port, process.pid)
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_listening(port: int, deadline_s: float) -> None:
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
