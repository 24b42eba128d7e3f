"""When troubles are told: together, not again too soon, and their ends."""

from __future__ import annotations

from collections.abc import Iterable

from gearman_manager.alerts.board import CALM_S, GAP_S, GATHER_S, Board, Digest
from gearman_manager.alerts.rules import Finding

AGAIN_S = 3600.0


def trouble(name: str, since: float = 0.0) -> Finding:
    return Finding("crash_loop", "pool", name, since, "dies")


class Told:
    """A board that is looked at once a second, and its messages with their times."""

    def __init__(self) -> None:
        self.board = Board()
        self.now = 0
        self.messages: list[tuple[int, Digest]] = []

    def until(self, end: float, *found: Finding) -> None:
        while self.now < end:
            self.board.take_in(self.now, found, AGAIN_S)
            digest = self.board.digest(self.now)
            if digest is not None:
                self.messages.append((self.now, digest))
            self.now += 1

    @property
    def last(self) -> Digest:
        return self.messages[-1][1]


def names(findings: Iterable[Finding]) -> list[str]:
    return [finding.name for finding in findings]


def test_a_storm_is_one_message_and_what_comes_later_another() -> None:
    told = Told()
    storm = [trouble(str(number)) for number in range(100)]
    told.until(1, storm[0])
    told.until(20, *storm[:90])
    assert [at for at, _ in told.messages] == [GATHER_S]
    assert names(told.last.new) == [str(number) for number in range(90)]
    told.until(200, *storm)
    assert [at for at, _ in told.messages] == [GATHER_S, GATHER_S + GAP_S]
    assert names(told.last.new) == [str(number) for number in range(90, 100)]


def test_a_trouble_that_lasts_is_told_again_after_its_time() -> None:
    told = Told()
    told.until(GATHER_S + AGAIN_S * 2.5, trouble("mail"))
    first, second, third = [at for at, _ in told.messages]
    assert AGAIN_S <= second - first <= AGAIN_S + GATHER_S + 1
    assert AGAIN_S <= third - second <= AGAIN_S + GATHER_S + 1
    assert (names(told.last.new), names(told.last.lasting)) == ([], ["mail"])


def test_the_end_of_a_trouble_is_told_once_it_is_calm() -> None:
    told = Told()
    told.until(100, trouble("mail", 1.0))
    told.until(99 + CALM_S)
    assert len(told.messages) == 1
    told.until(5000)
    assert len(told.messages) == 2
    [solved] = told.last.solved
    assert (solved.finding.name, solved.finding.since, solved.at) == ("mail", 1.0, 99)


def test_a_trouble_that_is_away_for_a_moment_is_not_over() -> None:
    told = Told()
    told.until(100, trouble("mail", 1.0))
    told.until(100 + CALM_S - 1)
    told.until(200, trouble("mail", 150.0))
    assert len(told.messages) == 1


def test_a_trouble_that_comes_and_goes_is_told_once_in_its_time() -> None:
    told = Told()
    for minute in range(120):
        told.until(minute * 60 + 30, trouble("mail"))
        told.until(minute * 60 + 60)
    new = [at for at, digest in told.messages if digest.new]
    assert len(new) == 2
    assert new[1] - new[0] >= AGAIN_S
    assert len([at for at, digest in told.messages if digest.solved]) == 2


def test_a_trouble_that_is_over_before_it_was_told_is_not_told() -> None:
    told = Told()
    told.until(GATHER_S - 1, trouble("mail"))
    told.until(500)
    assert told.messages == []
