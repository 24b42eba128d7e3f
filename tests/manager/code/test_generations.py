"""The choice of the running code, with real zygotes that load real modules."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from gearman_manager.code import generations as generations_module
from gearman_manager.code.code_loading import Host, LoadAbandoned
from gearman_manager.code.generations import Accepted, Generations
from gearman_manager.config import Config, ConfigError
from gearman_manager.errors import StartError
from gearman_manager.host.cgroup import Cgroup
from gearman_manager.ipc.lifeline import own_lifeline
from gearman_manager.ipc.links import Links
from gearman_manager.ipc.scoreboard import Scoreboard
from gearman_manager.pools import zygote_process
from gearman_manager.pools.exits import Exits
from gearman_manager.pools.oom import OomKills
from gearman_manager.pools.worker_start import WorkerStart
from gearman_manager.pools.workforce import Workforce
from gearman_manager.pools.zygote_process import ZygoteProcess
from gearman_manager.pools.zygotes import Zygotes

DEADLINE_S = 20.0


class Modules:
    """A workers folder, and the generations of its modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.links = Links(Scoreboard.create(4), own_lifeline(), os.eventfd(0, os.EFD_CLOEXEC))
        self.zygotes = Zygotes(self.links)
        exits = Exits(OomKills(Cgroup(()), folder / "nowhere"))
        workforce = Workforce(WorkerStart("here", self.links, self.zygotes), self.zygotes, exits, lambda: None)
        self.accepted: list[Accepted] = []
        self.generations = Generations(self.zygotes, workforce, Host(cores=1), self.accepted.append)

    def write(self, name: str, text: str) -> None:
        (self.folder / f"{name}.py").write_text(text)

    def config(self, **keys: Any) -> Config:
        return Config.model_validate({"server": {}, "workers_dir": [str(self.folder)], **keys})

    def load(self, **keys: Any) -> Accepted:
        self.generations.load_first(self.config(**keys))
        return self.accepted[-1]

    @property
    def zygote(self) -> ZygoteProcess:
        assert self.zygotes.current is not None
        return self.zygotes.current

    def close(self) -> None:
        self.generations.end()
        until(lambda: not self.zygotes.pids, "all zygotes have ended")
        for descriptor in (self.links.lifeline, self.links.doorbell):
            os.close(descriptor)


def until(condition: Callable[[], object], what: str) -> None:
    with gevent.Timeout(DEADLINE_S, AssertionError(what)):
        while not condition():
            gevent.sleep(0.005)


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    made = Modules(tmp_path)
    made.write("nap", "def nap(job): ...\n")
    yield made
    made.close()


def test_the_first_generation_has_the_functions_of_the_modules(modules: Modules) -> None:
    accepted = modules.load()
    assert (accepted.number, list(accepted.layout.functions)) == (1, ["nap"])
    assert modules.generations.current is accepted
    assert modules.zygotes.pids == {modules.zygote.pid}


def test_a_module_that_can_not_be_loaded_is_reported_and_the_others_run(modules: Modules) -> None:
    modules.write("broken", "import nonsense\n")
    accepted = modules.load()
    assert list(accepted.layout.functions) == ["nap"]
    (problem,) = modules.generations.errors
    assert "nonsense" in problem.message


def test_a_module_that_ends_the_zygote_is_left_out_and_named(modules: Modules) -> None:
    modules.write("bad", "import os\nos._exit(7)\n")
    accepted = modules.load()
    assert list(accepted.layout.functions) == ["nap"]
    (problem,) = modules.generations.errors
    assert (Path(problem.file).name, problem.message) == (
        "bad.py",
        "the import of this module ended its process (exit status 7)",
    )


def test_if_configuration_and_code_do_not_fit_nothing_runs(modules: Modules) -> None:
    with pytest.raises(ConfigError):
        modules.load(pools={"mail": {"functions": ["nobody_has_this"]}})
    assert modules.zygotes.current is None
    assert not modules.accepted
    until(lambda: not modules.zygotes.pids, "its zygote ends")


def test_new_code_takes_over_and_the_old_zygote_ends(modules: Modules) -> None:
    modules.load()
    old = modules.zygote
    modules.write("doze", "def doze(job): ...\n")
    assert modules.generations.reload(modules.config())
    assert (modules.accepted[-1].number, set(modules.accepted[-1].layout.functions)) == (2, {"nap", "doze"})
    assert modules.zygote is not old
    until(lambda: modules.zygotes.pids == {modules.zygote.pid}, "the old one ends")


def test_broken_code_is_not_used_and_the_old_code_goes_on(modules: Modules) -> None:
    accepted = modules.load()
    old = modules.zygote
    modules.write("nap", "def nap(job) ...\n")
    assert not modules.generations.reload(modules.config())
    assert modules.generations.current is accepted
    assert modules.zygote is old
    (problem,) = modules.generations.errors
    assert Path(problem.file).name == "nap.py"
    until(lambda: modules.zygotes.pids == {old.pid}, "the new one ends")


def test_a_workers_folder_that_is_away_takes_no_function_away(tmp_path: Path, modules: Modules) -> None:
    release = modules.folder = tmp_path / "current"
    (tmp_path / "1").mkdir()
    release.symlink_to("1")
    modules.write("doze", "def doze(job): ...\n")
    accepted = modules.load()
    release.unlink()
    assert not modules.generations.reload(modules.config())
    assert modules.generations.current is accepted
    (problem,) = modules.generations.errors
    assert "the workers folder can't be read" in problem.message


def test_a_configuration_that_does_not_fit_is_not_used_either(modules: Modules) -> None:
    modules.load()
    old = modules.zygote
    assert not modules.generations.reload(modules.config(pools={"mail": {"functions": ["nobody_has_this"]}}))
    assert (modules.zygote, len(modules.accepted)) == (old, 1)
    assert modules.generations.errors


def test_a_zygote_that_died_gets_a_successor_in_the_same_generation(modules: Modules) -> None:
    modules.load()
    old = modules.zygote
    os.kill(old.pid, signal.SIGKILL)
    until(lambda: modules.zygotes.current not in (old, None), "a successor is there")
    assert [accepted.number for accepted in modules.accepted] == [1, 1]
    assert modules.zygotes.pids == {modules.zygote.pid}


def test_a_successor_with_changed_code_is_a_new_generation(modules: Modules) -> None:
    modules.load()
    modules.write("doze", "def doze(job): ...\n")
    os.kill(modules.zygote.pid, signal.SIGKILL)
    until(lambda: len(modules.accepted) == 2, "the successor takes over")
    assert (modules.accepted[1].number, len(modules.accepted[1].layout.functions)) == (2, 2)


def test_once_the_end_is_expected_a_zygote_gets_no_successor(
    modules: Modules, caplog: pytest.LogCaptureFixture
) -> None:
    modules.load()
    modules.generations.expect_end()
    modules.zygotes.kill_current()
    until(lambda: modules.zygotes.current is None, "it is gone")
    gevent.sleep(0)
    assert not modules.zygotes.pids
    assert "the zygote died" not in caplog.text


def test_a_stop_does_not_wait_for_an_import(modules: Modules) -> None:
    modules.write("endless", "while True: pass\n")
    loading = gevent.spawn(modules.generations.load_first, modules.config())
    until(lambda: modules.zygotes.pids, "a zygote loads")
    modules.generations.stop()
    with gevent.Timeout(DEADLINE_S), pytest.raises(StartError, match="stopped"):
        loading.get()


def test_files_that_change_during_a_load_are_loaded_anew_together(modules: Modules) -> None:
    """The first load finds the first half of a deployment, and the second half comes meanwhile."""
    halfway = modules.folder / "halfway"
    modules.write("a", f"import time\nopen({str(halfway)!r}, 'w').close()\ntime.sleep(0.3)\ndef a(job): ...\n")
    modules.write("b", "def b(job): ...\n")

    def deploy() -> None:
        until(halfway.exists, "the load is halfway")
        modules.write("b", "from .a import NEW\ndef b(job): ...\n")
        modules.write("a", "NEW = 1\ndef a(job): ...\n")

    deployment = gevent.spawn(deploy)
    accepted = modules.load()
    deployment.get()
    assert set(accepted.layout.functions) == {"a", "b", "nap"}
    assert modules.generations.errors == []


def test_an_import_that_hangs_is_given_up_for_newer_code(modules: Modules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations_module, "PATIENCE_S", 0.05)
    monkeypatch.setattr(zygote_process, "SLOW_LOAD_S", (0.5, 1.0, 2.0, 4.0))
    modules.load()
    modules.write("doze", "import time\ntime.sleep(600)\ndef doze(job): ...\n")
    reload = gevent.spawn(modules.generations.reload, modules.config())
    doze = str(modules.folder / "doze.py")
    until(lambda: [e for e in modules.generations.errors if e.file == doze], "the slow import is shown")
    assert "doze.py:1: the import of this module still goes on after" in str(modules.generations.errors[-1])
    modules.write("doze", "def doze(job): ...\n")
    modules.generations.abandon_slow_load()
    with pytest.raises(LoadAbandoned), gevent.Timeout(DEADLINE_S):
        reload.get()
    assert modules.generations.reload(modules.config())
    assert set(modules.accepted[-1].layout.functions) == {"nap", "doze"}
    assert modules.generations.errors == []


def test_a_load_that_is_soon_done_is_not_given_up(modules: Modules) -> None:
    modules.load()
    reload = gevent.spawn(modules.generations.reload, modules.config())
    gevent.sleep(0)
    modules.generations.abandon_slow_load()
    assert reload.get()
