"""The parts together: built without side effects, arranged for a generation, and stopped before their start."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from werkzeug.test import Client

from gearman_manager.access.caller import CALLER, Caller, Kind, Role
from gearman_manager.code.code_loading import LoadedCode
from gearman_manager.code.generations import Accepted
from gearman_manager.config import Config, FoundFunction, lay_out
from gearman_manager.control.late_application import Making
from gearman_manager.host.process import child_pids
from gearman_manager.pools.pool_order import CodeFiles
from gearman_manager.supervisor.announcer import Announcer
from gearman_manager.supervisor.build import build
from gearman_manager.supervisor.manager_state import ManagerState
from gearman_manager.supervisor.run_folder import RunFolder
from gearman_manager.supervisor.supervisor import Parts, Supervisor
from gearman_process.service_manager import ServiceManager

DEADLINE_S = 10
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Built:
    """A manager that is built but not started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = self.configured()
        announcer = Announcer(ServiceManager({}, lambda *_: None), lambda: None)
        self.supervisor: Supervisor = build(lambda: self.config, self.config, RunFolder(folder / "run"), announcer)
        self.parts: Parts = self.supervisor._parts

    def configured(self, **keys: Any) -> Config:
        servers = {"servers": ["127.0.0.1:1"]}
        return Config.model_validate({**servers, "workers_dir": [str(self.folder)], **keys})

    def take_over(self, **keys: Any) -> None:
        """Take over a generation with the function `nap`."""
        config = self.configured(**keys)
        found = (FoundFunction("nap", "nap.py", 1, {}),)
        layout = lay_out(config, found, cores=1)
        code = LoadedCode(found, (), CodeFiles({"nap.py": "1"}, {"nap.py": ["nap.py"]}))
        self.parts.job_servers.start().join()
        self.parts.arrangement.take_over(Accepted(1, config, code, layout))

    @property
    def state(self) -> ManagerState:
        return self.supervisor._state


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Built]:
    made = Built(tmp_path)
    yield made
    made.parts.config_watches.close()
    made.parts.policy_gaps.close()


def test_building_a_manager_has_no_side_effects(tmp_path: Path) -> None:
    handlers, children = [signal.getsignal(number) for number in SIGNALS], child_pids()
    Built(tmp_path)
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert child_pids() == children
    assert list(tmp_path.iterdir()) == []


def test_the_application_is_made_in_portions_at_the_first_request(built: Built) -> None:
    application, portions = built.parts.application, 0
    caller = Caller(Kind.SOCKET, "uid 0", Role.ADMIN, "the control socket")
    request = gevent.spawn(Client(application).get, "/api/v1/me", environ_overrides={CALLER: caller})
    assert built.parts.awake.wait(DEADLINE_S)
    while application.make_on(0.0, are_workers_up=False) is not None:
        portions += 1
    assert portions >= 5
    answer = request.get(timeout=DEADLINE_S)
    assert (answer.status_code, answer.get_json()["who"]) == (200, "uid 0")


def test_a_manager_whose_application_can_not_be_made_ends(built: Built) -> None:
    def make() -> Making:
        yield
        raise ImportError("no module of that name")

    built.parts.application._make = make
    built.supervisor._state = ManagerState.RUNNING
    request = gevent.spawn(built.parts.application, {}, lambda *_: None)
    with pytest.raises(ImportError, match="of that name"):
        built.supervisor._serve()
    request.kill()


def test_every_part_is_arranged_for_a_generation(built: Built) -> None:
    watched = built.folder / "settings.json"
    watched.write_text("1")
    pools = {"p": {"functions": ["nap"], "max": 3, "min": 2, "watch": [str(watched)]}}
    built.take_over(pools=pools, functions={"nap": {"max_running": 1}}, limits={"max_workers": 9})
    parts = built.parts
    assert [(pool.name, pool.version != "") for pool in parts.workforce.active] == [("p", True)]
    assert parts.workforce.registered("p") == ["nap"]
    assert (parts.sizes.current["p"].min, parts.sizes.current["p"].max) == (2, 3)
    assert parts.arrangement.config.limits.max_workers == 9
    assert parts.autoscaler._max_running == {"nap": 1}
    assert parts.sizes._guards.limits.max_workers == 9
    assert parts.awake.is_set()
    assert set(parts.policy_gaps._servers) == set(parts.job_servers.addresses)
    assert {str(watched), "nap.py"} <= parts.config_watches._source_watch._files


def test_a_watched_files_contents_are_part_of_a_pools_version(built: Built) -> None:
    watched = built.folder / "settings.json"
    pools = {"p": {"functions": ["nap"], "watch": [str(watched)]}}
    versions = set()
    for text in ("1", "2"):
        watched.write_text(text)
        built.take_over(pools=pools)
        versions.add(built.parts.workforce.pools["p"].version)
    assert len(versions) == 2


def test_an_operators_sizes_hold_until_the_file_is_read_again(built: Built) -> None:
    built.take_over(pools={"p": {"functions": ["nap"], "max": 3}})
    sizes, autoscaler = built.parts.sizes, built.parts.autoscaler
    sizes.give("p", 5, 7)
    assert (sizes.current["p"].min, sizes.current["p"].max) == (5, 7)
    assert autoscaler._pools["p"].settings.max == 7
    sizes.forget_given()
    assert sizes.current["p"].max == 3


def test_an_operators_size_holds_during_a_window_too(built: Built) -> None:
    always = {"cron": "* * * * *", "for": "1h", "min": 4}
    built.take_over(pools={"p": {"functions": ["nap"], "max": 9, "windows": always}})
    sizes, status = built.parts.sizes, built.parts.status
    assert (sizes.current["p"].min, sizes.current["p"].max) == (4, 9)
    report = status.report()["pools"]["p"]
    assert (report["min"], report["max"], report["bounds"]) == (4, 9, "min 4 (window * * * * * UTC)")
    [window] = report["windows"]
    assert (window["cron"], window["for_s"], window["min"], window["open"]) == ("* * * * *", 3600.0, 4, True)
    assert time.time() < window["next"] <= time.time() + 60
    sizes.give("p", 1, 2)
    assert (sizes.current["p"].min, sizes.current["p"].max) == (1, 2)
    report = status.report()["pools"]["p"]
    assert (report["min"], report["max"], report["bounds"], report["windows"]) == (1, 2, "", [])


def test_a_stop_lets_the_workers_finish_and_refuses_further_wishes(built: Built) -> None:
    built.take_over(pools={"p": {"functions": ["nap"]}})
    built.parts.awake.clear()
    built.supervisor.stop()
    assert built.state is ManagerState.STOPPING
    assert built.parts.awake.is_set()
    assert [pool.state.value for pool in built.parts.workforce.active] == ["stopping"]
    built.supervisor.reload()
    assert not built.parts.wishes._has_come.is_set()


def test_a_second_stop_does_not_wait_for_jobs(built: Built, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        built.supervisor.stop()
    assert caplog.messages == ["asked again: not waiting for running jobs any longer"]


def test_a_hopeless_pool_ends_the_manager_with_exit_when_failing(built: Built) -> None:
    built.take_over(pools={"p": {"functions": ["nap"]}}, exit_when_failing=True)
    built.supervisor._state = ManagerState.RUNNING
    pool = built.parts.workforce.pools["p"]
    built.supervisor._reconcile(0.0)
    assert built.state is ManagerState.RUNNING
    for _ in range(4):
        worker = pool.new_worker(0.0)
        pool.crashed(worker.name, 0.0, registered=False, jitter=0.5)
    built.supervisor._reconcile(0.0)
    assert built.state is ManagerState.GIVING_UP


def test_managers_in_different_folders_have_different_names(tmp_path: Path) -> None:
    names = {Built(tmp_path / name).parts.name for name in ("a", "b")}
    assert len(names) == 2
    assert not any("/" in name or " " in name for name in names)


def test_a_manager_without_children_has_no_own_pids(built: Built) -> None:
    assert built.parts.orphans._own_pids() == set()
    assert os.getpid() not in child_pids()
