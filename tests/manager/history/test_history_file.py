"""Jobs on the file of the history: each has its time, and nobody waits for one that has used it up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from gearman_manager.history.history_file import HistoryError, HistoryFile

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[HistoryFile]:
    file = HistoryFile(tmp_path / "history.db")
    yield file
    file.close()


def test_a_search_that_takes_too_long_is_broken_off(file: HistoryFile) -> None:
    with pytest.raises(HistoryError, match=r"is not ready after 0\.2 s"):
        file.run(lambda connection: connection.execute(ENDLESS).fetchone(), 0.2)
    began = time.monotonic()
    assert file.run(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    assert time.monotonic() - began < 2


def test_what_nobody_waits_for_any_more_is_not_begun(file: HistoryFile) -> None:
    begun = []
    slow = gevent.spawn(file.run, lambda _: time.sleep(0.5))
    gevent.sleep(0)
    with pytest.raises(HistoryError):
        file.run(lambda _: begun.append(True), 0.1)
    slow.get()
    assert file.run(lambda _: 1) == 1
    assert begun == []
