"""The stream of events: who looks, when, and for whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from gearman_manager.control.turns import Turns
from gearman_manager.errors import NotNow
from gearman_manager.live import event_stream
from gearman_manager.live.event_stream import EventStream


class Watched:
    """An overview that counts how often it was made."""

    def __init__(self) -> None:
        self.looks = 0
        self.servers: list[str] = []

    def report(self, turns: Turns) -> dict[str, Any]:
        self.looks += 1
        turns.others()
        return {"well": True, "troubles": [], "servers": list(self.servers), "pools": []}


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(event_stream, "LOOK_S", 0.01)
    monkeypatch.setattr(event_stream, "LINGER_S", 0.05)
    monkeypatch.setattr(event_stream, "FIGURES_S", 1000.0)
    return Watched()


def until(events: Iterator[bytes], word: bytes) -> bytes:
    with gevent.Timeout(20):
        return next(event for event in events if word in event)


def test_nobody_looks_while_nobody_follows_and_soon_after_the_last_has_left(watched: Watched) -> None:
    stream = EventStream(watched.report)
    stream.tell("action", {})
    assert watched.looks == 0
    events = stream.follow("")
    until(events, b"event: reset")
    until(events, b"event: figures")
    events.close()
    with gevent.Timeout(20):
        while stream._looker is not None:
            gevent.sleep(0.01)
    looks = watched.looks
    gevent.sleep(0.05)
    assert watched.looks == looks
    again = stream.follow(stream._ring.last_id)  # there was a gap, which nobody has looked at
    until(again, b"event: reset")


def test_changes_after_an_overview_are_told_and_all_followers_share_the_looks(watched: Watched) -> None:
    stream = EventStream(watched.report)
    last_id = stream.watched_report()["event"]
    followers = [stream.follow(last_id) for _ in range(10)]
    watched.servers.append("a:1")
    assert all(b'{"servers":["a:1"]}' in until(events, b"event: servers") for events in followers)
    stream.tell("action", {"who": "alice"})
    assert all(b'"alice"' in until(events, b"event: action") for events in followers)
    looks = watched.looks
    gevent.sleep(0.1)
    assert watched.looks - looks < 30


def test_a_silent_stream_shows_that_it_lives_and_ends_after_its_time(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    stream = EventStream(watched.report)
    events = stream.follow(stream.watched_report()["event"])
    until(events, b": alive")
    monkeypatch.setattr(event_stream, "LIFETIME_S", 0.05)
    with gevent.Timeout(20):
        first, *_ = stream.follow("")
    assert first.endswith(b"event: reset\ndata: {}\n\n")


def test_the_number_of_followers_is_bounded(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MOST_FOLLOWERS", 2)
    stream = EventStream(watched.report)
    followers = [stream.follow("") for _ in range(2)]
    for events in followers:
        next(events)
    with pytest.raises(NotNow, match="2 follow the events already"):
        stream.follow("")
    followers[0].close()
    next(stream.follow(""))


def test_an_overview_that_fails_ends_nothing_and_is_logged_once(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_stream, "LONGEST_LOOK_S", 0.01)
    failures = [ValueError("broken")] * 3

    def report(turns: Turns) -> dict[str, Any]:
        if watched.looks and failures:
            raise failures.pop()
        return watched.report(turns)

    stream = EventStream(report)
    events = stream.follow("")
    until(events, b"event: reset")
    with gevent.Timeout(20):
        while failures:
            gevent.sleep(0.01)
    watched.servers.append("a:1")
    assert b"a:1" in until(events, b"event: servers")
    assert [record.getMessage() for record in caplog.records] == ["the overview failed"]
