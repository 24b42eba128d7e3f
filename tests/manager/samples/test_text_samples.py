"""reverse, slow_reverse and word_count."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

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
