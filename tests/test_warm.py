"""A start without imports is a start: arguments, folder, streams, exit codes and signals."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from . import warm


def test_a_command_gets_its_arguments_and_folder_and_its_outputs_and_exit_code_come_back(tmp_path: Path) -> None:
    done = warm.run("gearman_server", ["--version"], 30)
    assert (done.returncode, done.stdout[:15], done.stderr) == (0, "gearman-server ", "")
    (tmp_path / "config.yaml").write_text("server: {}\nwrong: 1\n")
    done = warm.run("gearman_manager", ["check"], 30, tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert "config.yaml:2" in done.stderr


def test_a_started_command_can_be_awaited_and_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab") as file:
        process = warm.start("gearman_server", ["-p", "0"], file)
    assert process is not None
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(30) == process.returncode == -signal.SIGKILL
    process.kill()  # it is gone, and so is nobody else


def test_another_environment_has_a_start_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARMAN_COMPILED", "nonsense")
    with (tmp_path / "log").open("ab") as file:
        assert warm.start("gearman_server", ["-p", "0"], file) is None
    assert "nonsense" in warm.run("gearman_server", ["-p", "0"], 30).stderr
