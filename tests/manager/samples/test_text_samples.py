"""reverse, slow_reverse, word_count and text_totals."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .conftest import RecordedJob

MakeJob = Callable[..., Any]
Load = Callable[[str], ModuleType]


@pytest.mark.parametrize("workload", [b"", b"Rasmus", b"\x00\xff\n"])
def test_reverse_reverses_the_bytes(load: Load, make_job: MakeJob, workload: bytes) -> None:
    assert load("reverse").reverse(make_job(workload)) == bytes(reversed(workload))


def test_slow_reverse_reports_ten_steps_and_then_the_result(load: Load, make_job: MakeJob) -> None:
    job = make_job(b"Rasmus")
    assert load("slow_reverse").slow_reverse(job) == b"sumsaR"
    assert job.statuses == [(step, 10) for step in range(1, 11)]


@pytest.mark.parametrize(
    ("text", "lines", "words", "characters"),
    [
        ("", 0, 0, 0),
        ("one", 1, 1, 3),
        ("one two\nthree\n", 2, 3, 14),
        ("one\n\nlast line", 3, 3, 14),
        ("\n", 1, 0, 1),
        ("Grüße aus Køge ☂", 1, 4, 16),
        ("non-breaking\u00a0space", 1, 2, 18),
    ],
)
def test_word_count_counts(load: Load, make_job: MakeJob, text: str, lines: int, words: int, characters: int) -> None:
    found = load("word_count").word_count(make_job(text.encode()))
    assert found == {"lines": lines, "words": words, "characters": characters}


def test_word_count_reports_the_place_where_a_text_is_not_utf8(load: Load, make_job: MakeJob) -> None:
    with pytest.raises(ValueError, match="not UTF-8: invalid start byte at byte 5"):
        load("word_count").word_count(make_job("café".encode() + b"\xff au lait"))


@given(st.text(alphabet="a \nü", max_size=60), st.integers(1, 20))
def test_the_pieces_of_text_totals_count_as_much_as_the_whole(load: Load, text: str, piece_bytes: int) -> None:
    def count(piece: bytes) -> dict[str, int]:
        counted: dict[str, int] = load("word_count").word_count(RecordedJob(piece, {}))
        return counted

    pieces = load("text_totals").split(text.encode(), piece_bytes)
    assert b"".join(pieces) == text.encode()
    assert all(pieces)
    whole = count(text.encode())
    assert {name: sum(count(piece)[name] for piece in pieces) for name in whole} == whole


def test_the_pieces_are_as_long_as_lines_allow(load: Load) -> None:
    split = load("text_totals").split
    assert split(b"a\nb\nc\nlong line\nd", 4) == [b"a\nb\n", b"c\n", b"long line\n", b"d"]
