"""The times of a body, the memory of all bodies, and the places of a port."""

from __future__ import annotations

import pytest

from gearman_process.http.bounds import SMALL_BODY_BYTES, UNDISTURBED_S, BodyMemory, BodyShare, HttpBounds, Pace
from gearman_process.http.messages import HttpRefusal
from gearman_process.http.places import Places

BOUNDS = HttpBounds(pace_s=10, pace_bytes=100, request_s=60)


class Visitor:
    """A connection: `since` is when its request began, None while it is carried out."""

    def __init__(self, address: str, since: float | None) -> None:
        self.address = address
        self.reading_since = since
        self.has_made_room = False

    def make_room(self) -> None:
        self.has_made_room = True


def test_a_body_that_brings_enough_in_each_period_goes_on_until_the_request_is_over() -> None:
    pace = Pace(BOUNDS, started_at=0, now=0)
    for now in range(0, 60, 10):
        assert pace.wait_s(now) == 10
        pace.note(100)
    with pytest.raises(HttpRefusal, match="not complete after 60 s") as refused:
        pace.wait_s(60)
    assert refused.value.status == 408


def test_a_body_that_brings_too_little_is_too_slow_at_the_end_of_the_period() -> None:
    pace = Pace(BOUNDS, started_at=0, now=0)
    pace.note(99)
    assert pace.wait_s(9) == 1
    with pytest.raises(HttpRefusal, match="too slowly"):
        pace.wait_s(10)


class Bodies:
    """Bodies that share a memory of 1000 bytes; `given_up` has those that had to make room."""

    def __init__(self) -> None:
        self._memory = BodyMemory(1000)
        self.given_up: list[str] = []

    def begin(self, name: str) -> BodyShare:
        return BodyShare(self._memory, lambda: self.given_up.append(name))


def test_all_bodies_share_the_memory_and_one_may_be_larger() -> None:
    bodies = Bodies()
    first, second, third, fourth = map(bodies.begin, "abcd")
    first.grow(SMALL_BODY_BYTES + 900, now=0)
    second.grow(SMALL_BODY_BYTES + 900, now=0)
    second.grow(10**9, now=0)
    with pytest.raises(HttpRefusal) as refused:
        third.grow(SMALL_BODY_BYTES + 101, now=0)
    assert (refused.value.status, refused.value.headers) == (503, (("Retry-After", "1"),))
    third.free()
    fourth.grow(SMALL_BODY_BYTES, now=0)
    second.free()
    fourth.grow(10**9, now=0)
    assert bodies.given_up == []


def test_a_body_that_takes_long_makes_room_for_others() -> None:
    bodies = Bodies()
    slow, large, young = map(bodies.begin, "abc")
    slow.grow(SMALL_BODY_BYTES + 900, now=0)
    large.grow(10**9, now=1)
    with pytest.raises(HttpRefusal):
        young.grow(SMALL_BODY_BYTES + 500, now=UNDISTURBED_S - 1)
    young.free()
    young.grow(SMALL_BODY_BYTES + 500, now=UNDISTURBED_S)
    assert bodies.given_up == ["a"]
    bodies.begin("d").grow(10**9, now=UNDISTURBED_S + 1)
    assert bodies.given_up == ["a", "b"]


def test_a_new_connection_takes_the_place_of_the_slowest_of_the_address_with_the_most() -> None:
    places = Places(4)
    alone, later, slowest, busy = Visitor("a", 1), Visitor("b", 3), Visitor("b", 2), Visitor("b", None)
    for visitor in (alone, later, slowest, busy):
        assert places.enter(visitor)
    assert places.enter(Visitor("c", 9))
    assert slowest.has_made_room
    assert not any(visitor.has_made_room for visitor in (alone, later, busy))


def test_whole_requests_keep_their_places() -> None:
    places = Places(1)
    busy = Visitor("a", None)
    assert places.enter(busy)
    assert not places.enter(Visitor("b", 1))
    places.leave(busy)
    assert places.enter(Visitor("b", 1))


def test_an_address_gets_three_quarters_of_the_places_whatever_it_does_with_them() -> None:
    places = Places(8)
    for _ in range(6):
        assert places.enter(Visitor("a", None))
    assert not places.enter(Visitor("a", 1))
    slow = Visitor("b", 2)
    assert places.enter(slow)
    assert places.enter(Visitor("b", None))
    assert places.enter(Visitor("c", 3))
    assert slow.has_made_room
