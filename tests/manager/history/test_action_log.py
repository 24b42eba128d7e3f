"""The last actions: kept over restarts, in pages, within a bound, without a stop of the loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from gearman_manager.history import action_log
from gearman_manager.history.action import MOST_CHARACTERS, Action, shortened
from gearman_manager.history.action_log import ActionLog
from gearman_manager.history.history_file import FILE_NAME, HistoryError, HistoryFile


def action(number: int, who: str = "user alice", status: int = 202) -> Action:
    return Action(float(number), who, "operator", "10.0.0.1", "pools pause", f"p{number}", "", status, "because")


@pytest.fixture
def actions(tmp_path: Path) -> Iterator[ActionLog]:
    log = ActionLog(HistoryFile(tmp_path / FILE_NAME))
    yield log
    log.close()


def targets(actions: ActionLog, limit: int = 100, before: int | None = None, **conditions: str) -> list[str]:
    return [row["target"] for row in actions.page(limit, before, conditions)]


def test_what_was_noted_is_told_at_once_and_after_a_restart(actions: ActionLog, tmp_path: Path) -> None:
    actions.note(action(1))
    (row,) = actions.page(10, None, {})
    assert row == {
        "id": 1,
        "at": 1.0,
        "who": "user alice",
        "role": "operator",
        "address": "10.0.0.1",
        "what": "pools pause",
        "target": "p1",
        "details": "",
        "status": 202,
        "outcome": "because",
    }
    actions.note(action(2))
    actions.close()
    again = ActionLog(HistoryFile(tmp_path / FILE_NAME))
    again.note(action(3))
    assert targets(again) == ["p3", "p2", "p1"]
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    again.close()


def test_pages_go_back_from_the_newest_and_conditions_choose(actions: ActionLog) -> None:
    for number in range(5):
        actions.note(action(number, who=("user alice", "token full")[number % 2]))
    assert targets(actions, 2) == ["p4", "p3"]
    assert targets(actions, 2, before=4) == ["p2", "p1"]
    assert targets(actions, who="token full") == ["p3", "p1"]
    assert targets(actions, who="token full", target="p1") == ["p1"]


def test_old_actions_go(actions: ActionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_log, "MOST_KEPT", 3)
    for number in range(6):
        actions.note(action(number))
        assert targets(actions)[0] == f"p{number}"
    assert targets(actions) == ["p5", "p4", "p3"]


def test_the_log_has_each_action_and_a_refusal_with_its_reason(
    actions: ActionLog, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "actions"):
        actions.note(action(1))
        actions.note(action(2, status=403))
    assert [record.getMessage() for record in caplog.records] == [
        "user alice from 10.0.0.1: pools pause p1",
        "user alice from 10.0.0.1: pools pause p2: refused (403): because",
    ]


def test_a_file_that_is_none_of_sqlite_is_set_aside(actions: ActionLog, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    actions.note(action(1))
    assert targets(actions) == ["p1"]
    assert (tmp_path / f"{FILE_NAME}.broken").read_bytes().startswith(b"no database")


def test_without_a_file_actions_stand_in_the_log_and_the_page_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    actions = ActionLog(HistoryFile(tmp_path / "missing" / FILE_NAME))
    for number in range(3):
        actions.note(action(number))
        with pytest.raises(HistoryError, match=r"can't be used: .*No such file"):
            actions.page(10, None, {})
    assert sum("actions stand in the log alone" in record.getMessage() for record in caplog.records) == 1


def test_a_disk_that_hangs_stops_nobody_but_those_who_ask(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / FILE_NAME)
    longest, last, is_over = 0.0, time.monotonic(), False

    def watch() -> None:
        nonlocal longest, last
        while not is_over:
            gevent.sleep(0.005)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    watcher = gevent.spawn(watch)
    with pytest.raises(HistoryError, match=r"not ready after 0\.1 s"):
        file.run(lambda _: time.sleep(1.0), 0.1)
    assert file.run(lambda connection: connection.execute("SELECT 7").fetchone(), 20.0) == (7,)
    is_over = True
    watcher.join()
    assert longest < 0.5
    file.close()


def test_texts_are_bounded() -> None:
    assert shortened("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
    assert len(shortened("x" * 10_000)) == MOST_CHARACTERS


def test_a_text_that_is_none_is_kept_as_far_as_it_goes_and_stops_no_later_one(actions: ActionLog) -> None:
    actions.note(replace(action(1), details=shortened("half \ud800")))
    assert [row["details"] for row in actions.page(1, None, {})] == ["half ?"]
    actions.note(replace(action(2), details="half \ud800"))
    with pytest.raises(HistoryError):
        actions.page(1, None, {"who": "half \ud800"})
    actions.note(action(3))
    gevent.sleep(0)
    assert "p3" in targets(actions)
