"""A manager obeys its own user and root; another user is refused, and so is another manager in its place."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import BIN, RunningManager, eventually

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")

#: Imports everything first, because the user that it becomes may not read the code.
ASK = """
import os, sys
from pathlib import Path
from gearman_manager.command.control_client import request
from gearman_manager.errors import ManagerError
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
try:
    print(request(Path(sys.argv[3]), "GET", "/status")["supervisor"]["pid"])
except ManagerError as error:
    print(error)
"""


@pytest.fixture
def open_manager() -> Iterator[RunningManager]:
    """A manager in a folder that every user may enter, unlike pytest's own folders."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        running = RunningManager(Path(name))
        yield running
        running.destroy()


def answer_to(user: str, socket: Path) -> str:
    account = pwd.getpwnam(user)
    command = [sys.executable, "-c", ASK, str(account.pw_uid), str(account.pw_gid), str(socket)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_another_user_is_refused_by_the_folder_and_by_the_socket_itself(open_manager: RunningManager) -> None:
    manager = open_manager
    manager.write_module("hello.py", "def hello(job): ...\n")
    (manager.folder / "run").mkdir(mode=0o777)  # too open: the manager closes it
    (manager.folder / "run").chmod(0o777)
    manager.start("")
    assert manager.process is not None
    socket = manager.folder / "run" / "control.sock"
    assert answer_to("root", socket) == str(manager.process.pid)
    assert (socket.parent.stat().st_mode & 0o777, socket.stat().st_mode & 0o777) == (0o700, 0o600)
    assert answer_to("nobody", socket) == f"{socket} belongs to another user: ask as the user who runs the manager"
    socket.parent.chmod(0o755)
    assert answer_to("nobody", socket) == f"{socket} belongs to another user: ask as the user who runs the manager"


def test_a_run_folder_of_another_user_is_refused(open_manager: RunningManager) -> None:
    """Its owner could replace the manager's socket by another one, and would get the requests to the manager."""
    open_manager.config_file.write_text("server: {listen: 127.0.0.1:0}\nworkers_dir: .\n")
    folder = open_manager.folder / f"gearman-manager-{os.getuid()}"
    folder.mkdir(mode=0o755)
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, nobody, -1)
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    refused = subprocess.run(
        [BIN / "gearman-manager", "-c", open_manager.config_file],
        env=environment | {"TMPDIR": str(open_manager.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert f"the run folder {folder} belongs to another user (uid {nobody}, this is 0)" in refused.stderr


def test_of_two_managers_that_start_at_once_in_one_run_folder_one_gives_up(open_manager: RunningManager) -> None:
    manager = open_manager
    manager.write_module("hello.py", "def hello(job): ...\n")
    manager.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\n")
    managers = [RunningManager(manager.folder) for _ in range(2)]
    for number, one in enumerate(managers):
        one.log_file = manager.folder / f"manager-{number}.log"
        one.launch()
    processes = [one.process for one in managers if one.process is not None]
    try:
        eventually(lambda: any(process.poll() is not None for process in processes), "one gives up")
        (loser,) = [one for one in managers if one.process is not None and one.process.returncode is not None]
        (winner,) = [one for one in managers if one is not loser]
        assert winner.process is not None
        assert loser.process is not None
        eventually(winner.settled, "the other serves")
        assert loser.process.returncode == 1
        assert "holds" in loser.log()
        assert winner.status()["supervisor"]["pid"] == winner.process.pid
        assert winner.stop() == 0
    finally:
        for one in managers:
            one.destroy()
