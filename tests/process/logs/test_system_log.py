"""The system's log: the form of a line, a log that is restarted, and a log that hangs, for which nobody waits."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gearman_process.logs.system_log import SystemLog

DEADLINE_S = 20


def listen(path: Path) -> socket.socket:
    system = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    system.bind(str(path))
    system.settimeout(DEADLINE_S)
    return system


def test_a_line_has_priority_program_and_pid_and_a_restarted_log_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with listen(path) as system:
        log = SystemLog("gearman-test", str(path))
        assert log.send(6, "hello \udcff")
        assert system.recv(1000) == f"<30>gearman-test[{os.getpid()}]: hello \\udcff".encode()
    path.unlink()
    assert not log.send(6, "lost")
    assert not log.send(6, "lost too")
    with listen(path) as system:
        assert log.send(3, "back")
        assert system.recv(1000) == f"<27>gearman-test[{os.getpid()}]: back".encode()
    log.close()


def test_a_log_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    with listen(tmp_path / "log") as system:
        log = SystemLog("gearman-test", str(tmp_path / "log"))
        taken = [log.send(6, "x" * 200) for _ in range(5000)]
        assert (taken[0], taken[-1]) == (True, False)
        assert system.recv(1000).endswith(b"x")
        log.close()


def test_without_a_system_log_the_handler_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SystemLog("gearman-test", str(tmp_path / "log"))
