"""Follows the manager's overview on a thread of its own, and goes on when the manager has been away."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gearman_manager.errors import ManagerError

#: Between two attempts, and between two streams: each ends after some minutes.
RETRY_S: Final = 0.5
#: News that wait to be drawn. When there are more the manager waits, and then says that it begins anew.
MOST_NEWS: Final = 1000


class Ask(Protocol):
    """Asks the manager; returns its decoded answer, and raises ManagerError."""

    def __call__(self, method: str, resource: str, body: object = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Calls:
    """The manager's control API."""

    ask: Ask
    #: The lines of an answer as they arrive; raises ManagerError.
    follow: Callable[[str], Iterator[str]]


class Feed:
    """News of the manager: kinds and contents, in their order. Of ours are `overview`, and `gone` with a reason."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._news: queue.Queue[tuple[str, Any]] = queue.Queue(MOST_NEWS)

    def start(self) -> None:
        """Follow until the process ends: the thread may wait for the manager, and nothing waits for the thread."""
        threading.Thread(target=self._run, name="feed", daemon=True).start()

    def news(self) -> Iterator[tuple[str, Any]]:
        """What has come since the last call."""
        for _ in range(self._news.qsize()):
            yield self._news.get_nowait()

    def _run(self) -> None:
        while True:
            try:
                self._follow()
            except ManagerError as error:
                self._news.put(("gone", str(error)))
            except Exception as error:  # noqa: BLE001 (the loop's boundary: an answer that makes no sense)
                self._news.put(("gone", f"the manager's answer makes no sense: {error!r}"))
            time.sleep(RETRY_S)

    def _follow(self) -> None:
        """Ask for the overview, then for its changes, until these begin anew."""
        overview = self._calls.ask("GET", "/overview?watch=1")
        self._news.put(("overview", overview))
        last_id = overview["event"]
        while True:
            lines = self._calls.follow(f"/events?after={last_id}")
            for event_id, kind, content in events(lines):
                last_id = event_id
                if kind == "reset":
                    return
                self._news.put((kind, content))
            time.sleep(RETRY_S)


def events(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    """The ids, kinds and contents of server-sent events. Each of ours has all three, and one line of data."""
    event_id = kind = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            event_id = value
        elif name == "event":
            kind = value
        elif name == "data":
            yield event_id, kind, json.loads(value)
