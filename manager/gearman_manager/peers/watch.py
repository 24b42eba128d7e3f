"""Asks each peer again and again, and keeps its last word: often while somebody looks, and seldom else, unless an alert
needs to know."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
import gevent.event

from gearman_manager.config import Config
from gearman_manager.peers.asking import NoAnswer, ask
from gearman_manager.peers.summary import Summary

_log = logging.getLogger("peers")
#: The pause between two questions to the same peer, and for how long somebody counts who has looked.
EVERY_S: Final = 5.0
SELDOM_S: Final = 60.0
LOOKS_FOR_S: Final = 30.0
_LONGEST_REASON: Final = 300

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another manager: where it is, how it is called, and the token that it takes from us."""

    url: str
    name: str = ""
    token: str = field(default="", repr=False)
    ca_file: str | None = None


def peers_of(config: Config, tokens: Sequence[str]) -> list[Peer]:
    """The peers of a configuration, with their tokens in the same order."""
    told = zip(config.control.peers, tokens, strict=True)
    return [Peer(peer.url, peer.name or "", token, peer.ca_file) for peer, token in told]


class Peers:
    """The peers, in the order of the configuration."""

    def __init__(self, patience_s: Callable[[], float | None] = lambda: None) -> None:
        """`patience_s` says how soon a peer that is down must be noticed, whether somebody looks or not; None: only if
        somebody looks."""
        self._patience_s = patience_s
        #: Makes this manager's summary.
        self.own: Callable[[], Summary] = dict
        self._watches: list[_Watch] = []
        self._looked_at = -LOOKS_FOR_S

    def use(self, peers: Sequence[Peer]) -> None:
        """Ask these from now on. One that was asked before the same way goes on."""
        kept = {watch.peer: watch for watch in self._watches}
        for peer in kept.keys() - set(peers):
            kept[peer].close()
        for watch in kept.values():
            watch.wake()  # the alerts may have changed too
        self._watches = [kept.get(peer) or _Watch(peer, self._pause_s) for peer in peers]

    def close(self) -> None:
        """Ask nobody any more."""
        self.use([])

    @property
    def are_any(self) -> bool:
        """Whether the configuration names any."""
        return bool(self._watches)

    def report(self) -> list[Report]:
        """This manager, then its peers. Every text of theirs is as they wrote it: escape it."""
        was_seldom = self._pause_s() > EVERY_S
        self._looked_at = time.monotonic()
        if was_seldom:
            for watch in self._watches:
                watch.wake()
        own = self.own()
        me = (own["name"], own["since"])
        first = {"url": "", "name": "", "self": True, "up": True, "since": own["since"], "asked": None, "error": ""}
        return [{**first, "summary": own}, *(watch.report(me) for watch in self._watches)]

    def states(self) -> dict[str, tuple[bool | None, str]]:
        """By name, whether each peer answers, and why not; None: it is not known yet."""
        return {watch.name: (watch.is_up, watch.error) for watch in self._watches}

    def _pause_s(self) -> float:
        if time.monotonic() - self._looked_at < LOOKS_FOR_S:
            return EVERY_S
        patience_s = self._patience_s()
        return SELDOM_S if patience_s is None else min(max(patience_s / 2, EVERY_S), SELDOM_S)


class _Watch:
    """One peer: its greenlet, and what it said last. Moments are Unix seconds."""

    def __init__(self, peer: Peer, pause_s: Callable[[], float]) -> None:
        self.peer = peer
        self._pause_s = pause_s
        self.is_up: bool | None = None
        self._since: float | None = None
        self._asked: float | None = None
        self._summary: Summary | None = None
        self.error = ""
        self._wanted = gevent.event.Event()
        self._greenlet = gevent.spawn(self._run)

    @property
    def name(self) -> str:
        """Tells it from all others."""
        return f"{self.peer.name} {self.peer.url}".lstrip()

    def wake(self) -> None:
        """Ask now, unless it is asked just now."""
        self._wanted.set()

    def close(self) -> None:
        self._greenlet.kill(block=False)

    def report(self, me: tuple[str, float]) -> Report:
        """`summary` is its last word, `asked` tells when that was said; `since` tells since when it is up, or not."""
        summary = self._summary
        return {
            "url": self.peer.url,
            "name": self.peer.name,
            "self": summary is not None and (summary["name"], summary["since"]) == me,
            "up": self.is_up,
            "since": self._since,
            "asked": self._asked,
            "error": self.error,
            "summary": summary,
        }

    def _run(self) -> None:
        while True:
            self._wanted.clear()
            try:
                self._look()
            except Exception:  # noqa: BLE001 (the loop's boundary: the next look may succeed)
                _log.exception("%s: unexpected", self.peer.url)
            self._wanted.wait(self._pause_s())

    def _look(self) -> None:
        try:
            summary = ask(self.peer.url, self.peer.token, self.peer.ca_file)
        except NoAnswer as error:
            self.error = str(error)[:_LONGEST_REASON]
            if self.is_up is not False:
                _log.warning("the peer %s: %s", self.peer.url, self.error)
            self._note(is_up=False)
            return
        if self.is_up is False:
            _log.info("the peer %s is back", self.peer.url)
        self._summary, self.error, self._asked = summary, "", round(time.time(), 1)
        self._note(is_up=True)

    def _note(self, *, is_up: bool) -> None:
        if self.is_up is not is_up:
            self.is_up, self._since = is_up, round(time.time(), 1)
