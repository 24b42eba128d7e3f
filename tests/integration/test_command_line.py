"""The command line: a helpful help, and completion of names in bash."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from gearman_manager.command.command_line import main

from .. import warm
from .conftest import BIN, RunningManager

PREFIX = f"{BIN}:/usr/bin:/bin"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run("gearman_manager", arguments, 60, folder)


def help_of(*command: str) -> str:
    """The output of `--help`."""
    return CliRunner().invoke(main, [*command, "--help"], prog_name="gearman-manager").output


def test_the_overview_describes_each_command_in_a_whole_sentence() -> None:
    lines = help_of().partition("Commands:\n")[2].splitlines()
    overview = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert {"check", "status", "logs", "init", "import-ini"} < overview.keys()
    for name, sentence in overview.items():
        assert re.fullmatch(r"[A-Z].*[^.]\.", sentence), name
        told = help_of(name)
        assert "Usage: gearman-manager " + name in told
        assert len(told.split("Options:")[0].split()) > 12, f"{name} --help says hardly more than its name"


def test_the_configuration_may_be_named_before_or_after_the_command(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.yaml").write_text("server: {}\nworkers_dir: .\n")
    for arguments in (("-c", "elsewhere.yaml", "check"), ("check", "-c", "elsewhere.yaml")):
        assert "elsewhere.yaml: fine" in run(tmp_path, *arguments).stdout
    status = run(tmp_path, "status", "-c", "elsewhere.yaml")
    assert (status.returncode, "no manager runs with this configuration" in status.stderr) == (1, True)


class Bash:
    """A bash whose completion was switched on as the documentation says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def complete(self, line: str) -> set[str]:
        """The words that a TAB at the end of the line offers."""
        program, *_ = words = line.split(" ")
        name = program.replace("-", "_")
        script = f"""
            eval "$(_{name.upper()}_COMPLETE=bash_source {program})"
            COMP_WORDS=({" ".join(shlex.quote(word) for word in words)}) COMP_CWORD={len(words) - 1}
            _{name}_completion {program}
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env={**os.environ, "PATH": PREFIX},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        # Without words to offer, bash may say that completion works only on a line that is being typed.
        assert "Traceback" not in result.stderr
        return set(result.stdout.split())


@pytest.fixture
def bash(tmp_path: Path) -> Bash:
    """A bash in the test's folder."""
    return Bash(tmp_path)


def test_without_a_manager_bash_completes_commands_options_and_the_names_in_the_files(
    bash: Bash, tmp_path: Path
) -> None:
    (tmp_path / "workers").mkdir()
    for name in ("resize.py", "_helper.py"):
        (tmp_path / "workers" / name).write_text("1 / 0  # nobody imports it\n")
    (tmp_path / "my.yaml").write_text("server: {}\npools: {mails: {functions: [send, bounce], max: 2}}\n")
    assert bash.complete("gearman-manager re") == {"restart", "resume", "reload", "restart-server"}
    (tmp_path / "three.yaml").write_text("server: {instances: 3}\n")
    assert bash.complete("gearman-manager -c three.yaml restart-server --instance ") == {"1", "2", "3"}
    assert bash.complete("gearman-manager -c my.yaml scale ") == {"mails", "resize"}
    assert bash.complete("gearman-manager logs -c my.yaml ma") == {"mails"}
    assert bash.complete("gearman-manager -c my.yaml run ") == {"send", "bounce", "resize"}
    assert bash.complete("gearman-manager -c nowhere.yaml restart ") == set()
    assert bash.complete("gearman-server --store-") == {"--store-url-file", "--store-timeout"}


def test_bash_completes_the_names_that_the_running_manager_knows(bash: Bash, napping: RunningManager) -> None:
    napping.start("pools: {rest: {functions: ['*'], min: 2, max: 2}}\n")
    assert bash.complete("gearman-manager pause ") == {"rest", "function"}
    assert bash.complete("gearman-manager pause function ") == {"nap"}
    assert bash.complete("gearman-manager explain ") == {"rest"}
    assert bash.complete("gearman-manager logs re") == {"rest", "rest/1", "rest/2"}
    assert bash.complete("gearman-manager run n") == {"nap"}


def test_the_commented_settings_of_a_first_configuration_are_valid(tmp_path: Path) -> None:
    assert run(tmp_path, "init", ".").returncode == 0
    file = tmp_path / "config.yaml"
    text = file.read_text()
    assert "\n  store: sqlite:///jobs.db " in text
    file.write_text(re.sub(r"^( *)# ?(?=pools:|functions:|control:|  )", r"\1", text, flags=re.MULTILINE))
    assert "\n    max: 10\n" in file.read_text()
    assert "\ncontrol:\n" in file.read_text()
    file.write_text(file.read_text().replace("${GEARMAN_PORT:-4730}", "0"))  # that may be in use here
    (tmp_path / "control.token").write_text(f"{'0123456789abcdef' * 2}\n")
    checked = run(tmp_path, "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert re.search(r"^ greeting +2\.\.10 +hello", checked.stdout, re.MULTILINE), checked.stdout
