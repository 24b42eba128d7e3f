"""The manager in the background: the end of its command, its pid file, its user, and the messages of a failed start."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from .conftest import BIN, RunningManager, alive, eventually
from .passable import passable

CONFIG = "run_dir: run\nserver: {listen: 127.0.0.1:0}\nlog: {file: gm.log}\n"
HELLO = "def hello(job):\n    return 'hello'\n"


class Daemon(RunningManager):
    """A manager that is started with `-d`."""

    run_dir = "run"

    def prepare(self, config: str = CONFIG) -> Daemon:
        """Write a module and a configuration."""
        self.write_module("hello.py", HELLO)
        self.config_file.write_text(config)
        return self

    @property
    def pid_file(self) -> Path:
        return self.folder / self.run_dir / "gearman-manager.pid"

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def end(self) -> None:
        """Stop it as its user would."""
        self.command("stop")

    def destroy(self) -> None:
        if not self.pid_file.exists():
            return
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.pid)
            for process in [leader, *leader.children(recursive=True)]:
                process.kill()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A manager that the test starts in the background; it and its children are gone after the test."""
    running = Daemon(tmp_path)
    yield running
    running.destroy()


def test_the_command_ends_once_the_workers_are_registered_and_no_process_holds_the_terminal(daemon: Daemon) -> None:
    daemon.prepare()
    ours, theirs = os.pipe()  # a descriptor that a caller left open by mistake
    command: list[str | Path] = [BIN / "gearman-manager", "-c", daemon.config_file, "-d"]
    started = subprocess.run(command, capture_output=True, text=True, pass_fds=[theirs], timeout=60, check=False)
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    assert [worker["state"] for worker in daemon.workers("hello")] == ["idle"]
    os.close(theirs)
    assert os.read(ours, 1) == b""
    os.close(ours)
    assert os.getsid(daemon.pid) == daemon.pid
    assert {os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
    assert "hello: 0 → 1 workers" in (daemon.folder / "gm.log").read_text()
    pid = daemon.pid
    refused = daemon.command("-d", check=False)
    assert refused.returncode == 1
    assert f"another manager (pid {pid}) holds {daemon.folder / 'run'}" in refused.stderr
    daemon.end()
    assert not alive(pid)
    assert not daemon.pid_file.exists()


def test_a_wrong_configuration_or_module_is_reported_on_the_terminal_with_exit_code_78(daemon: Daemon) -> None:
    wrong_key = daemon.prepare("run_dir: run\nserver: {}\nsevrers: []\n").command("-d", check=False)
    assert (wrong_key.returncode, "config.yaml:3: sevrers: " in wrong_key.stderr) == (78, True)
    no_such_function = daemon.prepare(CONFIG + "pools: {p: {functions: [absent]}}\n").command("-d", check=False)
    assert (no_such_function.returncode, "pools.p.functions" in no_such_function.stderr) == (78, True)
    assert not daemon.pid_file.exists()


def test_a_taken_port_is_reported_on_the_terminal_with_exit_code_1(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = daemon.prepare(CONFIG.replace(":0}", f":{port}}}")).command("-d", check=False)
    assert refused.returncode == 1
    assert f"127.0.0.1:{port} is taken" in refused.stderr or f"port {port}" in refused.stderr
    assert "server.listen" in refused.stderr
    assert not daemon.pid_file.exists()


def has_a_pid(daemon: Daemon) -> bool:
    """Whether the pid file is there, with the number in it."""
    return daemon.pid_file.exists() and bool(daemon.pid_file.read_text())


def slow_start(daemon: Daemon) -> subprocess.Popen[str]:
    """The command of a daemon whose start has begun and does not finish."""
    daemon.prepare()
    daemon.write_module("slow.py", "import time\ntime.sleep(50)\n")
    command: list[str | Path] = [BIN / "gearman-manager", "-c", daemon.config_file, "-d"]
    waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    eventually(lambda: (daemon.folder / "gm.log").exists() and has_a_pid(daemon), "it starts")
    return waiting


def test_ctrl_c_during_the_start_stops_it(daemon: Daemon) -> None:
    waiting = slow_start(daemon)
    pid = daemon.pid
    waiting.send_signal(signal.SIGINT)
    said = waiting.communicate(timeout=30)[1]
    assert (waiting.returncode, "ended before it was up: it was asked to stop" in said) == (1, True)
    assert not alive(pid)


def test_a_daemon_that_is_killed_during_its_start_is_reported_as_a_failure(daemon: Daemon) -> None:
    waiting = slow_start(daemon)
    pids = [daemon.pid, *(child.pid for child in psutil.Process(daemon.pid).children(recursive=True))]
    os.kill(daemon.pid, signal.SIGKILL)
    said = waiting.communicate(timeout=30)[1]
    assert (waiting.returncode, "ended before it was up: killed by SIGKILL" in said) == (1, True)
    for pid in pids[1:]:  # the zygote is in the middle of an import
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    daemon.pid_file.unlink()


def test_the_pid_file_of_option_p_is_replaced_when_it_is_stale_and_respected_otherwise(
    daemon: Daemon, tmp_path: Path
) -> None:
    pid_file = tmp_path / "my.pid"
    pid_file.write_text(f"{os.getpid()}\nstale\n")  # a process that is none of ours has this number now
    daemon.prepare().command("-d", "-P", str(pid_file))
    assert pid_file.read_text() == f"{daemon.pid}\n"
    other = RunningManager(tmp_path / "other")
    other.folder.mkdir()
    other.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\npools: {}\nworkers_dir: .\n")
    for letters in ((), ("-d",)):
        refused = other.command("-P", str(pid_file), *letters, check=False)
        assert refused.returncode == 1
        assert f"{pid_file} belongs to a manager that is running, pid {daemon.pid}" in refused.stderr
        assert pid_file.read_text() == f"{daemon.pid}\n"
    daemon.end()
    assert not pid_file.exists()


@pytest.fixture
def open_daemon() -> Iterator[Daemon]:
    """A daemon in a folder that every user may enter, unlike pytest's own folders."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        running = Daemon(folder / "manager")
        running.folder.mkdir()
        yield running
        running.destroy()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_root_makes_pid_file_log_and_run_folder_for_the_user_that_it_becomes(open_daemon: Daemon) -> None:
    daemon, folder = open_daemon, open_daemon.folder
    nobody = pwd.getpwnam("nobody")
    daemon.run_dir = "var/run"
    daemon.prepare("run_dir: var/run\nserver: {listen: 127.0.0.1:0}\nlog: {file: gm.log}\nuser: nobody\n")
    pid_file, log_file = folder / "gm.pid", folder / "gm.log"

    def start() -> subprocess.CompletedProcess[str]:
        command = passable([BIN / "gearman-manager", "-c", daemon.config_file, "-d", "-P", pid_file], folder.parent)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    started = start()
    assert started.returncode == 0, started.stderr
    pid = daemon.pid
    assert pid_file.read_text() == f"{pid}\n"
    assert pid_file.stat().st_uid == 0  # only root may write the number, because root's scripts send signals to it
    assert psutil.Process(pid).uids().real == nobody.pw_uid
    assert (folder / "var/run").stat().st_uid == nobody.pw_uid
    assert (log_file.stat().st_uid, log_file.stat().st_gid) == (nobody.pw_uid, nobody.pw_gid)
    assert [worker["state"] for worker in daemon.workers("hello")] == ["idle"]
    daemon.end()
    assert pid_file.read_text() == ""  # the user nobody may not remove it
    log_file.unlink()
    log_file.write_text("root's\n")
    log_file.chmod(0o600)
    refused = start()
    assert refused.returncode == 1
    assert f"config.yaml:3: log.file: {log_file} can't be opened by user {nobody.pw_uid}" in refused.stderr
    assert log_file.read_text() == "root's\n"


def test_the_job_servers_of_the_command_line_replace_the_configured_ones(daemon: Daemon) -> None:
    """A server that can't be reached does not hold up the start: the workers register when it is there."""
    daemon.prepare().command("-d", "--servers", "127.0.0.1:1")
    assert list(daemon.status()["servers"]) == ["127.0.0.1:1"]
    log = (daemon.folder / "gm.log").read_text()
    assert "job server 127.0.0.1:1 can't be reached" in log
    assert "goes on without" not in log
    daemon.end()


def test_a_pid_file_that_somebody_planted_is_refused_and_its_target_kept(daemon: Daemon) -> None:
    target, link = daemon.folder / "target", daemon.folder / "gm.pid"
    target.write_text("precious")
    link.symlink_to(target)
    refused = daemon.prepare().command("-d", "-P", str(link), check=False)
    assert refused.returncode == 1
    assert f"the pid file {link} can't be written: it is a symbolic link" in refused.stderr
    assert target.read_text() == "precious"
