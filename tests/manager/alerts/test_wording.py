"""A message's words and data."""

from __future__ import annotations

import json

from gearman_manager.alerts.board import Digest, Solved
from gearman_manager.alerts.rules import Finding
from gearman_manager.alerts.wording import MOST_TOLD, compose

CRASH = Finding(
    "crash_loop", "pool", "mail", 100.0, "its workers die", "mail/7: exit status 3", "gearman-manager logs mail"
)
DOWN = Finding("server_down", "job server", "a:4730", 50.0, "it does not answer")
OFFSET = 1_700_000_000.0


def test_it_says_what_since_when_the_last_error_and_where_to_look() -> None:
    message = compose(Digest((CRASH,), (DOWN,), ()), "gearman-manager on box", OFFSET)
    assert message.subject == "gearman-manager on box: pool mail: crash_loop and 1 more"
    assert "pool mail: its workers die\n  since 20" in message.text
    assert "last error: mail/7: exit status 3\n  see: gearman-manager logs mail\n" in message.text
    assert "STILL job server a:4730: it does not answer" in message.text
    first, second = json.loads(json.dumps(message.data))["alerts"]
    assert (first["state"], first["since"], first["last_error"]) == ("new", OFFSET + 100, "mail/7: exit status 3")
    assert (second["state"], second["name"], second["until"]) == ("lasting", "a:4730", None)


def test_the_end_of_a_trouble_has_its_time_and_nothing_to_look_at() -> None:
    message = compose(Digest(solved=(Solved(CRASH, 160.0),)), "box", OFFSET)
    assert message.subject == "box: solved: pool mail: crash_loop"
    assert "SOLVED pool mail" in message.text
    assert "see:" not in message.text
    assert message.data["alerts"][0]["until"] == OFFSET + 160


def test_a_storm_is_cut_and_counted() -> None:
    storm = tuple(Finding("waiting", "function", f"f{number}", 1.0, "x") for number in range(MOST_TOLD + 30))
    message = compose(Digest(storm), "box", OFFSET)
    assert (message.data["count"], len(message.data["alerts"])) == (MOST_TOLD + 30, MOST_TOLD)
    assert message.text.rstrip().endswith("and 30 more: gearman-manager status")


def test_texts_of_others_can_neither_add_lines_nor_act_on_a_terminal() -> None:
    evil = Finding("dead", "function", "a\nSubject: b", 1.0, "x", "first\nSOLVED all \x1b[2J\u202e", "see")
    message = compose(Digest((evil,)), "box", OFFSET)
    assert message.subject.isprintable()
    assert len(message.text.splitlines()) == 6
    assert "\x1b" not in message.text
    assert "\u202e" not in message.text
