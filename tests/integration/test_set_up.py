"""The Makefile's installations: `make run` installs just enough to run; `make test`, `lint`, `bench` add tools."""

from __future__ import annotations

import subprocess
from importlib.metadata import requires
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
