"""A reload restarts the workers whose code or settings changed, and no others."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .conftest import RunningManager, eventually
from .observing import pids, replaced


@pytest.fixture
def several(manager: RunningManager) -> RunningManager:
    """Three functions in pools of their own; `one` and `two` share a helper, `three` stands alone."""
    manager.write_module("_shared.py", "VALUE = b'1'\n")
    manager.write_module("one.py", "import _shared\ndef one(job): return _shared.VALUE\n")
    manager.write_module("two.py", "def two(job):\n    import _shared\n    return _shared.VALUE\n")
    manager.write_module("three.py", "def three(job): return job.settings['text']\n")
    manager.start("defaults: {min: 2, max: 2}\nfunctions: {three: {settings: {text: a}}}\n")
    return manager


def test_only_the_workers_of_the_changed_file_restart(several: RunningManager) -> None:
    one, others = pids(several, "one"), pids(several, "two", "three")
    several.write_module("one.py", "def one(job): return b'new'\n")
    replaced(several, one, "one")
    assert pids(several, "two", "three") == others


def test_a_shared_helper_restarts_all_pools_that_need_it(several: RunningManager) -> None:
    needing, other = pids(several, "one", "two"), pids(several, "three")
    several.write_module("_shared.py", "VALUE = b'2'\n")
    replaced(several, needing, "one", "two")
    assert pids(several, "three") == other
    with several.client() as client:
        assert [client.submit("one", b""), client.submit("two", b"")] == [b"2", b"2"]


def test_a_helper_whose_users_are_unknown_restarts_all_pools(several: RunningManager) -> None:
    before = pids(several, "one", "two", "three")
    several.write_module("_data.py", "VALUE = 1\n")
    replaced(several, before, "one", "two", "three")


def test_a_new_module_restarts_no_pool(several: RunningManager) -> None:
    before = pids(several, "one", "two", "three")
    several.write_module("four.py", "def four(job): return b'4'\n")
    with several.client() as client:
        assert client.submit("four", b"") == b"4"
    assert pids(several, "one", "two", "three") == before


def test_neither_a_broken_new_module_nor_mending_it_restarts_a_pool(several: RunningManager) -> None:
    before = pids(several, "one", "two", "three")
    several.write_module("four.py", "def four(job: pass\n")
    eventually(lambda: several.status()["errors"], "the error is noticed")
    several.write_module("four.py", "def four(job): return b'4'\n")
    with several.client() as client:
        assert client.submit("four", b"") == b"4"
    assert pids(several, "one", "two", "three") == before


def reconfigure(manager: RunningManager, old: str, new: str) -> None:
    text = manager.config_file.read_text()
    assert old in text
    manager.config_file.write_text(text.replace(old, new))
    assert manager.process is not None
    manager.process.send_signal(signal.SIGHUP)


def test_changed_settings_restart_the_workers_of_their_function_only(several: RunningManager) -> None:
    three, others = pids(several, "three"), pids(several, "one", "two")
    reconfigure(several, "{text: a}", "{text: b}")
    replaced(several, three, "three")
    assert pids(several, "one", "two") == others
    with several.client() as client:
        assert client.submit("three", b"") == b"b"


def test_a_changed_size_or_limit_touches_no_running_worker(several: RunningManager) -> None:
    before = pids(several, "one", "two", "three")
    reconfigure(several, "{min: 2, max: 2}", "{min: 3, max: 6, max_jobs: 1000, max_memory: 1GB, stop_timeout: 5s}")
    eventually(lambda: several.settled() and len(pids(several, "one")) == 3, "the pools grew")
    assert before < pids(several, "one", "two", "three")


def test_a_file_outside_the_workers_folder_causes_a_restart_too(
    manager: RunningManager, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    project: Path = tmp_path_factory.mktemp("project")
    (project / "prices.py").write_text("PRICE = b'10'\n")
    monkeypatch.setenv("PYTHONPATH", str(project))
    manager.write_module("price.py", "import prices\ndef price(job): return prices.PRICE\n")
    manager.write_module("other.py", "def other(job): return b''\n")
    manager.start("")
    other = pids(manager, "other")
    with manager.client() as client:
        assert client.submit("price", b"") == b"10"
        (project / "prices.py").write_text("PRICE = b'12'\n")
        eventually(lambda: client.submit("price", b"") == b"12", "the new price is told")
    assert pids(manager, "other") == other


def test_several_files_changed_together_are_one_reload(several: RunningManager) -> None:
    one_two = pids(several, "one", "two")
    for name in ("one", "two"):
        several.write_module(f"{name}.py", f"def {name}(job): return b'together'\n")
    replaced(several, one_two, "one", "two")
    assert several.log().count("reloading") == 1
