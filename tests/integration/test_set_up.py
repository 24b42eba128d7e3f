"""The Makefile's installations: `make run` installs just enough to run; `make test`, `lint`, `bench` add tools."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from importlib.metadata import files, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def installed_with(name: str, extras: frozenset[str]) -> set[str]:
    """The names of all distributions that a requirement brings along, itself included."""
    found: set[str] = set()
    todo = [(name, extras)]
    seen = set(todo)
    while todo:
        name, extras = todo.pop()
        found.add(name)
        for line in requires(name) or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
                wanted = (canonicalize_name(requirement.name), frozenset(requirement.extras))
                if wanted not in seen:
                    seen.add(wanted)
                    todo.append(wanted)
    return found


def commands(target: str) -> str:
    """The commands of make for a target on a fresh checkout."""
    # -B takes every file for out of date, as if nothing were installed.
    return subprocess.run(["make", "-n", "-B", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_running_needs_no_developers_tool() -> None:
    needed = installed_with("gearman-manager", frozenset({"samples"}))
    # The last one is the mail server of the README.
    assert {"gevent", "pillow", "gearman-manager-client", "aiosmtpd"} <= needed
    assert not needed & {"mypy", "numpy", "matplotlib", "pytest", "ruff", "import-linter", "psycopg", "hypothesis"}


@pytest.mark.parametrize(
    ("target", "extras"),
    [
        ("setup", {"samples"}),
        ("run", {"samples"}),
        ("test", {"samples", "test"}),
        ("lint", {"samples", "test", "lint"}),
        ("bench", {"samples", "bench"}),
    ],
)
def test_each_target_installs_just_what_it_needs(target: str, extras: set[str]) -> None:
    done = commands(target)
    every = {"samples", "test", "lint", "bench", "dev"}
    assert {extra for extra in every if f"-e '.[{extra}]'" in done} == extras


def test_the_benchmarks_import_only_what_running_and_their_extra_bring() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["bench"]]
    brought: set[str] = {canonicalize_name(Requirement(line).name) for line in lines}
    brought |= {"greenlet", "redis"}  # by gevent, and by celery[redis]
    files_of_ours = list((ROOT / "benchmarks").rglob("*.py"))
    ours = {"gearman_client", "gearman_server", "gearman_manager", "gearman_process", "tests"}
    ours |= {file.stem for file in files_of_ours}
    names = {name for file in files_of_ours for name in imported_by(file)} - ours - sys.stdlib_module_names
    known = packages_distributions()
    needed = {canonicalize_name(known.get(name, [name])[0]) for name in names}
    assert "playwright" in needed
    assert needed <= brought


def imported_by(file: Path) -> set[str]:
    """The names of the top packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found


def test_what_running_needs_is_small() -> None:
    needed = installed_with("gearman-manager", frozenset({"samples"})) | {"pip"}
    size_bytes = sum(
        file.locate().stat().st_size  # type: ignore[attr-defined]
        for name in needed
        for file in files(name) or ()
        if file.suffix != ".pyc" and file.locate().is_file()  # type: ignore[attr-defined]
    )
    assert size_bytes < 100e6
    assert "--no-compile" in commands("setup")


TESTS_THAT_HANG = """
import signal
import time

def test_before(): pass

def test_too_long():
    time.sleep(600)

def test_after(): pass
"""
DEAF_TEST = """
import signal
import time

def test_deaf():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(600)

def test_after(): pass
"""


def test_a_run_whose_tests_hang_ends_with_a_summary(tmp_path: Path) -> None:
    for name, source in (("long", TESTS_THAT_HANG), ("deaf", DEAF_TEST), ("other", "def test_fine(): pass\n")):
        (tmp_path / f"test_{name}.py").write_text(source)
    (line,) = [line for line in commands("test").splitlines() if " -m pytest " in line]
    options = line.split(" -m pytest ")[1].split()
    times = ["--timeout", "2", "-o", "faulthandler_timeout=5"]  # the methods are those of pyproject.toml
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    for name in ("timeout_method", "faulthandler_exit_on_timeout"):
        times += ["-o", f"{name}={settings[name]}"]
    command = [sys.executable, "-m", "pytest", "-ra", *options, *times, "-c", "/dev/null", f"--rootdir={tmp_path}"]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, timeout=90, env=environment)
    assert done.returncode == 1
    assert "test_too_long - Failed: Timeout" in done.stdout
    assert "crashed while running 'test_deaf.py::test_deaf'" in done.stdout
    assert "2 failed, 3 passed" in done.stdout.splitlines()[-1]
