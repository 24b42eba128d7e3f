"""The SysV script in `init/`, run as an administrator's system runs it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .conftest import BIN, alive, eventually

INIT = Path(__file__).parents[2] / "init"
HELLO = "def hello(job):\n    return 'hello'\n"


class System:
    """A folder with everything that the script looks for: settings, the program, the pid file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.defaults = folder / "defaults"
        self.config_file = folder / "config.yaml"
        self.pid_file = folder / "manager.pid"
        self.log_file = folder / "gm.log"
        (folder / "workers").mkdir()
        (folder / "workers/hello.py").write_text(HELLO)
        self.configure("")
        text = (INIT / "gearman-manager.default").read_text()
        for name, value in {
            "CONFIG": self.config_file,
            "OPTIONS": '"-v"',
            "PROGRAM": BIN / "gearman-manager",
            "PIDFILE": self.pid_file,
        }.items():
            text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
            assert count == 1
        self.defaults.write_text(text)

    def configure(self, more: str) -> None:
        """Write the configuration."""
        self.config_file.write_text(f"run_dir: run\nserver: {{listen: 127.0.0.1:0}}\nlog: {{file: gm.log}}\n{more}")

    def service(self, action: str) -> tuple[int, str]:
        """The exit code and the output of the script."""
        result = subprocess.run(
            [INIT / "gearman-manager.sysv", action],
            env={"DEFAULTS": str(self.defaults), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text())


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A system without a running manager, before the test and after it."""
    made = System(tmp_path)
    yield made
    if made.pid_file.exists() and made.pid_file.read_text().strip().isdecimal():
        pid = made.pid
        if alive(pid) and "gearman-manager" in " ".join(psutil.Process(pid).cmdline()):
            for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
                process.kill()


def test_the_sysv_script_starts_reloads_restarts_stops_and_reports_the_status(system: System) -> None:
    assert system.service("status") == (3, "gearman-manager does not run\n")
    assert system.service("stop") == (0, "gearman-manager does not run\n")
    assert system.service("reload")[0] == 7
    assert system.service("try-restart") == (0, "")

    code, said = system.service("start")
    pid = system.pid
    assert (code, said) == (0, f"gearman-manager started, pid {pid}\n")
    assert "hello: 0 → 1 workers" in system.log_file.read_text()
    assert system.service("status") == (0, f"gearman-manager runs, pid {pid}\n")
    assert system.service("start") == (0, f"gearman-manager runs already, pid {pid}\n")

    assert system.service("reload")[0] == 0
    eventually(lambda: "generation 2" in system.log_file.read_text(), "it has reloaded")
    assert system.pid == pid

    code, said = system.service("restart")
    assert (code, said) == (0, f"gearman-manager stopped\ngearman-manager started, pid {system.pid}\n")
    assert not alive(pid)
    assert system.pid != pid

    assert system.service("stop") == (0, "gearman-manager stopped\n")
    assert not system.pid_file.exists()
    assert system.service("status")[0] == 3


def test_a_stale_pid_file_does_not_mislead_the_sysv_script(system: System) -> None:
    system.pid_file.write_text(f"{os.getpid()}\n")  # another program has this number now
    assert system.service("status")[0] == 1
    assert system.service("stop")[0] == 0
    assert system.service("start") == (0, f"gearman-manager started, pid {system.pid}\n")
    assert system.service("stop")[0] == 0


def test_the_sysv_script_fails_with_the_reason_when_the_manager_fails(system: System) -> None:
    system.configure("nonsense: 1\n")
    code, said = system.service("start")
    assert (code, "config.yaml:4: nonsense: unknown key" in said) == (6, True)
    system.defaults.write_text(system.defaults.read_text().replace("PROGRAM=/", "PROGRAM=/nowhere/"))
    code, said = system.service("start")
    assert (code, "is not there: install it" in said) == (5, True)
    assert system.service("fly")[0] == 2
