"""Keeps the last lines of the log in memory for `gearman-manager logs`, and sends new ones to its live followers."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import gevent.queue

KEPT_LINES: Final = 2000
#: Characters of each line.
KEPT_CHARACTERS: Final = 4000
#: Lines that wait for a follower. One that reads too slowly loses the oldest, and is told so.
WAITING_LINES: Final = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """A formatted line, with its pool and worker, and the handle of its job."""

    text: str
    pool: str | None
    worker: str | None
    handle: str | None


@dataclass(frozen=True, slots=True)
class Subject:
    """Of which lines one wants to know; None: of any."""

    of: str | None = None  #: a POOL or a worker POOL/N
    job: str | None = None  #: a handle

    def has(self, line: Line) -> bool:
        """Whether it is one of them."""
        return self.of in (None, line.pool, line.worker) and self.job in (None, line.handle)


_ALL: Final = Subject()


class _Follower:
    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.lines: gevent.queue.Queue[str] = gevent.queue.Queue()
        self.lost = 0

    def offer(self, line: Line) -> None:
        if not self.subject.has(line):
            return
        if self.lines.qsize() >= WAITING_LINES:
            self.lines.get_nowait()
            self.lost += 1
        self.lines.put_nowait(line.text)


class RecentLog(logging.Handler):
    """A logging handler, beside the one that writes the log."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[Line] = deque(maxlen=KEPT_LINES)
        self._followers: set[_Follower] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line, and hand it to the followers."""
        text = self.format(record)
        if len(text) > KEPT_CHARACTERS:
            text = text[:KEPT_CHARACTERS] + f" … {len(text) - KEPT_CHARACTERS} more characters in the log"
        line = Line(text, *(getattr(record, name, None) for name in ("pool", "worker", "handle")))
        self._lines.append(line)
        for follower in self._followers:
            follower.offer(line)

    def lines(self, subject: Subject = _ALL) -> list[str]:
        """The kept lines of a pool, a worker or a job."""
        return [line.text for line in self._lines if subject.has(line)]

    def follow(self, subject: Subject = _ALL, lifetime_s: float | None = None) -> Iterator[str]:
        """The kept lines, then every line as it comes, until the reader goes, or so many seconds have passed."""
        until = None if lifetime_s is None else time.monotonic() + lifetime_s
        follower = _Follower(subject)
        self._followers.add(follower)
        try:
            yield from self.lines(subject)
            while True:
                try:
                    line = follower.lines.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
                except gevent.queue.Empty:
                    return
                yield line
                if follower.lost:
                    yield f"… {follower.lost} lines lost: read faster …"
                    follower.lost = 0
        finally:
            self._followers.discard(follower)
