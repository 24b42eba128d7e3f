"""Changes of very many jobs, made in the background: how far each has come, and what has become of the jobs.

The last ones are remembered. What is changed, and how, is for others to say (`matching_jobs.py`).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
import gevent.event

from gearman_manager.errors import ManagerError, NotFound, NotNow

_log = logging.getLogger("manager")
#: Changes that are under way at a time, and all that are remembered.
MOST_RUNNING: Final = 4
MOST_KEPT: Final = 100
#: How often a follower's report is made anew.
LOOK_S: Final = 0.1

Report = dict[str, Any]


@dataclass(slots=True)
class BulkChange:
    """One change. Moments are Unix seconds."""

    #: As `dead retry`.
    what: str
    #: Which jobs, in words.
    target: str
    #: How many they were when somebody looked.
    expected: int
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    began: float = field(default_factory=time.time)
    ended: float | None = None
    #: How many are changed; while a server works, how many it seems to have changed so far.
    done: int = 0
    underway: int = 0
    #: Those that are still there as they were.
    left: int = 0
    #: Why it could not be done everywhere.
    problems: list[str] = field(default_factory=list)

    @property
    def gone(self) -> int:
        """Those that were no longer there, or no longer so, when their turn came; 0 as long as that is not known."""
        return 0 if self.ended is None or self.problems else max(0, self.expected - self.done - self.left)

    def report(self) -> Report:
        """For the API and the pages."""
        return {
            "id": self.id,
            "what": self.what,
            "target": self.target,
            "began": round(self.began, 3),
            "ended": None if self.ended is None else round(self.ended, 3),
            "over": self.ended is not None,
            "expected": self.expected,
            "done": self.done + self.underway,
            "left": self.left,
            "gone": self.gone,
            "problems": list(self.problems),
        }


#: Makes the change, and notes in it how far it has come.
Make = Callable[[BulkChange], None]


class BulkChanges:
    """Those that are under way, and the last ones."""

    def __init__(self) -> None:
        self._changes: dict[str, BulkChange] = {}
        self._greenlets: dict[str, gevent.Greenlet[..., None]] = {}

    def start(self, change: BulkChange, make: Make, tell: Callable[[Report], None]) -> BulkChange:
        """Begin a change; `tell` gets its report at the end.

        Raises:
            NotNow: there are so many that this one has to wait.
        """
        if len(self._greenlets) >= MOST_RUNNING:
            raise NotNow(f"{MOST_RUNNING} changes of many jobs are under way already: wait for the end of one")
        for name in [name for name, kept in self._changes.items() if kept.ended is not None][: -MOST_KEPT + 1]:
            del self._changes[name]
        self._changes[change.id] = change
        self._greenlets[change.id] = gevent.spawn(self._run, change, make, tell)
        return change

    def reports(self) -> list[Report]:
        """How far all have come that are remembered, the newest first."""
        return [change.report() for change in reversed(self._changes.values())]

    def report(self, name: str) -> Report:
        """How far a change has come.

        Raises:
            NotFound: there is none of that id.
        """
        return self._get(name).report()

    def follow(self, name: str) -> Iterator[Report]:
        """Its report now, then again whenever it has changed, until its end.

        Raises:
            NotFound: as `report`.
        """
        change, underway = self._get(name), self._greenlets.get(name)
        return iter([change.report()]) if underway is None else _reports(change, underway)

    def _get(self, name: str) -> BulkChange:
        change = self._changes.get(name)
        if change is None:
            raise NotFound(f"there is no change {name}: it is long over, or the manager has been restarted since")
        return change

    def _run(self, change: BulkChange, make: Make, tell: Callable[[Report], None]) -> None:
        try:
            make(change)
        except ManagerError as error:
            change.problems.append(str(error))
        except Exception:  # noqa: BLE001 (the greenlet's boundary: others are to hear of its end)
            _log.exception("%s of %s broke off", change.what, change.target)
            change.problems.append("it broke off: the manager's log has the reason")
        finally:
            change.ended, change.underway = time.time(), 0
            self._greenlets.pop(change.id, None)
            tell(change.report())


def _reports(change: BulkChange, greenlet: gevent.Greenlet[..., None]) -> Iterator[Report]:
    last: Report | None = None
    while True:
        now = change.report()
        if now != last:
            yield now
        if now["over"]:
            return
        last = now
        gevent.wait([greenlet], timeout=LOOK_S)
