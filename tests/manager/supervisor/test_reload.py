"""Wishes to reload: waiting ones are joined, and the steps of a reload follow in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from gearman_manager.config import Config, ConfigError, Problem
from gearman_manager.errors import StartError
from gearman_manager.logs.recent_log import RecentLog
from gearman_manager.supervisor.reload import ConfigReader, Reloads, ReloadWishes

OLD, NEW = Config.model_validate({"server": {}}), Config.model_validate({"server": {}, "prefix": "new_"})


class Neighbours:
    """Records the calls of a reload; `refusal` is raised for the new configuration."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refusal: Exception | None = None
        self.is_taken_over = True
        self.errors: list[Problem] = []
        self.wishes = ReloadWishes()
        arrangement = SimpleNamespace(config=OLD)
        sizes = SimpleNamespace(forget_given=lambda: self.calls.append("forget"))
        config_watches = SimpleNamespace(
            follow=lambda config: self.calls.append(f"follow {config.prefix}"), wait_until_quiet=lambda: None
        )
        announcer: Any = SimpleNamespace(
            reloading=lambda: self.calls.append("reloading"), reloaded=lambda: self.calls.append("reloaded")
        )
        reloads = Reloads(
            cast(Any, self),
            cast(Any, self),
            cast(Any, arrangement),
            cast(Any, sizes),
            cast(Any, config_watches),
            announcer,
        )
        self.greenlet = gevent.spawn(reloads.run, self.wishes)

    def read(self) -> Config:
        self.calls.append("read")
        if self.refusal is not None:
            raise self.refusal
        return NEW

    def reload(self, config: Config) -> bool:
        self.calls.append(f"load {config.prefix}".rstrip())
        gevent.sleep(0)  # let other greenlets run
        return self.is_taken_over

    def settle(self) -> list[str]:
        for _ in range(10):
            gevent.sleep(0)
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def neighbours() -> Iterator[Neighbours]:
    made = Neighbours()
    made.settle()
    yield made
    made.greenlet.kill()


def test_changed_code_is_loaded_with_the_configuration_in_force(neighbours: Neighbours) -> None:
    neighbours.wishes.code_changed()
    assert neighbours.settle() == ["load"]


def test_a_reload_reads_the_configuration_then_loads_the_code_then_follows_the_new_folders(
    neighbours: Neighbours,
) -> None:
    neighbours.wishes.reload()
    assert neighbours.settle() == ["reloading", "read", "forget", "load new_", "follow new_", "reloaded"]


def test_a_configuration_that_is_not_taken_over_is_not_followed(neighbours: Neighbours) -> None:
    neighbours.is_taken_over = False
    neighbours.wishes.reload()
    assert neighbours.settle() == ["reloading", "read", "forget", "load new_", "reloaded"]


def test_wishes_that_come_together_cause_one_reload_of_configuration_and_code(neighbours: Neighbours) -> None:
    neighbours.wishes.reload()
    neighbours.wishes.code_changed()
    neighbours.wishes.code_changed()
    assert neighbours.settle().count("load new_") == 1


def test_wishes_during_a_reload_cause_one_more(neighbours: Neighbours) -> None:
    neighbours.wishes.code_changed()
    while not neighbours.calls:
        gevent.sleep(0)
    neighbours.wishes.code_changed()
    neighbours.wishes.code_changed()
    assert neighbours.settle() == ["load", "load"]


def test_an_unusable_configuration_is_reported_and_the_old_one_goes_on(neighbours: Neighbours) -> None:
    problem = Problem("config.yaml", 3, "prefix", "no")
    neighbours.refusal = ConfigError([problem])
    neighbours.wishes.reload()
    assert neighbours.settle() == ["reloading", "read", "reloaded"]
    assert list(neighbours.errors) == [problem]


def test_after_an_unexpected_error_the_next_reload_is_carried_out(neighbours: Neighbours) -> None:
    neighbours.refusal = RuntimeError("a defect")
    neighbours.wishes.reload()
    assert neighbours.settle() == ["reloading", "read", "reloaded"]
    neighbours.refusal = None
    neighbours.wishes.code_changed()
    assert neighbours.settle() == ["load"]


def test_after_a_stop_no_reload_begins(neighbours: Neighbours) -> None:
    neighbours.wishes.code_changed()
    neighbours.wishes.close()
    neighbours.wishes.reload()
    assert neighbours.settle() == []


class Control:
    """A control server; `refusal` is raised for its address."""

    def __init__(self) -> None:
        self.used: list[Config] = []
        self.refusal: Exception | None = None

    def use(self, config: Config) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.used.append(config)


def test_log_and_control_port_use_the_new_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[object] = []
    monkeypatch.setattr("gearman_manager.supervisor.reload.log", SimpleNamespace(set_up=added.append, add=_note(added)))
    control = Control()
    recent = RecentLog()
    assert ConfigReader(lambda: NEW, recent, cast(Any, control)).read() is NEW
    assert control.used == [NEW]
    assert added == [NEW.log, recent]


def test_an_address_that_is_taken_is_a_problem_of_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gearman_manager.supervisor.reload.log", SimpleNamespace(set_up=lambda _: None, add=lambda *_: None)
    )
    control = Control()
    control.refusal = StartError("can't listen on it")
    with pytest.raises(ConfigError) as caught:
        ConfigReader(lambda: NEW, RecentLog(), cast(Any, control)).read()
    (problem,) = caught.value.problems
    assert (problem.key, problem.message) == ("control.listen", "can't listen on it")


def test_a_log_file_that_can_not_be_opened_is_a_problem_of_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_settings: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gearman_manager.supervisor.reload.log", SimpleNamespace(set_up=refuse))
    control = Control()
    with pytest.raises(ConfigError) as caught:
        ConfigReader(lambda: NEW, RecentLog(), cast(Any, control)).read()
    (problem,) = caught.value.problems
    assert (problem.key, problem.message) == ("log.file", "it can't be opened: Permission denied")
    assert not control.used


def _note(added: list[object]) -> Any:
    return lambda handler, _settings: added.append(handler)
