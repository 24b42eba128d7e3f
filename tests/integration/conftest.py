"""Fixtures that run the real manager on a free port and in its own folder, and leave no process behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest

from gearman_client import Client
from gearman_manager.command.control_client import request
from gearman_manager.errors import ManagerError

from ..gearmand import running_gearmand
from ..warm import run as warm_run
from ..warm import start as warm_start
from .peers.programs import LANGUAGES, Command

BIN = Path(sys.executable).parent
SAMPLE_WORKERS = Path(__file__).parents[2] / "workers"
DEADLINE_S = 30.0

NAP = """
import os
import time


def nap(job):
    time.sleep(float(job.workload or b"0.1"))
    return str(os.getpid())
"""

GATE = '''
import os
import time

def gate(job):
    """Report 3 of 10, and wait until the file that the workload names is there."""
    job.status(3, 10)
    while not os.path.exists(job.workload):
        time.sleep(0.005)
    return str(os.getpid())
'''


def eventually(condition: Callable[[], Any], what: str, within_s: float = DEADLINE_S) -> Any:
    """Poll the condition until it is true and return its value; after the deadline fail with `what` was awaited."""
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            pytest.fail(f"not within {within_s} s: {what}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _title_of(process: psutil.Process) -> str:
    """What a process calls itself; empty if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie is one, too
        return ""


class RunningManager:
    """A `gearman-manager` process in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers_dir = folder / "workers"
        self.config_file = folder / "config.yaml"
        self.log_file = folder / "manager.log"
        self.program: list[str | Path] = [
            BIN / "gearman-manager"
        ]  # the program to start; tests of faults put a wrapper around it
        self.environment: dict[str, str] = {}  # variables on top of this process's own
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def write_module(self, name: str, source: str) -> Path:
        """Put a module into the workers folder. The rename keeps readers from seeing half of it."""
        self.workers_dir.mkdir(exist_ok=True)
        file = self.workers_dir / name
        fresh = file.with_suffix(".fresh")
        fresh.write_text(dedent(source))
        fresh.rename(file)
        return file

    def start(self, config: str) -> RunningManager:
        """Start it and wait until all workers of every pool are registered."""
        self.workers_dir.mkdir(exist_ok=True)
        self.config_file.write_text(f"run_dir: run\nserver: {{listen: 127.0.0.1:0}}\n{dedent(config)}")
        self.launch()
        eventually(self.settled, "all workers registered")
        (self.address,) = self.status()["servers"]
        return self

    def start_inside(self, group: Path) -> None:
        """Make it start in this control group, with all its descendants."""
        join = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        self.program = ["sh", "-c", join, "sh", BIN / "gearman-manager"]

    def launch(self) -> None:
        """Start the process without waiting."""
        command = [*self.program, "-c", self.config_file]
        with self.log_file.open("ab") as log:
            may_be_warm = len(self.program) == 1 and not self.environment
            warm = warm_start("gearman_manager", ["-c", str(self.config_file)], log) if may_be_warm else None
            self.process = warm or subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | self.environment,
            )

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of the manager's commands."""
        done = warm_run("gearman_manager", ["-c", self.config_file, *arguments], 60)
        if check:
            done.check_returncode()
        return done

    def status(self) -> dict[str, Any]:
        """The report of `status --json`; in a known run folder the control socket is asked, which needs no process."""
        run_dir = re.search(r"^run_dir: (\S+)", self.config_file.read_text(), re.MULTILINE)
        report: dict[str, Any]
        if run_dir is None:
            report = json.loads(self.command("status", "--json").stdout)
        else:
            report = request(self.folder / run_dir[1] / "control.sock", "GET", "/status")
        return report

    def try_status(self) -> dict[str, Any] | None:
        """The status, or None while no manager answers."""
        try:
            return self.status()
        except (ManagerError, subprocess.CalledProcessError):
            return None

    def settled(self) -> bool:
        """Whether every pool has as many registered workers as it wants, and the job servers answer."""
        if self.process is not None and self.process.poll() is not None:
            pytest.fail(f"the manager ended with {self.process.returncode}:\n{self.log()}")
        report = self.try_status()
        if report is None or not report["servers"] or not all(server["up"] for server in report["servers"].values()):
            return False
        return all(
            len(pool["workers"]) == pool["target"] > 0
            and all(worker["state"] in ("idle", "busy") for worker in pool["workers"])
            for pool in report["pools"].values()
        )

    def workers(self, pool: str) -> list[dict[str, Any]]:
        """The pool's workers, in the form that `status` gives."""
        workers: list[dict[str, Any]] = self.status()["pools"][pool]["workers"]
        return workers

    def client(self, **options: Any) -> Client:
        """A client of the bundled server."""
        return Client([self.address], **options)

    def pid_of(self, title: str) -> int:
        """The one descendant whose process title starts with this text."""
        assert self.process is not None
        family = psutil.Process(self.process.pid).children(recursive=True)
        (pid,) = [child.pid for child in family if _title_of(child).startswith(title)]
        return pid

    def family(self) -> list[int]:
        """The pids of the manager and of all its descendants."""
        assert self.process is not None
        return [self.process.pid, *(p.pid for p in psutil.Process(self.process.pid).children(recursive=True))]

    def log(self) -> str:
        """Everything that it has logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = DEADLINE_S) -> int:
        """Ask it to stop; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(within_s)

    def destroy(self) -> None:
        """Kill whatever is still running."""
        if self.process is None or self.process.poll() is not None:
            return
        family = self.family()
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(DEADLINE_S)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[RunningManager]:
    """A manager that the test starts; it and its children are gone after the test."""
    running = RunningManager(tmp_path)
    yield running
    running.destroy()


@pytest.fixture
def napping(manager: RunningManager) -> RunningManager:
    """A folder with the function `nap`: it sleeps for as many seconds as its workload says and answers its pid."""
    manager.write_module("nap.py", NAP)
    return manager


@pytest.fixture
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """Another manager's folder, with the same function."""
    running = RunningManager(tmp_path_factory.mktemp("second"))
    running.write_module("nap.py", NAP)
    yield running
    running.destroy()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager that serves the sample functions, and `gate`, from the bundled job server."""
    manager = RunningManager(tmp_path_factory.mktemp("samples"))
    manager.write_module("gate.py", GATE)
    try:
        yield manager.start(f"workers_dir: [{SAMPLE_WORKERS}, workers]\n")
    finally:
        manager.destroy()


def port_of(manager: RunningManager) -> str:
    """The port of the job server, as text."""
    return manager.address.rpartition(":")[2]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Command]:
    """Gives the command line of the program `client` or `worker` in a language; compiled once for the module."""
    folder = tmp_path_factory.mktemp("compiled")
    return lambda language, program: LANGUAGES[language](program, folder)


@pytest.fixture(scope="session")
def php() -> None:
    """Skip the test without PHP and the extensions of its Debian package."""
    check = ["-r", "exit(extension_loaded('pcntl') && extension_loaded('posix') ? 0 : 1);"]
    interpreter = shutil.which("php")
    if interpreter is None or subprocess.run([interpreter, *check], check=False).returncode != 0:
        pytest.skip("missing peer: php with pcntl")


@pytest.fixture
def gearmand(tmp_path: Path) -> Iterator[str]:
    """The address of a gearmand."""
    with running_gearmand(tmp_path) as server:
        yield str(server.address)
