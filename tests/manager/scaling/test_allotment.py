"""The number of workers that the pools may have together: the global cap, budgets, weights, and the host's room."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gearman_manager.scaling.allotment import Bounds, Part, Room, Wish, grant
from gearman_manager.scaling.decision import Limit

Wishes = dict[str, Wish]
LOAD = Limit("limits.max_load", "limits.max_load holds")


@pytest.mark.parametrize(
    ("wishes", "cap", "room", "expected"),
    [
        ({"a": Wish(8, 1, 3), "b": Wish(2, 0, 0)}, None, None, {"a": 8, "b": 2}),
        ({"a": Wish(8, 1, 1), "b": Wish(2, 1, 1)}, 10, None, {"a": 8, "b": 2}),
        # Too little for all: the minima come first, then the smallest pool gets the next worker.
        ({"a": Wish(8, 1, 1), "b": Wish(8, 1, 1)}, 6, None, {"a": 3, "b": 3}),
        ({"a": Wish(8, 4, 4), "b": Wish(8, 0, 0)}, 5, None, {"a": 4, "b": 1}),
        # No worker starts before the one whose place it takes has gone.
        ({"a": Wish(8, 1, 6), "b": Wish(8, 0, 0)}, 6, None, {"a": 3, "b": 0}),
        ({"a": Wish(8, 1, 3, leaving=1), "b": Wish(8, 0, 0)}, 6, None, {"a": 3, "b": 2}),
        # The host's room ends no worker and never holds a minimum back.
        ({"a": Wish(8, 1, 3), "b": Wish(2, 2, 0)}, None, Room(0, LOAD), {"a": 3, "b": 2}),
        ({"a": Wish(8, 1, 3), "b": Wish(4, 1, 1)}, None, Room(3, LOAD), {"a": 4, "b": 3}),
        ({"a": Wish(1, 1, 3)}, None, Room(0, LOAD), {"a": 1}),
        ({"a": Wish(8, 1, 1), "b": Wish(8, 1, 1)}, 6, Room(1, LOAD), {"a": 2, "b": 1}),
    ],
)
def test_the_cap_and_the_room(wishes: Wishes, cap: int | None, room: Room | None, expected: dict[str, int]) -> None:
    assert grant(wishes, Bounds(cap, room=room)).sizes == expected


@pytest.mark.parametrize(
    ("weights", "cap", "expected"),
    [
        ((1, 1), 10, (5, 5)),
        ((2, 1), 9, (6, 3)),
        ((3, 1), 12, (9, 3)),
        ((3, 2, 1), 12, (6, 4, 2)),
        ((5, 3), 7, (4, 3)),
        # Each pool has one before any has two, whatever the weights; if there are too few, the heavier ones have them.
        ((100, 1, 1), 5, (3, 1, 1)),
        ((1, 100, 10), 2, (0, 1, 1)),
    ],
)
def test_shares_by_weight(weights: tuple[int, ...], cap: int, expected: tuple[int, ...]) -> None:
    names = "abc"[: len(weights)]
    wishes = {name: Wish(99, 0, 0, weight=weight) for name, weight in zip(names, weights, strict=True)}
    assert tuple(grant(wishes, Bounds(cap)).sizes.values()) == expected


def user(wanted: int, minimum: int = 0, serving: int = 0, leaving: int = 0, **uses: int) -> Wish:
    return Wish(wanted, minimum, serving, leaving, uses=uses)


@pytest.mark.parametrize(
    ("wishes", "budgets", "expected"),
    [
        ({"a": user(8, smtp=1), "b": user(8, smtp=1), "c": user(8)}, {"smtp": 6}, {"a": 3, "b": 3, "c": 8}),
        # A pool that needs more of it for each worker has no fewer workers for that, as long as they fit.
        ({"a": user(8, smtp=2), "b": user(8, smtp=1)}, {"smtp": 7}, {"a": 2, "b": 3}),
        ({"a": user(9, smtp=5), "b": user(9, smtp=1)}, {"smtp": 9}, {"a": 1, "b": 4}),
        # The scarcest of several budgets counts; what one pool can't use is left to others.
        ({"a": user(9, smtp=1, db=1), "b": user(9, db=1)}, {"smtp": 2, "db": 8}, {"a": 2, "b": 6}),
        # A worker that leaves uses its units until it has gone, and a minimum waits for them too.
        ({"a": user(4, 4, 0, 3, smtp=1)}, {"smtp": 4}, {"a": 1}),
        ({"a": user(1, 1, 6, smtp=1), "b": user(5, 1, 0, smtp=1)}, {"smtp": 6}, {"a": 1, "b": 0}),
        ({"a": user(1, 1, 1, 5, smtp=1), "b": user(5, 1, 0, smtp=1)}, {"smtp": 6}, {"a": 1, "b": 0}),
        ({"a": user(1, 1, 1, 2, smtp=1), "b": user(5, 1, 0, smtp=1)}, {"smtp": 6}, {"a": 1, "b": 3}),
        # Minima that an operator has set too high are shared like all else.
        ({"a": user(9, 9, smtp=1), "b": user(9, 9, smtp=1)}, {"smtp": 6}, {"a": 3, "b": 3}),
        # A budget that became smaller ends workers, as soon as they are idle.
        ({"a": user(9, 1, 9, smtp=1)}, {"smtp": 4}, {"a": 4}),
        ({"a": user(9, 1, 1, smtp=1)}, {}, {"a": 9}),
    ],
)
def test_budgets(wishes: Wishes, budgets: dict[str, int], expected: dict[str, int]) -> None:
    assert grant(wishes, Bounds(budgets=budgets)).sizes == expected


def test_the_last_workers_of_removed_pools_use_their_units() -> None:
    wishes = {"a": user(9, 1, 1, smtp=1)}
    assert grant(wishes, Bounds(None, {"smtp": 6}, None, 1, {"smtp": 3})).sizes == {"a": 3}
    assert grant(wishes, Bounds(6, {}, None, 3)).sizes == {"a": 3}


@pytest.mark.parametrize(
    ("wishes", "bounds", "limits"),
    [
        ({"a": Wish(8, 1, 3), "b": Wish(2, 0, 0)}, Bounds(10, room=Room(9, LOAD)), {}),
        ({"a": Wish(8, 1, 1), "b": Wish(2, 0, 0)}, Bounds(6), {"a": "limits.max_workers"}),
        ({"a": Wish(8, 1, 8), "b": Wish(2, 0, 0)}, Bounds(10, room=Room(0, LOAD)), {"b": "limits.max_load"}),
        (
            {"a": Wish(8, 1, 1), "b": Wish(8, 1, 1)},
            Bounds(6, room=Room(1, LOAD)),
            {"a": "limits.max_load", "b": "limits.max_load"},
        ),
        ({"a": Wish(2, 1, 1, leaving=3)}, Bounds(4, room=Room(9, LOAD)), {"a": "limits.max_workers"}),
        (
            {"a": user(9, smtp=1), "b": user(9), "c": user(1)},
            Bounds(9, {"smtp": 2}),
            {"a": "limits.budgets.smtp", "b": "limits.max_workers"},
        ),
        ({"a": user(2, 1, 1, 3, smtp=1)}, Bounds(budgets={"smtp": 4}), {"a": "limits.budgets.smtp"}),
    ],
)
def test_the_limit_that_holds_a_pool_back_is_named(wishes: Wishes, bounds: Bounds, limits: dict[str, str]) -> None:
    assert {name: limit.name for name, limit in grant(wishes, bounds).limits.items()} == limits


def test_a_pool_under_a_budget_starts_replacements_first_only_with_units_that_nobody_wants() -> None:
    old = Wish(4, 4, 4, uses={"smtp": 1}, renewing=2)
    assert grant({"a": old}, Bounds(budgets={"smtp": 9})).ceilings == {"a": 6}
    assert grant({"a": old}, Bounds(budgets={"smtp": 5})).ceilings == {"a": 5}
    assert grant({"a": old, "b": user(9, smtp=1)}, Bounds(budgets={"smtp": 6})).ceilings["a"] == 4
    assert not grant({"a": old}, Bounds(9)).ceilings


PART = Limit("max_everywhere", "part")
WAIT = Limit("max_everywhere", "wait")


@pytest.mark.parametrize(
    ("wish", "size", "ceiling", "limit"),
    [
        (Wish(9, 1, 1, part=Part(5, 5, PART, WAIT)), 5, 5, "part"),
        (Wish(3, 1, 1, part=Part(5, 5, PART, WAIT)), 3, 3, ""),
        # Others have too many yet: no worker is ended for that, and none starts.
        (Wish(9, 1, 4, part=Part(5, 2, PART, WAIT)), 4, 4, "wait"),
        (Wish(9, 4, 0, part=Part(5, 0, PART, WAIT)), 0, 0, "wait"),
        (Wish(9, 1, 8, part=Part(5, 5, PART, WAIT)), 5, 8, "part"),
        (Wish(9, 1, 2, 2, part=Part(5, 5, PART, WAIT)), 3, 5, "part (workers that leave count until they are gone)"),
        (Wish(4, 1, 4, part=Part(6, 5, PART, WAIT), renewing=2), 4, 5, ""),
    ],
)
def test_the_part_of_a_maximum_over_several_managers(wish: Wish, size: int, ceiling: int, limit: str) -> None:
    allotment = grant({"a": wish, "b": Wish(20, 0, 0)}, Bounds())
    assert (allotment.sizes, allotment.ceilings) == ({"a": size, "b": 20}, {"a": ceiling})
    assert " ".join(map(str, allotment.limits.values())) == limit


BUDGETS = ("smtp", "database")
WISHES = st.builds(
    lambda minimum, more, serving, leaving, weight, uses, renewing: Wish(
        minimum + more,
        minimum,
        serving,
        leaving,
        weight,
        {name: units for name, units in uses.items() if units},
        renewing,
    ),
    *(st.integers(0, 6), st.integers(0, 30), st.integers(0, 40), st.integers(0, 5), st.integers(1, 20)),
    st.dictionaries(st.sampled_from(BUDGETS), st.integers(0, 5)),
    st.integers(0, 3),
)
MANY_WISHES = st.dictionaries(st.sampled_from("abcdef"), WISHES)
SPARE = st.none() | st.integers(0, 60)


def used(counts: Mapping[str, int], wishes: Wishes, budget: str) -> int:
    return sum(count * wishes[name].uses.get(budget, 0) for name, count in counts.items())


def bounds_of(wishes: Wishes, cap: int | None, spare: list[int | None], room: int | None = None) -> Bounds:
    """Limits that have so much more than the minima need."""
    minima = {name: wish.minimum for name, wish in wishes.items()}
    budgets = {
        name: max(1, used(minima, wishes, name) + more)
        for name, more in zip(BUDGETS, spare, strict=True)
        if more is not None
    }
    return Bounds(
        None if cap is None else sum(minima.values()) + cap, budgets, None if room is None else Room(room, LOAD)
    )


# The leaving worker of `c` counts beside its min.
@example({name: Wish(0, 0, 0) for name in "ab"} | {"c": Wish(2, 1, 0, 1)}, 1, [None, None], None)
@given(MANY_WISHES, SPARE, st.lists(SPARE, min_size=2, max_size=2), st.none() | st.integers(-5, 40))
def test_no_limit_is_exceeded(wishes: Wishes, cap: int | None, spare: list[int | None], room: int | None) -> None:
    bounds = bounds_of(wishes, cap, spare, room)
    allotment = grant(wishes, bounds)
    granted = allotment.sizes
    started = {name: max(0, granted[name] - wish.serving) for name, wish in wishes.items()}
    present = {name: wish.serving + wish.leaving for name, wish in wishes.items()}
    assert all(granted[name] <= wish.wanted for name, wish in wishes.items())
    for budget, units in bounds.budgets.items():
        assert used(granted, wishes, budget) <= units
        # Workers start only beside those that are still there.
        now = used(present, wishes, budget)
        assert now + used(started, wishes, budget) <= max(units, now)
        ceilings = {name: max(allotment.ceilings.get(name, 0), present[name]) for name in wishes}
        assert used(ceilings, wishes, budget) <= max(units, now)
    assert allotment.limits.keys() == {name for name, wish in wishes.items() if granted[name] < wish.wanted}
    beyond_min = sum(min(count, max(0, granted[name] - wishes[name].minimum)) for name, count in started.items())
    assert room is None or beyond_min <= max(0, room)
    if bounds.cap is not None:
        assert sum(granted.values()) <= bounds.cap
        # As soon as the workers without a place have gone, there are no more than the cap, however many there are now.
        there = sum(present.values())
        assert there + sum(started.values()) <= max(bounds.cap, there + sum(w.minimum for w in wishes.values()))
    if not bounds.budgets:
        assert all(granted[name] >= wish.minimum for name, wish in wishes.items())


@given(MANY_WISHES, SPARE, st.lists(SPARE, min_size=2, max_size=2))
def test_among_settled_pools_nothing_is_left_over_and_shares_follow_the_weights(
    wishes: Wishes, cap: int | None, spare: list[int | None]
) -> None:
    """Settled: nobody leaves, and no pool has more than its share."""
    wishes = {
        name: Wish(wish.wanted, wish.minimum, 0, weight=wish.weight, uses=wish.uses) for name, wish in wishes.items()
    }
    bounds = bounds_of(wishes, cap, spare)
    granted = grant(wishes, bounds).sizes
    left = {budget: units - used(granted, wishes, budget) for budget, units in bounds.budgets.items()}
    places = 1 if bounds.cap is None else bounds.cap - sum(granted.values())
    for name, wish in wishes.items():
        assert granted[name] >= wish.minimum
        is_hungry = granted[name] < wish.wanted
        fits = places > 0 and all(left[b] >= units for b, units in wish.uses.items() if b in left)
        assert not (is_hungry and fits), "there was room for one more"
        if not is_hungry:
            continue
        for other, its in wishes.items():
            # Whoever has more than its min has at most one worker more than this pool's, by weight: unless what the
            # pool lacks is of no use to the other.
            competes = bounds.cap is not None or wish.uses.keys() & its.uses.keys() & left.keys()
            if competes and granted[other] > its.minimum and _cost_no_less(its, wish, left):
                assert (granted[other] - 1) / its.weight <= granted[name] / wish.weight


def _cost_no_less(one: Wish, other: Wish, left: Mapping[str, int]) -> bool:
    """Whether a worker of `one` takes at least as much of everything, so that `other` had the same room for one."""
    return all(one.uses.get(budget, 0) >= other.uses.get(budget, 0) for budget in left)


@given(MANY_WISHES, st.integers(0, 60))
def test_under_a_cap_each_pool_that_wants_a_worker_has_one_if_there_are_enough(wishes: Wishes, spare: int) -> None:
    wishes = {name: Wish(w.wanted, w.minimum, 0, weight=w.weight) for name, w in wishes.items()}
    wanting = [name for name, wish in wishes.items() if wish.wanted]
    assume(spare >= len(wanting))
    granted = grant(wishes, bounds_of(wishes, spare, [None, None])).sizes
    assert all(granted[name] for name in wanting)


@given(MANY_WISHES, SPARE, st.lists(SPARE, min_size=2, max_size=2))
def test_pools_reach_their_shares_when_busy_workers_go_one_by_one(
    wishes: Wishes, cap: int | None, spare: list[int | None]
) -> None:
    bounds = bounds_of(wishes, cap, spare)
    fresh = {name: Wish(w.wanted, w.minimum, 0, weight=w.weight, uses=w.uses) for name, w in wishes.items()}
    shares = grant(fresh, bounds).sizes
    for _ in range(300):
        granted = grant(wishes, bounds).sizes
        if granted == {name: wish.serving for name, wish in wishes.items()} == shares:
            break
        wishes = {name: _step(wish, granted[name]) for name, wish in wishes.items()}
    assert grant(wishes, bounds).sizes == shares


def _step(wish: Wish, size: int) -> Wish:
    """The pool a moment later: one worker has left, or all that may have started."""
    serving = wish.serving - 1 if wish.serving > size else size
    return Wish(wish.wanted, wish.minimum, serving, max(0, wish.leaving - 1), wish.weight, wish.uses)
