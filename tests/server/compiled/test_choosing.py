"""Which core runs: the compiled one only if it fits; whatever is wrong with it, Python's, unless that is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_server.compiled.choosing import (
    CHOICE,
    GROUP,
    MANIFEST,
    PACKAGE,
    SUFFIX,
    VARIABLE,
    CoreFinder,
    choose,
    client_package,
    digest,
)

MODULES = ["gearman_server.no_such_module"]


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose manifest fits, with a file that is no extension module."""
    monkeypatch.delenv(VARIABLE, raising=False)
    folder = tmp_path / "core"
    folder.mkdir()
    write_manifest(folder)
    (folder / (GROUP + SUFFIX)).write_bytes(b"not ELF")
    monkeypatch.delitem(sys.modules, GROUP, raising=False)
    return folder


def write_manifest(folder: Path, **changed: object) -> None:
    fitting = {"sources": digest(PACKAGE, client_package()), "suffix": SUFFIX, "modules": MODULES}
    (folder / MANIFEST).write_text(json.dumps(fitting | changed))


def finders(folder: Path) -> list[CoreFinder]:
    return [finder for finder in sys.meta_path if isinstance(finder, CoreFinder) and finder.folder == folder]


def test_without_a_compiled_core_the_pure_one_runs_and_nobody_is_told_why(core: Path) -> None:
    choice = choose(core / "missing")
    assert (choice.is_compiled, choice.trouble, choice.describe()) == (False, None, "pure Python core")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sources": "0"}, "other sources"),
        ({"suffix": ".cpython-39.so"}, "another Python"),
        ({"modules": ["gearman_client.packet"]}, "gearman_client.packet was imported before gearman_server"),
        ({}, "can't be loaded"),
    ],
)
def test_a_core_that_does_not_fit_is_not_used(core: Path, changed: dict[str, object], reason: str) -> None:
    import gearman_client.packet  # noqa: F401 - for one of the rows

    write_manifest(core, **changed)
    choice = choose(core)
    assert not choice.is_compiled
    assert choice.trouble is None
    assert reason in choice.describe()
    assert finders(core) == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"sources": 1}', "\0"])
def test_a_broken_manifest_is_no_core(core: Path, content: str) -> None:
    (core / MANIFEST).write_text(content)
    assert not choose(core).is_compiled
    assert choose(core).reason


def test_one_character_of_a_source_makes_another_digest(tmp_path: Path) -> None:
    server, client = tmp_path / "server", tmp_path / "client"
    for file in (server / "jobs/job.py", client / "packet.py", client / "worker/worker.py"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a = 1\n")
    before = digest(server, client)
    (client / "worker/worker.py").write_text("a = 2\n")  # no part of what the server is made of
    assert digest(server, client) == before
    for file in (server / "jobs/job.py", client / "packet.py"):
        file.write_text("a = 2\n")
        assert digest(server, client) != before
        before = digest(server, client)


def test_zero_never_takes_it(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    assert choose(core).describe() == "pure Python core: GEARMAN_COMPILED=0"


def test_one_is_trouble_where_it_can_not_be_used(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    trouble = choose(core).trouble
    assert trouble is not None
    assert "can't be loaded" in trouble
    assert "make compiled" in trouble
    trouble = choose(core / "missing").trouble
    assert trouble is not None
    assert "make compiled" in trouble


@pytest.mark.parametrize("options", [[], ["--check-args"]])
def test_a_server_refuses_to_start_in_one_line(
    monkeypatch: pytest.MonkeyPatch, run_command: Callable[..., subprocess.CompletedProcess[str]], options: list[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "yes")
    refused = run_command(*options, "-p", "0")
    assert refused.returncode == 1
    assert refused.stderr == "gearman-server: GEARMAN_COMPILED is 'yes'; set it to 0 or 1, or not at all\n"


def test_the_version_says_which_core_runs(run_command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert run_command("--version").stdout.rstrip().endswith(f", {CHOICE.describe()}")
