"""Words about jobs that may come are kept within bounds."""

from __future__ import annotations

import pytest

from gearman_server.jobs.access import Identity
from gearman_server.jobs.session import Session
from gearman_server.orphans import words as module
from gearman_server.orphans.words import Word, Words


def test_the_oldest_words_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WORDS", 3)
    speaker, words = Session(Identity("192.0.2.1", 1)), Words()
    for number in range(5):
        words.keep(b"%d" % number, Word(speaker, b"w", 1, 0.0))
    assert [words.get(b"%d" % number) is not None for number in range(5)] == [False, False, True, True, True]


def test_answers_have_so_many_bytes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 10)
    speaker, words = Session(Identity("192.0.2.1", 1)), Words()
    for number in range(3):
        words.keep(b"%d" % number, Word(speaker, b"w", 1, 0.0, b"12345", 9.0))
    assert words.get(b"0") is None
    words.take(b"1")
    words.keep(b"3", Word(speaker, b"w", 1, 0.0, b"12345", 9.0))
    assert words.get(b"2") is not None


def test_answers_are_given_up_when_their_time_is_over() -> None:
    speaker, words = Session(Identity("192.0.2.1", 1)), Words()
    words.keep(b"a", Word(speaker, b"w", 1, 0.0, b"answer", 5.0))
    words.keep(b"b", Word(speaker, b"w", 1, 0.0, b"answer", 7.0))
    words.keep(b"runs", Word(speaker, b"w", 1, 0.0))
    assert words.forget_old(5.0) == 7.0
    assert words.forget_old(7.0) is None
    assert len(words) == 1
    words.forget(speaker)
    assert len(words) == 0


def test_an_answer_is_not_replaced_by_an_older_word() -> None:
    speaker, words = Session(Identity("192.0.2.1", 1)), Words()
    words.keep(b"a", Word(speaker, b"w", 2, 0.0, b"answer", 5.0))
    words.keep(b"a", Word(speaker, b"w", 2, 0.0))
    words.keep(b"a", Word(speaker, b"w", 1, 0.0, b"older", 5.0))
    kept = words.get(b"a")
    assert kept is not None
    assert kept.answer == b"answer"
    words.keep(b"a", Word(speaker, b"w", 3, 0.0))
    assert not (words.get(b"a") or kept).answer
