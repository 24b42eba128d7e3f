"""The ring of events: ids, bounds, and those who have missed too much."""

from __future__ import annotations

import json

import pytest

from gearman_manager.live import event_ring
from gearman_manager.live.event_ring import EventRing


def contents(events: list[bytes] | None) -> list[str]:
    assert events is not None
    return [json.loads(event.split(b"\n")[2].removeprefix(b"data: "))["text"] for event in events]


@pytest.fixture
def ring() -> EventRing:
    ring = EventRing("era")
    for number in range(1, 4):
        ring.add("pool", {"text": f"\u2192 {number}\nx"})
    return ring


def test_an_event_has_the_form_of_server_sent_events(ring: EventRing) -> None:
    events = ring.after("era-2")
    assert events == [b'id: era-3\nevent: pool\ndata: {"text":"\\u2192 3\\nx"}\n\n']
    assert ring.reset() == b"id: era-3\nevent: reset\ndata: {}\n\n"


def test_a_follower_goes_on_after_the_last_id_that_it_has_heard(ring: EventRing) -> None:
    assert contents(ring.after("era-0")) == ["\u2192 1\nx", "\u2192 2\nx", "\u2192 3\nx"]
    assert contents(ring.after("era-2")) == ["\u2192 3\nx"]
    assert ring.after(ring.last_id) == []


@pytest.mark.parametrize(
    "last_id", ["", "era", "era-", "era-4", "era--1", "other-2", "era-x", "era-\u0662", "era-" + "9" * 40]
)
def test_an_id_of_no_event_of_this_ring_means_a_new_beginning(ring: EventRing, last_id: str) -> None:
    assert ring.after(last_id) is None


def test_the_ring_is_bounded_by_number_and_by_bytes(ring: EventRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_ring, "MOST_EVENTS", 3)
    ring.add("pool", {"text": "4"})
    assert ring.after("era-0") is None
    assert contents(ring.after("era-1")) == ["\u2192 2\nx", "\u2192 3\nx", "4"]
    monkeypatch.setattr(event_ring, "MOST_BYTES", 100)
    ring.add("pool", {"text": "y" * 200})
    assert ring.after("era-3") is None
    assert contents(ring.after("era-4")) == ["y" * 200]
