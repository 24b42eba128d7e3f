"""Texts that others wrote: what acts on a terminal is escaped, and everything that people read stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_process.values.escaping import escape_json, escape_line, escape_text


@pytest.mark.parametrize("text", ["plain", "naïve café", "C:\\temp", "日本語", "🙂", "a\u00a0b", "a\tb"])
def test_what_people_write_stays(text: str) -> None:
    assert escape_text(text) == escape_line(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("50 %\r100 %", "50 %\\r100 %"),
        ("\x9b31m\x7f\x00\b\v", "\\x9b31m\\x7f\\x00\\x08\\x0b"),
        ("cod\u202eyp.exe\u2066\u200f", "cod\\u202eyp.exe\\u2066\\u200f"),
        ("no\u200bwidth\ufeff\u2060", "no\\u200bwidth\\ufeff\\u2060"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("\U000e0041\udc80", "\\U000e0041\\udc80"),
    ],
)
def test_what_acts_is_escaped(text: str, escaped: str) -> None:
    assert escape_text(text) == escape_line(text) == escaped


def test_only_a_text_has_several_lines() -> None:
    assert escape_text("one\ntwo") == "one\ntwo"
    assert escape_line("one\ntwo") == "one\\ntwo"


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_json_says_the_same_and_does_not_act(text: str) -> None:
    document = escape_json(json.dumps({"message": text}, ensure_ascii=False))
    assert json.loads(document) == {"message": text}
    assert escape_line(document) == document
