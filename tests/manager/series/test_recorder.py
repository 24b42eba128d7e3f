"""The recorder and its reports: minutes and hours in a real file, over restarts, and what charts are told of them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from gearman_client import Address
from gearman_manager.config import Config
from gearman_manager.control import turns
from gearman_manager.errors import NotFound
from gearman_manager.history.action import Action
from gearman_manager.history.action_log import ActionLog
from gearman_manager.history.history_file import FILE_NAME, HistoryError, HistoryFile
from gearman_manager.series import recorder as module
from gearman_manager.series.columns import NO_TIMES
from gearman_manager.series.figures import POOL, Point
from gearman_manager.series.ranges import RANGES
from gearman_manager.series.recorder import Recorder, Sources
from gearman_manager.series.reports import Reports

from .test_function_counts import answer

#: The beginning of an hour.
START = 3600.0 * 490_000
SERVER = Address("127.0.0.1", 4730)


class World:
    """A recorder whose clock the test sets, and what it sees."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        clock = SimpleNamespace(time=lambda: self.now, monotonic=lambda: self.now, thread_time=time.thread_time)
        for where in ("recorder", "reports", "function_times"):
            monkeypatch.setattr(f"gearman_manager.series.{where}.time", clock)
        self.config = Config.model_validate({"server": {}, "history": {"functions": True}})
        self.looks: list[tuple[str, Point, str]] = [("mail", POOL.point(samples=1, done=2, idle=3, target=4), "")]
        self.answers: dict[Address, bytes] = {SERVER: answer({"mail": (0, 0)})}
        self.generation = 1
        self.restarts = {"the job server": 0}
        self._file = folder / FILE_NAME
        self.begin()

    def begin(self) -> None:
        """A manager starts."""
        file = HistoryFile(self._file)
        self.actions = ActionLog(file)
        sources = Sources(
            config=lambda: self.config,
            pools=cast(Any, SimpleNamespace(look=lambda _oldest, _turns: self._pools())),
            counts=cast(Any, SimpleNamespace(ask=lambda: self.answers)),
            functions=lambda: ["mail"],
            generation=lambda: self.generation,
            restarts=lambda: self.restarts,
        )
        self.recorder = Recorder(sources, file)
        self.reports = Reports(self.recorder, file, self.actions, lambda: ["mail"], lambda: ["mail"])

    def end(self) -> None:
        """It ends, in order."""
        self.recorder.start()  # only one that was started has something to end
        self.recorder.close()
        self.actions.close()

    def look(self, times: int = 1) -> None:
        """Some looks, every ten seconds."""
        for _ in range(times):
            self.now += module.EVERY_S
            self.recorder.look()

    def figures(self, name: str, of: str = "pool", wished: str = "15m") -> list[float | None]:
        tell: dict[str, Callable[[], dict[str, Any]]] = {
            "pool": lambda: self.reports.of_pool("mail", RANGES[wished]),
            "function": lambda: self.reports.of_function("mail", RANGES[wished]),
            "all": lambda: self.reports.of_all(RANGES[wished]),
        }
        return cast(list[float | None], tell[of]()["figures"][name])

    def marks(self) -> list[str]:
        return [f"{each['kind']} {each['text']}" for each in self.reports.of_pool("mail", RANGES["15m"])["marks"]]

    def _pools(self) -> Iterator[tuple[Any, Point, str]]:
        for name, point, limit in self.looks:
            yield SimpleNamespace(name=name, last_error="it died"), dict(point), limit


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    yield made
    made.actions.close()


def test_minutes_are_added_up_and_the_one_that_is_not_over_is_told(world: World) -> None:
    world.look(6 + 3)
    assert world.figures("done") == [*[None] * 13, 12.0, 12.0]  # jobs per minute
    assert world.figures("idle")[-2:] == [3, 3]
    assert world.figures("busy")[-2:] == [0, 0]
    assert world.reports.rates("mail") == (12, 0)


def test_what_was_recorded_is_there_after_a_restart_in_the_same_minute(world: World) -> None:
    world.look(9)
    world.end()
    world.begin()
    world.looks = [("mail", POOL.point(samples=1, done=4), "")]
    world.look(3 + 1)
    assert world.figures("done")[-3:] == [12, 18, 24]
    assert world.figures("idle")[-2] == 1.5
    kinds = [mark.split()[0] for mark in world.marks()]
    assert kinds == ["stop", "start"]


def test_functions_are_told_of_and_where_nothing_happened_it_was_nothing(world: World) -> None:
    world.look()
    world.answers = {SERVER: answer({"mail": (12, 12)})}
    world.look(5 + 7)
    done = world.figures("completed", "function")
    assert done[-3:] == [12, 0, 0]
    assert done[0] is None
    assert world.figures("ran_p50_s", "function")[-3:] == [pytest.approx(0.35, abs=0.1), None, None]
    assert world.figures("completed", "all")[-3:] == [12, 0, 0]
    assert world.reports.of_function("mail", RANGES["15m"])["counted"] is True


def test_the_times_of_all_functions_are_those_of_the_last_minutes_and_of_the_one_that_is_not_over(world: World) -> None:
    assert world.reports.function_times() == {}
    world.look()
    world.answers = {SERVER: answer({"mail": (12, 12)})}
    for _ in range(14 * 6):  # while they are read before, at and after each end of a minute
        world.look()
        ran = world.reports.function_times()["mail"]
        assert (ran["ran_p50_s"], ran["ran_mean_s"]) == (pytest.approx(0.35, abs=0.1), 0.3)
        assert ran["waited_p50_s"] is None
    world.look(12)
    assert world.reports.function_times().get("mail", NO_TIMES) == NO_TIMES, "they are too old"
    world.answers = {SERVER: answer({"mail": (24, 24)})}
    world.look(2)
    assert world.reports.function_times()["mail"]["ran_mean_s"] == 0.3
    world.end()
    world.begin()
    assert world.reports.function_times()["mail"]["ran_mean_s"] == 0.3, "the file tells of them after a restart"


def test_a_server_that_does_not_count_leaves_functions_unknown(world: World) -> None:
    world.answers = {}
    world.look(7)
    assert world.figures("completed", "function") == [None] * 15
    assert world.reports.of_function("mail", RANGES["15m"])["counted"] is False
    world.config = Config.model_validate({"server": {}})  # without control.listen nobody counts
    world.look()
    assert world.reports.of_function("mail", RANGES["15m"])["counted"] is None


def test_whether_servers_tell_of_functions_is_known_while_their_answers_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.look()
    monkeypatch.setattr(turns, "TURN_S", 0.0)
    looking, told = gevent.spawn(world.look), list[bool | None]()
    while not looking.ready():
        told.append(world.recorder.has_counts)
        gevent.sleep(0)
    looking.get()
    assert len(told) > 1, "others have had their turn"
    assert set(told) == {True}
    world.answers = {}
    world.look()
    world.answers = {SERVER: answer({"mail": (0, 0)})}
    world.recorder._begin_counts()
    assert world.reports.of_function("mail", RANGES["15m"])["counted"] is False, "they are asked by the next look"


def test_hours_are_made_of_minutes_and_outlive_them(world: World) -> None:
    world.look(6 * 60 * 2 + 6)
    week = world.figures("done", wished="7d")
    assert week[-4:] == [None, 12, 12, 12]
    world.config = Config.model_validate({"server": {}, "history": {"minutes": "1m"}})
    world.look(6 * 60)
    assert world.figures("done", wished="7d")[-5:] == [None, 12, 12, 12, 12]
    assert world.figures("done", wished="1h")[:50] == [None] * 50


def test_ten_minutes_are_one_point_of_a_day(world: World) -> None:
    world.look(6 * 25)
    world.looks = [("mail", POOL.point(samples=1, done=4), "")]
    world.look(6 * 5 + 1)
    assert world.figures("done", wished="24h")[-5:] == [None, 12, 12, 18, 24]


def test_the_limit_that_held_is_told_by_its_name(world: World) -> None:
    world.looks = [("mail", POOL.point(samples=1, held=1), "max")]
    world.look(7)
    assert world.reports.of_pool("mail", RANGES["15m"])["limits"][-3:] == [None, "max", "max"]


def test_marks_tell_of_code_crashes_servers_and_operators(world: World) -> None:
    world.look()
    world.generation = 2
    world.restarts = {"the job server": 1}
    world.looks = [("mail", POOL.point(samples=1, crashed=2), ""), ("other", POOL.point(samples=1, crashed=1), "")]
    action = Action(world.now, "user bob", "operator", "::1", "pools pause", "mail", "", 202, "")
    for what, target, status in (("pools pause", "mail", 202), ("pools pause", "mail", 404), ("jobs stop", "", 202)):
        fields = {name: getattr(action, name) for name in Action.__slots__}
        world.actions.note(Action(**fields | {"what": what, "target": target, "status": status}))
    world.look()
    world.looks = []
    world.look(4)
    assert sorted(world.marks()) == [
        "action pools pause mail by user bob",
        "crash 2 workers of mail ended unexpectedly: it died",
        "reload generation 2 of code and settings took over",
        "server the job server was started again",
    ]
    everybody = world.reports.of_all(RANGES["15m"])["marks"]
    assert "1 worker of other ended unexpectedly: it died" in [mark["text"] for mark in everybody]


def test_pools_and_functions_that_there_are_not(world: World) -> None:
    with pytest.raises(NotFound, match="no pool nowhere"):
        world.reports.of_pool("nowhere", RANGES["1h"])
    with pytest.raises(NotFound, match="no function nowhere"):
        world.reports.of_function("nowhere", RANGES["1h"])


def test_a_file_that_can_not_be_written_costs_history_alone(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).mkdir()
    world.look(6 * 3)
    assert caplog.text.count("charts will have a gap") == 1
    with pytest.raises(HistoryError):
        world.figures("done")
    (tmp_path / FILE_NAME).rmdir()
    world.look(6)
    assert world.figures("done")[-3:] == [None, 12, None]


def test_sums_of_hours_that_can_not_be_written_are_said_once_while_minutes_are_written(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.look(6)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file, file:
        file.execute("CREATE TRIGGER no_room BEFORE INSERT ON hours BEGIN SELECT RAISE(ABORT, 'no room'); END")
    world.look(6 * 60 + 6 * 3 + 1)
    assert caplog.text.count("no room; charts of days will have a gap") == 1
    assert world.figures("done")[-3:] == [12, 12, 12]
