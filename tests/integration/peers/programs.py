"""Runs the programs of other people: finds them or skips the test, and returns all that they print.

A test compares the whole output of a program, standard error included, so that no message goes unnoticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
DEADLINE_S: Final = 30.0
NODE_FOLDER: Final = Path(sys.prefix) / "peers"
# Without GEARMAN_SERVERS and GEARMAN_SERVER, which the tools and libgearman read.
ENVIRONMENT: Final = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C.UTF-8",
    "NODE_PATH": str(NODE_FOLDER / "node_modules"),
}

Command = list[str]


def installed(program: str, package: str) -> str:
    """The program's path."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"missing peer: {program} (Debian: {package})")
    return path


def needed(command: Command, package: str) -> None:
    """Skip the test unless the command succeeds; it looks for a library."""
    if subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False).returncode:
        pytest.skip(f"missing peer: {command[0]} has no Gearman (Debian: {package})")


def php(program: str, _folder: Path) -> Command:
    interpreter = installed("php", "php-cli")
    needed([interpreter, "-r", 'exit(extension_loaded("gearman") ? 0 : 1);'], "php-gearman")
    return [interpreter, "-d", "display_errors=stderr", "-d", "error_reporting=-1", str(HERE / f"{program}.php")]


def perl(program: str, _folder: Path) -> Command:
    interpreter = installed("perl", "perl")
    needed([interpreter, "-MGearman::Client", "-e", "1"], "libgearman-client-perl")
    return [interpreter, str(HERE / f"{program}.pl")]


def compiled(program: str, folder: Path) -> Command:
    compiler = installed("cc", "gcc")
    needed([compiler, "-E", "-include", "libgearman/gearman.h", "-x", "c", os.devnull], "libgearman-dev")
    executable = folder / program
    if not executable.exists():
        source = str(HERE / f"{program}.c")
        command = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", str(executable), source, "-lgearman"]
        subprocess.run(command, timeout=DEADLINE_S, check=True)
    return [str(executable)]


def from_pypi(module: str) -> Callable[[str, Path], Command]:
    """A library from PyPI, which the extra `test` installs."""

    def python(program: str, _folder: Path) -> Command:
        return [sys.executable, str(HERE / module / f"{program}.py")]

    return python


def from_npm(package: str) -> Callable[[str, Path], Command]:
    """A library from npm, which `make peers` installs into NODE_FOLDER."""

    def node(program: str, _folder: Path) -> Command:
        interpreter = installed("node", "nodejs")
        if not (NODE_FOLDER / "node_modules" / package).is_dir():
            pytest.skip(f"missing peer: {package} is not in {NODE_FOLDER} (make peers)")
        return [interpreter, str(HERE / package / f"{program}.js")]

    return node


# The command line of the program `client` or `worker`; compiled programs are put into the given folder.
LANGUAGES: Final[dict[str, Callable[[str, Path], Command]]] = {
    "php": php,
    "perl": perl,
    "c": compiled,
    "gear": from_pypi("gear"),
    "python3_gearman": from_pypi("python3_gearman"),
    "gearmanode": from_npm("gearmanode"),
    "abraxas": from_npm("abraxas"),
}


def run(command: Command, stdin: str | bytes = b"") -> tuple[int, str, str]:
    """The program's exit code, and what it printed on its two outputs."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, env=ENVIRONMENT, timeout=DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired as expired:
        pytest.fail(f"{command} hangs; it printed {expired.stdout!r} and {expired.stderr!r}")
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@contextmanager
def running(command: Command) -> Iterator[subprocess.Popen[str]]:
    """A program that runs beside the test; if the test fails, its output is added to the error."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        yield process
    except BaseException as error:
        process.kill()
        error.add_note(f"{command} printed {process.communicate(timeout=DEADLINE_S)}")
        raise
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a program to end; returns its exit code and its two outputs."""
    output, errors = process.communicate(timeout=DEADLINE_S)
    return process.returncode, output, errors
