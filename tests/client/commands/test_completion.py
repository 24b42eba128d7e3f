"""Completion, asked for by real shells."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Client

from ...gearmand import Gearmand
from .test_commands import ENVIRONMENT, run

DEADLINE_S = 60.0
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
Complete = Callable[[str], list[str]]

#: A bash that does what the shell does at a TAB at the end of a line.
BASH = """
eval "$({command} --completion bash)"
COMP_LINE=$1 COMP_POINT=${{#1}} COMPREPLY=()
_{command}_completion {command} 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def installed(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed (Debian: apt-get install {shell})")
    return path


def lines_of(*command: str) -> list[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_S, check=True, env=ENVIRONMENT | {"PATH": PATH}
    )
    assert done.stderr == ""
    return [line.partition("\t")[0] for line in done.stdout.splitlines() if line]


def in_bash(line: str) -> list[str]:
    return lines_of(installed("bash"), "-c", BASH.format(command=line.split()[0]), "bash", line)


def in_fish(line: str) -> list[str]:
    script = f'{line.split()[0]} --completion fish | source; complete -C "$argv"'
    return lines_of(installed("fish"), "--no-config", "-c", script, line)


@pytest.fixture
def filled(gearmand: Gearmand) -> Gearmand:
    with Client(gearmand.address) as client:
        for function in ("resize", "resample", "other", "$(touch /tmp/harm)", "re\udcff"):
            client.submit_background(function, b"x")
    return gearmand


@pytest.mark.parametrize("complete", [in_bash, in_fish])
def test_functions_and_handles_come_from_the_job_server(filled: Gearmand, complete: Complete) -> None:
    where = f"-h 127.0.0.1 -p {filled.port}"
    assert sorted(complete(f"gearman {where} -f re")) == ["resample", "resize"]
    assert complete(f"gearman {where} -bf o") == ["other"]
    assert sorted(complete(f"gearman {where} -fre")) == ["-fresample", "-fresize"]
    assert complete(f"gearman {where} -bfo") == ["-bfother"]
    assert sorted(complete(f"gearman {where} -f ")) == ["other", "resample", "resize"]
    handle = filled.ask("show jobs").split("\t")[0]
    # bash has a colon end a word.
    expected = handle.rpartition(":")[2] if complete is in_bash else handle
    assert expected in complete(f"gearadmin {where} --cancel-job {handle[:-1]}")
    expected = "other" if complete is in_bash else "--drop-function=other"
    assert complete(f"gearadmin {where} --drop-function=o") == [expected]


@pytest.mark.parametrize("complete", [in_bash, in_fish])
def test_options_and_their_values_are_completed_and_no_server_is_needed(gearmand: Gearmand, complete: Complete) -> None:
    gearmand.kill()
    assert complete("gearadmin --drop") == ["--drop-function"]
    assert "gearadmin" in complete("gearman -w -f resize -- gearad")
    assert "gearadmin" not in complete("gearman -w -f resize -- cat gearad")
    assert sorted(complete("gearman --completion ")) == ["bash", "fish", "zsh"]
    assert "--json" in complete("gearman --")
    assert complete(f"gearman -p {gearmand.port} -f ") == []
    assert complete("gearman -h 1.2.3.4/5 -f ") == []


@pytest.fixture
def zsh() -> Iterator[Callable[[str, str], str]]:
    """A zsh on a terminal: types a line and TAB, and returns what the terminal shows until the expected text comes."""
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        [installed("zsh"), "-f", "-i"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env=ENVIRONMENT | {"PATH": PATH, "TERM": "dumb", "PS1": "> "},
    )
    os.close(terminal)

    def read_until(end: bytes) -> bytes:
        seen, deadline = b"", time.monotonic() + DEADLINE_S
        while end not in seen and select.select([controller], [], [], max(0.0, deadline - time.monotonic()))[0]:
            seen += os.read(controller, 65536)
        return seen

    def type_and_tab(line: str, expected: str) -> str:
        os.write(controller, line.encode() + b"\t")
        found = read_until(expected.encode())
        os.write(controller, b"\x15")
        return found.decode(errors="replace")

    assert b"> " in read_until(b"> ")
    os.write(controller, b"autoload -U compinit; compinit -u -D\n")
    for command in ("gearman", "gearadmin"):
        os.write(controller, f'eval "$({command} --completion zsh)"\n'.encode())
    os.write(controller, b"print re''ady\n")
    assert b"ready" in read_until(b"ready")
    yield type_and_tab
    process.kill()
    process.wait()
    os.close(controller)


def test_zsh_completes_functions_options_and_handles(filled: Gearmand, zsh: Callable[[str, str], str]) -> None:
    start = filled.ask("show jobs").split("\t")[0].rpartition(":")[0]
    for line, expected in {
        f"gearman -p {filled.port} -f resi": "resize ",
        "gearadmin --drop": "--drop-function ",
        f"gearman -p {filled.port} -fresi": "-fresize ",
        "gearman -w -f resize -- gearadmi": "gearadmin ",
        f"gearadmin -p {filled.port} --cancel-job {start}": f"{start}:",
    }.items():
        assert expected in zsh(line, expected)


def test_a_script_is_printed_as_by_the_other_commands_too() -> None:
    for name in ("gearman", "gearadmin"):
        variable: Any = {f"_{name.upper()}_COMPLETE": "bash_source"}
        asked = run(name, **variable)
        assert asked.stdout == run(name, "--completion", "bash").stdout
        assert b"complete -F" in asked.stdout
    wrong = run("gearman", "--completion", "csh")
    assert (wrong.returncode, wrong.stderr) == (1, b"gearman: --completion csh: expected bash, zsh, fish\n")
