"""Finished jobs are kept over restarts, within bounds of number, age and size, and are found again."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gearman_manager.config.models import FinishedJobs
from gearman_manager.errors import ManagerError, NotNow
from gearman_manager.finished import keeper as keeper_module
from gearman_manager.finished.keeper import FILE_NAME, Keeper
from gearman_manager.finished.search import Wanted
from gearman_manager.finished.table import MOST_ATTEMPTS
from gearman_manager.history.history_file import HistoryError, HistoryFile
from gearman_manager.privacy.function_privacy import FunctionPrivacy

from .conftest import SERVER, Bounds, attempt


def handles(keeper: Keeper, wanted: Wanted | None = None, limit: int = 100, before: int | None = None) -> list[int]:
    """The numbers of the handles that are found."""
    return [int(row["handle"].rpartition(":")[2]) for row in keeper.page(wanted or Wanted(), limit, before)]


def test_all_that_is_known_is_kept_over_restarts(make_keeper: Callable[[], Keeper]) -> None:
    made = attempt(1, unique="u", tags=("a", "b c"), started=None, error="\0<b>", traceback="x\ny", follows="dead")
    keeper = make_keeper()
    assert keeper.cursor_of(SERVER) == ""
    keeper.keep([made], SERVER, "r1.1")
    keeper.close()
    again = make_keeper()
    assert again.cursor_of(SERVER) == "r1.1"
    (row,) = again.attempts_of(made.handle)
    fields = {name: getattr(made, name) for name in made.__dataclass_fields__}
    assert row == fields | {"id": 1, "tags": ["a", "b c"]}


def test_a_file_of_before_is_kept(make_keeper: Callable[[], Keeper], tmp_path: Path) -> None:
    keeper = make_keeper()
    keeper.keep([attempt(1)], SERVER, "r1.1")
    keeper.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("ALTER TABLE finished DROP COLUMN is_whole")
    again = make_keeper()
    again.keep([attempt(2)], SERVER, "r1.2")
    assert [row["is_whole"] for row in again.page(Wanted(), 10, None)] == [True, False]


def test_a_list_has_the_first_part_of_long_texts(keeper: Keeper) -> None:
    keeper.keep([attempt(1, error="e" * 999, workload="w" * 500, traceback="t" * 99)], SERVER, "r1.1")
    (row,) = keeper.page(Wanted(), 10, None)
    assert (row["error"], row["workload"]) == ("e" * 300, "w" * 80)
    assert not {"traceback", "result"} & row.keys()


def test_pages_go_back_from_the_newest(keeper: Keeper) -> None:
    keeper.keep([attempt(number) for number in range(5)], SERVER, "r1.5")
    assert handles(keeper, limit=2) == [4, 3]
    assert handles(keeper, limit=2, before=4) == [2, 1]
    assert handles(keeper, before=1) == []


def test_what_matches_up_to_a_mark_is_counted_and_given_with_its_workload(keeper: Keeper) -> None:
    keeper.keep(
        [attempt(1, workload="w" * 300), attempt(2, is_whole=False), attempt(1, outcome="lost")], SERVER, "r1.3"
    )
    mark = keeper.mark()
    keeper.keep([attempt(3)], SERVER, "r1.4")
    assert keeper.count(Wanted(), mark) == (2, 1)  # one job has ended twice
    assert keeper.count(Wanted(text="w"), keeper.mark()) == (3, 2)
    first, second = keeper.with_workloads(Wanted(outcome="complete"), mark, 0, 10)
    assert (first["workload"], first["is_whole"], second["is_whole"]) == ("w" * 300, True, False)
    assert keeper.with_workloads(Wanted(outcome="complete"), mark, first["id"], 10) == [second]


NOW = time.time()
WANTED = [
    (Wanted(handle="H:test:1"), [1]),
    (Wanted(unique="u"), [1]),
    (Wanted(function="g"), [2]),
    (Wanted(tag="a"), [2, 1]),
    (Wanted(tag="b c"), [1]),
    (Wanted(tag="b"), []),
    (Wanted(outcome="exception"), [2]),
    (Wanted(outcome="exception", with_attempts=True), [4, 2]),
    (Wanted(since=NOW - 250), [3, 2]),
    (Wanted(until=NOW - 250), [1]),
    (Wanted(since=NOW - 250, until=NOW - 150), [2]),
    (Wanted(text="ALICE"), [1]),
    (Wanted(text="100%"), [2]),
    (Wanted(text="1_0"), []),
    (Wanted(text="a\\x00b"), [3]),
    (Wanted(text="deep"), [2]),
    (Wanted(text="' OR 1=1 --"), []),
    (Wanted(function="g", outcome="complete"), []),
    (Wanted(), [3, 2, 1]),
    (Wanted(with_attempts=True), [4, 3, 2, 1]),
]


@pytest.fixture
def four(keeper: Keeper) -> Keeper:
    failed = attempt(2, function="g", at=NOW - 200, tags=("a",), outcome="exception", error="100% full", follows="dead")
    some = [
        attempt(1, unique="u", at=NOW - 300, tags=("a", "b c"), workload='{"to": "Alice@example.com"}'),
        failed,
        attempt(3, at=NOW - 100, workload="a\\x00b"),
        attempt(4, outcome="exception", follows="retry", at=NOW - 50),
    ]
    object.__setattr__(failed, "traceback", "File x\n  in deep")
    keeper.keep(some, SERVER, "r1.4")
    return keeper


@pytest.mark.parametrize(("wanted", "found"), WANTED)
def test_conditions_choose_and_wildcards_are_characters(four: Keeper, wanted: Wanted, found: list[int]) -> None:
    assert handles(four, wanted) == found


def test_the_attempts_of_a_job_come_in_their_order(keeper: Keeper) -> None:
    some = [attempt(number, handle="H:test:9", attempt=number) for number in range(1, 4)]
    keeper.keep([attempt(8), *some], SERVER, "r1.4")
    assert [row["attempt"] for row in keeper.attempts_of("H:test:9")] == [1, 2, 3]
    assert keeper.attempts_of("H:test:77") == []
    many = [attempt(number, handle="H:test:1", attempt=number) for number in range(1, MOST_ATTEMPTS + 10)]
    keeper.keep(many, SERVER, "r1.999")
    rows = keeper.attempts_of("H:test:1")
    assert (len(rows), rows[-1]["attempt"]) == (MOST_ATTEMPTS, MOST_ATTEMPTS + 9)


def test_of_too_many_the_oldest_go(keeper: Keeper, bounds: Bounds) -> None:
    bounds.now = FinishedJobs(max_count=3)
    keeper.keep([attempt(number) for number in range(5)], SERVER, "r1.5")
    keeper.keep([attempt(5)], SERVER, "r1.6")
    assert handles(keeper) == [5, 4, 3]


def in_file(folder: Path) -> list[int]:
    """The numbers that are in the file, whatever is told of them."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as file:
        return [number for (number,) in file.execute("SELECT number FROM finished ORDER BY id")]


def test_what_is_too_old_goes_and_sooner_where_a_function_says_so(
    keeper: Keeper, bounds: Bounds, tmp_path: Path
) -> None:
    bounds.now = FinishedJobs.model_validate({"max_age": "1h"})
    kept_s = {"secret": 60.0, "long": 99999.0}
    keeper.privacy.use({name: FunctionPrivacy(retention_s=age_s) for name, age_s in kept_s.items()}, FunctionPrivacy())
    now = time.time()
    old = [attempt(1, at=now - 4000), attempt(2, at=now - 4000, function="long"), attempt(3, at=now - 90)]
    keeper.keep([*old, attempt(4, at=now - 90, function="secret"), attempt(5, function="secret")], SERVER, "r1.5")
    assert handles(keeper) == [5, 3], "it is not told, although it is still there"
    assert [keeper.attempts_of(f"H:test:{number}") != [] for number in (2, 3, 4)] == [False, True, False]
    assert in_file(tmp_path) == [1, 2, 3, 4, 5]
    keeper.tidy()
    assert in_file(tmp_path) == [3, 5]


def test_what_was_kept_goes_in_its_time_when_nothing_is_kept_any_more(
    keeper: Keeper, bounds: Bounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "TIDY_EVERY_S", 0.0)
    bounds.now = None
    keeper.tidy()
    assert not (tmp_path / FILE_NAME).exists(), "nothing was ever kept"
    bounds.now = FinishedJobs()
    keeper.keep([attempt(1, at=time.time() - 4000), attempt(2), attempt(3, function="secret")], SERVER, "r1.3")
    bounds.now = None
    keeper.bounds_of_old = lambda: FinishedJobs.model_validate({"max_age": "1h"})
    keeper.tidy()
    assert in_file(tmp_path) == [2, 3]
    keeper.bounds_of_old = lambda: FinishedJobs(max_count=0)
    keeper.tidy()
    assert in_file(tmp_path) == []


def test_a_full_file_makes_room(
    make_keeper: Callable[[], Keeper], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "MOST_BYTES", 400 << 10)
    keeper = make_keeper()
    for begin in range(0, 400, 20):
        some = [attempt(number, traceback="t" * 4000) for number in range(begin, begin + 20)]
        keeper.keep(some, SERVER, f"r1.{begin}")
    found = handles(keeper, limit=500)
    assert found[0] == 399
    assert found == list(range(399, 399 - len(found), -1))
    assert 40 < len(found) < 120
    assert (tmp_path / FILE_NAME).stat().st_size <= 400 << 10


def test_a_file_that_cannot_be_written_is_said_once_and_the_rest_goes_on(
    keeper: Keeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            keeper.keep([attempt(number)], SERVER, "r1.1")
        assert keeper.cursor_of(SERVER) == "r1.1", "nothing is read and told twice"
        with pytest.raises(HistoryError):
            keeper.page(Wanted(), 10, None)
        assert [record.message.partition("; ")[2] for record in caplog.records] == [
            "finished jobs are not kept until it can"
        ]
        (tmp_path / FILE_NAME).rmdir()
        keeper.keep([attempt(7)], SERVER, "r1.2")
    assert handles(keeper) == [7]


def test_that_old_ones_stay_is_said_each_time_that_it_begins_also_while_none_are_kept(
    keeper: Keeper, bounds: Bounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper_module, "TIDY_EVERY_S", 0.0)
    keeper.keep([attempt(1)], SERVER, "r1.1")
    bounds.now = None
    path, aside = tmp_path / FILE_NAME, tmp_path / "aside"
    for times in (1, 2):
        keeper.close()
        path.rename(aside)
        path.mkdir()
        keeper.tidy()
        keeper.tidy()
        assert caplog.text.count("finished jobs that are too old stay in it until it can") == times
        path.rmdir()
        aside.rename(path)
        keeper.tidy()


def test_a_broken_file_costs_the_history_alone(keeper: Keeper, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    keeper.keep([attempt(7)], SERVER, "r1.2")
    assert handles(keeper) == [7]
    assert (tmp_path / f"{FILE_NAME}.broken").exists()


def test_nothing_is_kept_or_told_while_it_is_off(keeper: Keeper, bounds: Bounds, tmp_path: Path) -> None:
    bounds.now = None
    keeper.keep([attempt(1)], SERVER, "r1.1")
    assert keeper.attempts_of("H:test:1") == []
    with pytest.raises(NotNow, match=r"not kept: `control.listen` or `history.finished_jobs` turns that on"):
        keeper.page(Wanted(), 10, None)
    assert not (tmp_path / FILE_NAME).exists()


def test_a_text_is_found_by_its_small_and_its_capital_letters_and_may_not_be_long(keeper: Keeper) -> None:
    keeper.keep([attempt(1, workload="To: Bob 100%"), attempt(2, error="a" * 900 + "c")], SERVER, "r1.2")
    assert handles(keeper, Wanted(text="bob 100%")) == [1]
    assert handles(keeper, Wanted(text="a" * 199 + "b")) == []
    with pytest.raises(ManagerError, match="at most 200 characters"):
        keeper.page(Wanted(text="a" * 201), 10, None)


def test_where_to_go_on_is_known_while_the_file_is_busy(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper.keep([attempt(1)], SERVER, "r1.1")

    def busy(*_: object) -> None:
        raise HistoryError("finished.db is not ready after 5 s")

    monkeypatch.setattr(HistoryFile, "run", busy)
    assert keeper.cursor_of(SERVER) == "r1.1"
