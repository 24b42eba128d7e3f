"""Dead letters in a table are read in portions, between which the reader answers others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.queue import Queue

from gearman_server.cluster.letters import LetterChoice
from gearman_server.jobs.dead_letters import DeadLetter
from gearman_server.jobs.job import NORMAL
from gearman_server.options.text_search import MAX_TEXT_BYTES, READ_BYTES, TextSearch
from gearman_server.sharing import letters as letters_module
from gearman_server.sharing.letters import SharedLetters
from gearman_server.sharing.reader import Reader
from gearman_server.stores.backends import backend_of
from gearman_server.stores.database import Database
from gearman_server.stores.engine import parse_url
from gearman_server.stores.letters_table import write_letters

COUNT = 240
ALL = LetterChoice(None, None, 0.0, math.inf, None, None)


def handle(number: int) -> bytes:
    return b"H:box:%d" % number


def letter(number: int) -> DeadLetter:
    """Every third has the text."""
    return DeadLetter(
        handle=handle(number),
        function=b"f",
        unique=b"",
        reducer=None,
        priority=NORMAL,
        error=b"Needle" if number % 3 == 0 else b"boom",
        traceback=b"",
        options=b"",
        workload=b"w" * READ_BYTES,
        failures=1,
        losses=0,
        submitted_at=1.0,
        first_started_at=2.0,
        last_started_at=3.0,
        died_at=float(number // 7),
    )


class Read:
    """The table, its reader, and what the reader has answered, in this order."""

    def __init__(self, database: Database, reader: Reader) -> None:
        self.letters = SharedLetters(reader, lambda _job: None)
        self.reader = reader
        self._answers: Queue[Any] = Queue()
        self.answer = self._answers.put

    def next_answer(self) -> Any:
        return self._answers.get(timeout=20)


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    url = parse_url(f"sqlite:///{tmp_path / 'jobs.db'}")
    database = Database(url, 5.0)
    database.open()
    database.call(lambda connection: write_letters(connection, [letter(number) for number in range(1, COUNT + 1)]))
    reader = Reader(database.engine, backend_of(url), gevent.get_hub().loop, 5.0)
    yield Read(database, reader)
    reader.stop()
    database.close()


def test_others_have_their_turns_while_a_text_is_looked_for_in_all_letters(read: Read) -> None:
    read.letters.choose(replace(ALL, has_text=TextSearch(b"needle")), read.answer)
    read.reader.ask(lambda _connection: "other", read.answer)
    assert read.next_answer() == "other"
    assert read.next_answer() == [handle(number) for number in range(3, COUNT + 1, 3)]


def test_a_page_ends_where_enough_was_found_looked_at_or_read(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    def page(after: Any, limit: int, search: TextSearch | None) -> tuple[list[bytes], Any]:
        read.letters.page(replace(ALL, has_text=search), after, limit, read.answer, lambda: True)
        found = read.next_answer()
        return [each.handle for each, _ in found.letters], found.last

    some, behind = page(None, 30, TextSearch(b"needle"))
    assert some == [handle(number) for number in range(3, 91, 3)]
    rest, end = page(behind, 1000, TextSearch(b"needle"))
    assert ([*some, *rest], end) == ([handle(number) for number in range(3, COUNT + 1, 3)], None)
    assert page(None, COUNT, None)[1] is None  # the last one is the last of all
    monkeypatch.setattr(letters_module, "MAX_PAGE_BYTES", READ_BYTES * 60)
    some, behind = page(None, 1000, TextSearch(b"x" * MAX_TEXT_BYTES))
    assert (some, behind.id) == ([], 100)
    monkeypatch.setattr(letters_module, "_MAX_LOOKS", 50)
    assert page(behind, 1000, TextSearch(b"x"))[1].id == 150


def test_a_search_ends_when_its_answer_is_not_awaited_any_more(read: Read) -> None:
    search = TextSearch(b"nothing")
    read.letters.choose(replace(ALL, has_text=search), read.answer, lambda: False)
    assert read.next_answer() is None
    assert search.read_bytes < COUNT * READ_BYTES / 4


def test_of_given_letters_those_are_chosen_that_meet_the_conditions(read: Read) -> None:
    choice = replace(ALL, has_text=TextSearch(b"needle"), handles={handle(3), handle(4), b"H:gone:6"})
    read.letters.choose(choice, read.answer)
    assert read.next_answer() == [handle(3)]
