"""Asks the job servers what nobody tells: since when the oldest job of a function waits, and which jobs have died.

Only our own job server answers. It is asked seldom, and about functions in which jobs have waited for long already.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import gevent

from gearman_client import GearmanError
from gearman_manager.alerts.rules import DEAD_WINDOW_S
from gearman_manager.alerts.snapshot import DeadLetter
from gearman_manager.errors import ManagerError

_log = logging.getLogger("alerts")
EVERY_S: Final = 10.0
#: Waiting jobs of a function that are looked at: the first ones that were submitted.
_JOBS: Final = 20
#: Pages on the way there; the server looks at some thousand jobs for each.
_MOST_LOOKS: Final = 20
_LETTERS_AT_ONCE: Final = 1000
_MOST_PAGES: Final = 50
#: Recent letters that are remembered.
_MOST_LETTERS: Final = 5000

#: Gives a page of `jobs` or `dead` letters under conditions, as the control API has them.
Page = Callable[[str, Mapping[str, str]], Mapping[str, Any]]


class ServerQuestions:
    """Keeps the last answers."""

    def __init__(self, page: Page, servers: Callable[[], Iterable[str]]) -> None:
        """`servers` gives the job servers that know the commands, by address."""
        self._page = page
        self._servers = servers
        #: By function, since when (monotonic) its oldest job waits, and its handle.
        self.oldest: dict[str, tuple[float, str]] = {}
        self.letters: Sequence[DeadLetter] = ()
        self._asked_at = 0.0
        self._asking: Any = None

    def ask(self, now: float, functions: Sequence[str], *, wants_letters: bool) -> None:
        """Ask about these functions, and for dead letters, in a greenlet, unless that was done just now."""
        if now < self._asked_at + EVERY_S or not (functions or wants_letters):
            return
        if self._asking is None or self._asking.dead:
            self._asked_at = now
            self._asking = gevent.spawn(self._ask, list(functions), wants_letters)

    def close(self) -> None:
        """Ask nothing more."""
        if self._asking is not None:
            self._asking.kill(block=False)

    def _ask(self, functions: Sequence[str], wants_letters: bool) -> None:
        found = ((name, self._attempt(self._oldest, name)) for name in functions)
        self.oldest = {name: since for name, since in found if since is not None}
        if wants_letters:
            letters = self._attempt(self._letters, time.time() - DEAD_WINDOW_S)
            self.letters = self.letters if letters is None else letters

    @staticmethod
    def _attempt(question: Callable[[Any], Any], about: object) -> Any:
        try:
            return question(about)
        except (ManagerError, GearmanError, OSError) as error:
            _log.debug("a job server could not be asked: %s", error)
            return None

    def _oldest(self, function: str) -> tuple[float, str] | None:
        """The job of a function that waits for the longest time, of those that were submitted first."""
        jobs = [job for server in self._servers() for job in self._first_jobs(server, function)]
        longest = max(jobs, key=lambda job: float(job["for_s"]), default=None)
        return None if longest is None else (time.monotonic() - float(longest["for_s"]), str(longest["handle"]))

    def _first_jobs(self, server: str, function: str) -> Sequence[Mapping[str, Any]]:
        """Waiting jobs of a function on one server; none if too many jobs of others are before them."""
        conditions = {"function": function, "state": "waiting", "limit": str(_JOBS), "server": server}
        for _ in range(_MOST_LOOKS):
            page = self._page("jobs", conditions)
            following = page["next"] or {}
            if page["jobs"] or following.get("server") != server:
                found: Sequence[Mapping[str, Any]] = page["jobs"]
                return found
            conditions |= following
        return ()

    def _letters(self, died_after: float) -> list[DeadLetter]:
        """The recent ones: the oldest come first."""
        recent: list[DeadLetter] = []
        where: Mapping[str, str] | None = {}
        for _ in range(_MOST_PAGES):
            if where is None:
                break
            page = self._page("dead", {**where, "limit": str(_LETTERS_AT_ONCE)})
            rows = (row for row in page["jobs"] if float(row["died"]) > died_after)
            recent += (
                DeadLetter(str(row["handle"]), str(row["function"]), float(row["died"]), str(row["error"]))
                for row in rows
            )
            where = page["next"]
        return recent[-_MOST_LETTERS:]
