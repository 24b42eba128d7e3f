"""A real manager in its own folder, for measurements: it is started, queried and stopped, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from gearman_client import Address

BIN: Final = Path(sys.executable).parent
DEADLINE_S: Final = 60.0


@dataclass(frozen=True)
class RunningManager:
    """One manager with its bundled job server."""

    process: subprocess.Popen[bytes]
    address: Address
    folder: Path
    started: float

    @property
    def supervisor(self) -> psutil.Process:
        """The supervisor's process."""
        return psutil.Process(self.process.pid)

    def workers(self) -> list[psutil.Process]:
        """The worker processes."""
        children = self.supervisor.children(recursive=True)
        return [child for child in children if ": worker " in title(child)]

    def command(self, *arguments: str) -> str:
        """Run a command of the manager, and return its output."""
        command = [BIN / "gearman-manager", "-c", self.folder / "config.yaml", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout

    def status(self) -> dict[str, Any]:
        """The report of `status --json`."""
        report: dict[str, Any] = json.loads(self.command("status", "--json"))
        return report

    def log(self) -> str:
        """The manager's log so far."""
        return (self.folder / "manager.log").read_text(errors="replace")

    def wait_for_control(self) -> None:
        """Wait until the manager has started."""
        wait_until((self.folder / "run" / "control.sock").exists, "the manager has started")

    def stop(self, within_s: float = DEADLINE_S) -> int:
        """Stop the manager, wait for its end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


def programs_of(checkout: Path) -> Path:
    """The folder of a checkout's programs."""
    return checkout / ".venv" / "bin"


@contextmanager
def manager(
    config: str, modules: dict[str, str] | Path, programs: Path = BIN, server: str = ""
) -> Iterator[RunningManager]:
    """Start a manager with the rest of its configuration and its modules: texts by file name, or an existing folder.

    `programs` is the folder of the manager's program: another checkout's to measure that one. `server` has further
    keys of the section `server`, each after a comma.
    """
    with tempfile.TemporaryDirectory(prefix="gm-bench-") as name:
        folder = Path(name)
        if isinstance(modules, Path):
            (folder / "workers").symlink_to(modules)
        else:
            (folder / "workers").mkdir()
            for file, text in modules.items():
                (folder / "workers" / file).write_text(text)
        address = Address("127.0.0.1", free_port())
        head = f'run_dir: run\nserver: {{listen: "{address}"{server}}}\nlog: {{file: manager.log}}\n'
        (folder / "config.yaml").write_text(head + config)
        started = time.monotonic()
        process = subprocess.Popen([programs / "gearman-manager", "-c", folder / "config.yaml"])
        running = RunningManager(process, address, folder, started)
        try:
            yield running
        finally:
            try:
                running.stop()
            except subprocess.TimeoutExpired:
                for child in [*running.supervisor.children(recursive=True), running.supervisor]:
                    child.kill()
                process.wait(DEADLINE_S)


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], Any], what: str, within_s: float = DEADLINE_S, every_s: float = 0.005) -> Any:
    """Poll until the condition is true, and return its value; end the program if that takes too long."""
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise SystemExit(f"benchmarks: not within {within_s:g} s: {what}")
        time.sleep(every_s)


def title(process: psutil.Process) -> str:
    """The command line of a process; empty if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def total_pss_mb(processes: list[psutil.Process]) -> float:
    """The proportional memory of all processes: shared pages count once."""
    return float(sum(process.memory_full_info().pss for process in processes)) / 1e6


def cores_used(process: psutil.Process, for_s: float) -> float:
    """The share of a core that a process uses, measured over some time."""
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(for_s)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system) / (time.monotonic() - began)
