"""Destination and form of log lines: process 1 of a container, the system's log, the journal, rotated files."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from .conftest import BIN, RunningManager, eventually

CONFIG = "run_dir: run\nserver: {listen: 127.0.0.1:0}\n"
ORPHANS = """
import subprocess


def orphans(job):
    # Each waits for its writer. The shell that started them does not wait for them, and nobody else knows them.
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["sh", "-c", 'for fifo; do cat "$fifo" & done', "sh", *job.json()], **silent)
"""
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can make namespaces")


class Container:
    """A manager that is process 1 of its own process namespace."""

    def __init__(self, manager: RunningManager) -> None:
        self._manager = manager
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self.runtime = subprocess.Popen(
            [*command, BIN / "gearman-manager", "-c", manager.config_file],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        eventually(manager.settled, "it serves")
        (manager.address,) = manager.status()["servers"]
        (self.first,) = psutil.Process(self.runtime.pid).children()

    def stop(self) -> tuple[str, str]:
        """Stop it as a container is stopped; returns its standard output and error."""
        self.first.send_signal(signal.SIGTERM)
        out, err = self.runtime.communicate(timeout=30)
        assert self.runtime.returncode == 0
        return out.decode(), err.decode()


@needs_root
def test_as_process_1_it_reaps_unknown_orphans_and_logs_json_to_standard_output(
    manager: RunningManager, tmp_path: Path
) -> None:
    manager.write_module("orphans.py", ORPHANS)
    manager.config_file.write_text(CONFIG)
    container = Container(manager)
    try:
        assert manager.status()["supervisor"]["pid"] == 1

        def orphans() -> list[str]:
            """Its children called `cat`, zombies included."""
            found: list[str] = []
            for child in container.first.children():
                with suppress(psutil.NoSuchProcess):  # it was reaped just now
                    found += [child.status()] if child.name() == "cat" else []
            return found

        def are_left(count: int) -> bool:
            return len(orphans()) == count

        fifos = [tmp_path / f"fifo-{number}" for number in range(4)]
        for fifo in fifos:
            os.mkfifo(fifo)
        with manager.client() as client:
            client.submit("orphans", json.dumps([str(fifo) for fifo in fifos]))
        # Opening a fifo waits for its reader: until then a child may still be a copy of the shell with that name.
        writers = [fifo.open("wb") for fifo in fifos]
        assert len(orphans()) == len(fifos)
        for left in (3, 2, 1, 0):  # one by one: no other event can wake the manager meanwhile
            writers[left].close()
            eventually(partial(are_left, left), "the one that ended is reaped", within_s=5)
        out, err = container.stop()
    finally:
        container.runtime.kill()
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[0].keys() >= {"time", "level", "logger", "message"}
    assert lines[-1]["message"] == "stopped"
    assert err == ""


@needs_root
@pytest.mark.parametrize(
    ("settings", "style"),
    [({}, "json"), ({"format": "text"}, "text"), ({"file": "gm.log"}, "text"), ({"file": "syslog"}, "text")],
)
def test_as_process_1_only_standard_output_gets_json_and_a_configured_format_wins(
    settings: dict[str, str], style: str
) -> None:
    program = "import sys, json; from gearman_manager.config import Log; from gearman_manager.logs.log import style_of;"
    program += "print(style_of(Log.model_validate(json.loads(sys.argv[1]))))"
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", program, json.dumps(settings)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{style}\n"


def with_devices(folder: Path, *command: str | Path) -> list[str | Path]:
    """The command with a /dev that holds little more than the given folder, which may contain a system's log."""
    script = f"""
        for name in null zero full random urandom; do
            touch {folder}/$name
            mount --bind /dev/$name {folder}/$name
        done
        mount --rbind {folder} /dev
        exec "$@"
    """
    return ["unshare", "--mount", "sh", "-ec", script, "sh", *command]


@needs_root
def test_without_a_system_log_a_daemon_names_the_remedy(napping: RunningManager, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    napping.config_file.write_text(CONFIG)
    command = with_devices(tmp_path / "dev", BIN / "gearman-manager", "-c", napping.config_file, "-d")
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    expected = (
        "there is no system's log (/dev/log: No such file or directory): name a file with -l FILE, or in log.file"
    )
    assert refused.stderr == f"gearman-manager: {expected}\n"


@needs_root
def test_the_system_log_gets_lines_with_their_priority_and_the_manager_outlives_it(
    napping: RunningManager, tmp_path: Path
) -> None:
    device, aside = tmp_path / "dev", tmp_path / "aside"
    device.mkdir()
    syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    syslog.bind(str(device / "log"))
    syslog.settimeout(30)
    heard: list[str] = []

    def hear(text: str) -> str:
        while not any(text in line for line in heard):
            heard.append(syslog.recv(65536).decode())
        return next(line for line in heard if text in line)

    napping.config_file.write_text(CONFIG + "log: {file: syslog}\npools: {nap: {min: 1, max: 1}}\n")
    napping.program = with_devices(device, BIN / "gearman-manager")
    napping.launch()
    eventually(napping.settled, "it serves")
    assert napping.process is not None
    assert hear(" runs, pid ").startswith(f"<30>gearman-manager[{napping.process.pid}]: manager: ")
    (worker,) = napping.workers("nap")
    os.kill(worker["pid"], signal.SIGKILL)
    died = hear("died")
    assert died.startswith(("<28>", "<27>"))  # a warning or an error of a daemon
    assert f"nap/1 pid {worker['pid']}" in died

    syslog.close()  # a restart of the log: for a while it has no socket, then a new one with its name
    (device / "log").rename(aside)
    napping.command("restart")
    syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    syslog.bind(str(device / "log"))
    syslog.settimeout(30)
    heard.clear()
    napping.process.send_signal(signal.SIGUSR2)
    assert "state: {" in hear("state: ")
    assert napping.stop() == 0
    assert napping.log() == ""
    syslog.close()


def test_after_a_rotation_lines_go_to_the_new_file_even_when_it_can_be_opened_only_later(
    napping: RunningManager,
) -> None:
    log, moved, folder = (napping.folder / name for name in ("logs/gm.log", "logs/gm.log.1", "logs"))
    folder.mkdir()
    napping.start("log: {file: logs/gm.log}\npools: {nap: {min: 1, max: 1}}\n")
    assert napping.process is not None
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    log.chmod(0o600)
    log.rename(moved)
    napping.process.send_signal(signal.SIGUSR1)
    eventually(lambda: log.exists() and "reopened the log" in log.read_text(), "the new file has lines")
    assert "reopened" not in moved.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600

    log.rename(moved)
    away = folder.rename(napping.folder / "away")
    folder.write_text("")  # a file in the way: the log can't be opened
    napping.command("restart", "nap")
    eventually(napping.settled, "the manager does not mind")
    folder.unlink()
    away.rename(folder)
    napping.process.send_signal(signal.SIGUSR1)
    eventually(lambda: log.exists() and "log lines were lost: " in log.read_text(), "it says how many are missing")
    assert napping.log() == ""
    assert napping.stop() == 0


def test_the_journal_gets_a_priority_with_each_line_and_no_time(napping: RunningManager) -> None:
    napping.config_file.write_text(CONFIG + "workers_dir: [workers, missing]\n")
    (napping.folder / "missing").mkdir()
    (napping.folder / "missing" / "broken.py").write_text("1 / 0\n")
    journal, stream = socket.socketpair()
    there = os.fstat(stream.fileno())
    command: list[str | Path] = [BIN / "gearman-manager", "-c", napping.config_file]
    environment = os.environ | {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"}
    napping.process = subprocess.Popen(command, stderr=stream.fileno(), env=environment)
    stream.close()
    eventually(napping.settled, "it serves")
    assert napping.stop() == 0
    lines = b"".join(iter(lambda: journal.recv(65536), b"")).decode().splitlines()
    journal.close()
    assert lines[-1] == "<6>manager: stopped"
    assert all(line[0] + line[2] == "<>" for line in lines)
    assert any(line.startswith("<3>") and "broken.py:1: ZeroDivisionError" in line for line in lines)
