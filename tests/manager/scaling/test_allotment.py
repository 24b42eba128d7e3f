"""The number of workers that the pools may have together, under the global cap and in the room that the host has."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gearman_manager.scaling.allotment import Room, Wish, grant
from gearman_manager.scaling.decision import Limit

LOAD = Limit("limits.max_load", "limits.max_load holds")


@pytest.mark.parametrize(
    ("wishes", "cap", "room", "sizes"),
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
def test_grant(wishes: dict[str, Wish], cap: int | None, room: Room | None, sizes: dict[str, int]) -> None:
    assert grant(wishes, cap, room).sizes == sizes


@pytest.mark.parametrize(
    ("wishes", "cap", "room", "limits"),
    [
        ({"a": Wish(8, 1, 3), "b": Wish(2, 0, 0)}, 10, Room(9, LOAD), {}),
        ({"a": Wish(8, 1, 1), "b": Wish(2, 0, 0)}, 6, None, {"a": "limits.max_workers"}),
        ({"a": Wish(8, 1, 8), "b": Wish(2, 0, 0)}, 10, Room(0, LOAD), {"b": "limits.max_load"}),
        ({"a": Wish(8, 1, 1), "b": Wish(8, 1, 1)}, 6, Room(1, LOAD), {"a": "limits.max_load", "b": "limits.max_load"}),
        ({"a": Wish(2, 1, 1, leaving=3)}, 4, Room(9, LOAD), {"a": "limits.max_workers"}),
    ],
)
def test_the_limit_that_holds_a_pool_back_is_named(
    wishes: dict[str, Wish], cap: int | None, room: Room | None, limits: dict[str, str]
) -> None:
    assert {name: limit.name for name, limit in grant(wishes, cap, room).limits.items()} == limits


WISHES = st.builds(
    lambda minimum, more, serving, leaving: Wish(minimum + more, minimum, serving, leaving),
    *(st.integers(0, 6), st.integers(0, 30), st.integers(0, 40), st.integers(0, 5)),
)


# The leaving worker of `c` counts beside its min.
@example({name: Wish(0, 0, 0) for name in "ab"} | {"c": Wish(2, 1, 0, 1)}, 1, None)
@given(st.dictionaries(st.sampled_from("abcdef"), WISHES), st.integers(0, 60), st.none() | st.integers(-5, 40))
def test_the_cap_and_the_bounds_always_hold(wishes: dict[str, Wish], spare: int, room: int | None) -> None:
    cap = sum(wish.minimum for wish in wishes.values()) + spare
    allotment = grant(wishes, cap, None if room is None else Room(room, LOAD))
    sizes = allotment.sizes
    assert allotment.limits.keys() == {name for name, wish in wishes.items() if sizes[name] < wish.wanted}
    assert sum(sizes.values()) <= cap
    for name, wish in wishes.items():
        assert wish.minimum <= sizes[name] <= wish.wanted
    started = {name: max(0, sizes[name] - wish.serving) for name, wish in wishes.items()}
    beyond_min = sum(min(count, max(0, sizes[name] - wishes[name].minimum)) for name, count in started.items())
    assert room is None or beyond_min <= max(0, room)
    # As soon as the workers without a place have gone, there are no more than the cap, however many there are now.
    present = sum(wish.serving + wish.leaving for wish in wishes.values())
    assert present + sum(started.values()) <= max(cap, present + sum(wish.minimum for wish in wishes.values()))
