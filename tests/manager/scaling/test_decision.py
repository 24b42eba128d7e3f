"""A decision of the scaler in a sentence: the binding limit and the size are in it, and nobody has to guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.manager.scaling.test_steps import AWAY, BACKLOG_10, BUSY_70, SCALES, WAIT_2S, WORK, Scale

from gearman_manager.scaling.allotment import Bounds, Room, Wish, grant
from gearman_manager.scaling.decision import Decision, Inputs, Limit, Reckoning, Step
from gearman_manager.scaling.recent_decisions import RecentDecisions
from gearman_manager.scaling.steps import Field, PoolScaler, Work

CAP = Limit("limits.max_workers", "limits.max_workers holds")


def clock(moment: float) -> str:
    return f"12:{round(moment):02}"


def decided(wanted: int, size: int, limit: Limit | None = None, at: float = 1.0) -> Decision:
    reckoning = Reckoning(wanted, "2 s of waiting")
    if limit is not None:
        reckoning.to(size, limit)
    assert reckoning.size == size
    return reckoning.decision(at, Inputs())


# --- the sentence


def told(decision: Decision) -> str:
    return RecentDecisions().record(decision)[0].sentence(clock)


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        (decided(9, 4, CAP), "9 wanted by 2 s of waiting, 4 had: limits.max_workers holds since 12:01"),
        (decided(4, 4), "4 wanted by 2 s of waiting, 4 had"),
        (decided(4, 4, CAP), "4 wanted by 2 s of waiting, 4 had"),
        (
            decided(1, 20, Limit("windows", "min 20 by the window 0 8 * * mon-fri", until=30.0)),
            "1 wanted by 2 s of waiting, 20 had: min 20 by the window 0 8 * * mon-fri until 12:30",
        ),
        (
            decided(9, 4, Limit("limits.max_load", "limits.max_load holds", "the load is 3.2")),
            "9 wanted by 2 s of waiting, 4 had: limits.max_load holds since 12:01 (the load is 3.2)",
        ),
    ],
)
def test_a_sentence_names_the_size_and_the_limit_that_binds(decision: Decision, sentence: str) -> None:
    assert told(decision) == sentence


def reckoned(
    work: Work, field: Field, scale: Scale = WAIT_2S, before: int = 0, at: float = 3.0, kept: int | None = None
) -> str:
    """The sentence for a pool that wanted `before` workers at 12:00."""
    scaler = PoolScaler(scale)
    scaler.size(0.0, Work(running=before), Field(0, 100))
    step = None if kept is None else Step(AWAY, kept)
    return told(scaler.reckon(at, work, field, kept=step).decision(at, Inputs()))


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (reckoned(Work(running=3), Field(1, 9)), "3 wanted by 2 s of waiting, 3 had"),
        (reckoned(Work(queued=90), Field(1, 9), BACKLOG_10), "9 wanted by 10 waiting jobs per worker, 9 had"),
        (reckoned(Work(running=7), Field(1, 20), BUSY_70), "10 wanted by a utilisation of 70 %, 10 had"),
        (
            reckoned(Work(running=3), Field(1, 9), Scale(target_wait_s=0.5)),
            "3 wanted by 500 ms of waiting, 3 had",
        ),
        (reckoned(Work(), Field(1, 9)), "0 wanted by 2 s of waiting, 1 had: min 1 holds since 12:03"),
        (reckoned(Work(running=8), Field(1, 4)), "8 wanted by 2 s of waiting, 4 had: max 4 holds since 12:03"),
        (
            reckoned(Work(running=8), Field(1, 4, maximum_by=Limit("max by hand", "scaled to 4 by hand"))),
            "8 wanted by 2 s of waiting, 4 had: scaled to 4 by hand since 12:03",
        ),
        (
            reckoned(Work(running=2), Field(1, 9), before=7),
            "2 wanted by 2 s of waiting, 7 had: the cooldown holds until 12:33",
        ),
        (
            reckoned(Work(), Field(0, 9), Scale(target_wait_s=2.0, cooldown_s=0, idle_s=20.0), before=1),
            "0 wanted by 2 s of waiting, 1 had: idle keeps the last worker until 12:23",
        ),
        (
            reckoned(Work(running=9), Field(0, 9, managers=3)),
            "9 wanted by 2 s of waiting, 3 had: shared by 3 managers since 12:03",
        ),
        (
            reckoned(Work(running=9), Field(0, 9, foreign_workers=2)),
            "9 wanted by 2 s of waiting, 7 had: 2 foreign workers take jobs too since 12:03",
        ),
        (
            reckoned(Work(), Field(1, 9), kept=1),
            "0 wanted by 2 s of waiting, 1 had: min 1 holds since 12:03",
        ),
        (
            reckoned(Work(running=1), Field(0, 4), kept=5),
            "1 wanted by 2 s of waiting, 4 had: max 4 holds since 12:03",
        ),
        (
            reckoned(Work(running=1), Field(0, 9), kept=5),
            "1 wanted by 2 s of waiting, 5 had: a job server is away since 12:03",
        ),
    ],
)
def test_every_step_tells_its_limit(sentence: str, expected: str) -> None:
    assert sentence == expected


def test_late_jobs_are_told() -> None:
    scaler = PoolScaler(WAIT_2S)
    scaler.service.update(100, 1_000_000_000)
    scaler.size(0.0, Work(queued=3, running=1), Field(0, 9))
    decision = scaler.reckon(1.0, Work(queued=3, running=1), Field(0, 9)).decision(1.0, Inputs())
    assert decision.sentence(clock) == "2 wanted by 2 s of waiting (jobs are late), 2 had"


@given(
    st.lists(st.tuples(st.floats(0, 20), WORK, st.none() | st.integers(0, 30)), min_size=1, max_size=20),
    SCALES,
    st.builds(
        lambda low, more, managers, foreign: Field(low, low + more, managers, 0, foreign),
        *(st.integers(0, 5), st.integers(0, 20), st.integers(1, 4), st.integers(0, 3)),
    ),
    st.none() | st.integers(5, 12),
    st.none() | st.integers(0, 4),
)
def test_every_sentence_has_the_size_and_the_limit_that_binds(
    looks: list[tuple[float, Work, int | None]], scale: Scale, field: Field, cap: int | None, room: int | None
) -> None:
    scaler, recent, now, serving = PoolScaler(scale), RecentDecisions(), 0.0, 0
    for gap, work, kept in looks:
        now += gap
        reckoning = scaler.reckon(now, work, field, kept=None if kept is None else Step(AWAY, kept))
        allotment = grant(
            {"mail": Wish(reckoning.size, min(field.minimum, reckoning.size), serving)},
            Bounds(cap, room=None if room is None else Room(room, Limit("limits.max_load", "limits.max_load holds"))),
        )
        if "mail" in allotment.limits:
            reckoning.to(allotment.sizes["mail"], allotment.limits["mail"])
        serving = allotment.sizes["mail"]
        decision, _ = recent.record(reckoning.decision(now, Inputs()))
        sentence = decision.sentence(clock)
        assert decision.size == serving
        assert f" {serving} had" in sentence
        assert sentence.startswith(f"{decision.wanted} wanted by ")
        if decision.binding is None:
            assert decision.wanted == serving
            assert ":" not in sentence
        else:
            assert decision.binding.size == serving
            assert f"had: {decision.binding.limit.text}" in sentence
            assert " since " in sentence or " until " in sentence


# --- the last decisions


def sizes(recent: RecentDecisions) -> list[tuple[int, int]]:
    return [(entry.first.size, entry.times) for entry in recent.entries]


def test_a_repeated_decision_extends_the_last_one() -> None:
    recent = RecentDecisions()
    assert recent.record(decided(9, 4, CAP, at=1.0))[1]
    assert not recent.record(decided(12, 4, CAP, at=5.0))[1]
    (entry,) = recent.entries
    assert (entry.first.at, entry.last.at, entry.until, entry.times) == (1.0, 5.0, 5.0, 2)
    assert (entry.first.wanted, entry.last.wanted) == (9, 12)


def test_a_decision_holds_until_the_next_one() -> None:
    recent = RecentDecisions()
    recent.record(decided(4, 4, at=1.0))
    recent.record(decided(5, 5, at=60.0))
    assert [entry.until for entry in recent.entries] == [60.0, 60.0]


def test_another_size_or_another_limit_is_another_decision() -> None:
    recent = RecentDecisions()
    recent.record(decided(9, 4, CAP))
    recent.record(decided(9, 5, CAP))
    recent.record(decided(9, 5, AWAY))
    recent.record(decided(9, 4, CAP))
    assert sizes(recent) == [(4, 1), (5, 1), (5, 1), (4, 1)]


def test_a_limit_holds_since_it_was_first_there_without_a_break() -> None:
    recent = RecentDecisions()
    recent.record(decided(9, 4, CAP, at=1.0))
    assert recent.record(decided(9, 5, CAP, at=2.0))[0].steps[0].since == 1.0
    recent.record(decided(5, 5, at=3.0))
    assert recent.record(decided(9, 5, CAP, at=4.0))[0].steps[0].since == 4.0


def test_reasons_that_take_turns_do_not_push_out_what_came_before() -> None:
    recent = RecentDecisions(kept=4)
    recent.record(decided(2, 2))
    for turn in range(100):
        recent.record(decided(9, 9, at=turn))
        recent.record(decided(8, 9, AWAY, at=turn + 0.5))
    assert sizes(recent) == [(2, 1), (9, 100), (9, 100)]
    assert recent.last is not None
    assert recent.last.at == 99.5


def test_no_more_are_kept_than_fit() -> None:
    recent = RecentDecisions(kept=3)
    for size in range(10):
        recent.record(decided(size, size))
    assert sizes(recent) == [(7, 1), (8, 1), (9, 1)]


def test_nothing_is_kept_at_first() -> None:
    assert RecentDecisions().last is None
