"""Whom a server declares dead: one whose beats have stopped for a lease, on a clock of its own, and nobody in doubt."""

from __future__ import annotations

from gearman_server.cluster.members import Member, MemberState
from gearman_server.cluster.watch import Watch

OWN, OTHER, THIRD = 1, 2, 3


def members(**beats: int) -> list[Member]:
    numbers = {"own": OWN, "other": OTHER, "third": THIRD}
    return [Member(numbers[name], name, "", "", MemberState.ALIVE, beat, b"") for name, beat in beats.items()]


def test_one_whose_beats_stop_is_overdue_after_a_lease() -> None:
    watch = Watch(2.0)
    for tick in range(5):
        assert watch.overdue(members(own=tick, other=7, third=tick), OWN, tick * 0.5) == []
    assert watch.overdue(members(own=5, other=7, third=5), OWN, 2.5) == [OTHER]


def test_one_that_beats_again_is_not_overdue() -> None:
    watch = Watch(2.0)
    for tick in range(4):
        watch.overdue(members(own=tick, other=7), OWN, tick * 0.5)
    assert watch.overdue(members(own=4, other=8), OWN, 2.0) == []
    assert watch.overdue(members(own=5, other=8), OWN, 2.5) == []


def test_who_was_cut_off_himself_begins_to_watch_anew() -> None:
    watch = Watch(2.0)
    watch.overdue(members(own=1, other=7), OWN, 0.0)
    assert watch.overdue(members(own=2, other=7), OWN, 30.0) == []  # the database was away for all
    for tick in range(1, 5):
        assert watch.overdue(members(own=2 + tick, other=7), OWN, 30.0 + tick * 0.5) == []
    assert watch.overdue(members(own=9, other=7), OWN, 32.5) == [OTHER]


def test_one_that_comes_late_is_watched_from_then_on_and_one_that_is_gone_is_forgotten() -> None:
    watch = Watch(2.0)
    for tick in range(9):
        assert watch.overdue(members(own=tick), OWN, tick * 0.5) == []
    assert watch.overdue(members(own=9, other=7), OWN, 4.5) == []
    assert watch.overdue(members(own=10), OWN, 5.0) == []
    for tick in range(11, 15):
        assert watch.overdue(members(own=tick, other=7), OWN, tick * 0.5) == []


def test_the_dead_are_not_declared_dead_again() -> None:
    watch = Watch(2.0)
    dead = [member._replace(state=MemberState.DEAD) for member in members(other=7)]
    for tick in range(20):
        assert watch.overdue([*members(own=tick), *dead], OWN, tick * 0.5) == []
