"""Server-sent events: the changes of the overview, and actions, for as many followers as there may be.

One greenlet looks for all of them, and only while somebody follows. How often depends on what a look costs, so it takes
at most a small share of the processor, however many workers there are.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

import gevent
import gevent.event

from gearman_manager.control.turns import Turns
from gearman_manager.errors import NotNow
from gearman_manager.live.changes import changes, figures
from gearman_manager.live.event_ring import EventRing

_log = logging.getLogger("control")
MOST_FOLLOWERS: Final = 32
#: After a silence of this length a comment is sent: it shows both sides that the connection lives.
HEARTBEAT_S: Final = 15.0
#: A stream ends after this time, and the browser begins another one: a session that is over is noticed then.
LIFETIME_S: Final = 300.0
#: The looks go on for so long when the last follower has left: it may come back, and go on where it was.
LINGER_S: Final = 30.0
#: The time between two looks, and how much of one processor they may take.
LOOK_S: Final = 0.25
LONGEST_LOOK_S: Final = 5.0
SHARE: Final = 0.01
#: How often the figures are told that change all the time.
FIGURES_S: Final = 5.0

Report = Mapping[str, Any]


class EventStream:
    """Looks, and hands on what has changed."""

    def __init__(self, overview: Callable[[Turns], Report]) -> None:
        self._overview = overview
        self._ring = EventRing(secrets.token_hex(4))
        self._looker: gevent.Greenlet[..., None] | None = None
        self._is_begun = gevent.event.Event()
        self._followers = 0
        self._wanted_at = 0.0
        self._figures_at = 0.0
        self._news = gevent.event.Event()

    def watched_report(self) -> Report:
        """The overview, with the id after which its changes come as `event`."""
        self._watch()
        self._is_begun.wait(LONGEST_LOOK_S)
        event = self._ring.last_id  # what happens from here on is told after it
        return {**self._overview(Turns()), "event": event}

    def tell(self, kind: str, content: Mapping[str, Any]) -> None:
        """An event that is no change of the overview. Nobody follows: it is lost."""
        if self._looker is not None:
            self._ring.add(kind, content)
            self._wake()

    def follow(self, last_id: str) -> Generator[bytes]:
        """The events after the one with this id, as they come; first `reset` if that can't be.

        Raises:
            NotNow: too many follow already.
        """
        if self._followers >= MOST_FOLLOWERS:
            raise NotNow(f"{MOST_FOLLOWERS} follow the events already, which is the most")
        self._watch()
        return self._follow(last_id)

    def _follow(self, last_id: str) -> Generator[bytes]:
        self._followers += 1
        until = time.monotonic() + LIFETIME_S
        try:
            while time.monotonic() < until:
                news, ring = self._news, self._ring
                events = ring.after(last_id)
                last_id = ring.last_id
                if events is None:
                    yield ring.reset()
                elif events:
                    yield b"".join(events)
                elif not news.wait(HEARTBEAT_S):
                    yield b": alive\n\n"
        finally:
            self._followers -= 1
            self._wanted_at = time.monotonic()

    def _watch(self) -> None:
        """Look for changes from now on, if nobody does. There may be a gap to those that were told before."""
        self._wanted_at = time.monotonic()
        if self._looker is None:
            self._ring = EventRing(secrets.token_hex(4))
            self._is_begun.clear()
            self._looker = gevent.spawn(self._look)

    def _look(self) -> None:
        """Look again and again. Of errors in a row only the first is logged."""
        last: Report | None = None
        pause_s, is_failing = 0.0, False
        try:
            while self._followers or time.monotonic() < self._wanted_at + LINGER_S:
                gevent.sleep(pause_s)
                turns = Turns()
                try:
                    before, last = last, self._overview(turns)
                except Exception:  # noqa: BLE001 (the loop's boundary: the next look may do better)
                    if not is_failing:
                        _log.exception("the overview failed")
                    pause_s, is_failing = LONGEST_LOOK_S, True
                    continue
                is_failing = False
                self._is_begun.set()
                if before is not None:
                    self._tell_changes(before, last)
                pause_s = min(max(LOOK_S, turns.spent_s / SHARE), LONGEST_LOOK_S)
        finally:
            self._looker = None
            self._wake()

    def _tell_changes(self, before: Report, now: Report) -> None:
        has_changed = time.monotonic() >= self._figures_at
        if has_changed:
            self._figures_at = time.monotonic() + FIGURES_S
            self._ring.add("figures", figures(now))
        for kind, content in changes(before, now):
            self._ring.add(kind, content)
            has_changed = True
        if has_changed:
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, gevent.event.Event()
        news.set()
