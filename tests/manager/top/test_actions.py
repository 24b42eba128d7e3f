"""What an operator's keys ask of the control API."""

from __future__ import annotations

import pytest

from gearman_manager.top import actions
from gearman_manager.top.actions import Mistake


def test_sizes_and_times_are_read_as_the_commands_do() -> None:
    assert actions.scale("a", "4").body == {"min": 4, "max": 4}
    assert actions.scale("a", " 2..8 ").body == {"min": 2, "max": 8}
    assert (actions.drain("").body, actions.drain("30s").body) == ({}, {"within": "30s"})
    for make, line in (
        (actions.drain, "30"),
        (actions.drain, "soon"),
        *((lambda x: actions.scale("a", x), x) for x in ("", "..", "a..b")),
    ):
        with pytest.raises(Mistake):
            make(line)


def test_names_go_into_addresses_and_questions_so_that_they_name_nothing_else() -> None:
    name = "a/../b?x=1&y#\x1b[2J"
    quoted = "a%2F..%2Fb%3Fx%3D1%26y%23%1B%5B2J"
    assert actions.pause(name).resource == f"/pools/{quoted}/pause"
    assert actions.restart(name).resource == f"/restart?pool={quoted}"
    assert actions.replace_worker(name).resource == f"/workers/{quoted}/restart"
    stop = actions.stop_job(name, "\u202e", "H:\x07")
    assert stop.body == {"handles": ["H:\x07"]}
    for action in (actions.pause(name), actions.restart(name), actions.replace_worker(name), stop):
        assert (action.question + action.done({"stopped": 1})).isprintable()


def test_what_hurts_is_asked_before() -> None:
    gentle = (actions.scale("a", "1"), actions.resume("a"))
    harsh = (actions.pause("a"), actions.restart("a"), actions.restart(None), actions.reload(), actions.drain(""))
    assert not any(action.question for action in gentle)
    assert all(
        action.question for action in (*harsh, actions.replace_worker("a/1"), actions.stop_job("a/1", "f", "H:1"))
    )
