"""The groups of failures: filled from the ends of attempts, shown, muted, and their dead letters changed."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any, Final

import gevent
import gevent.event

from gearman_manager.control.turns import Turns
from gearman_manager.errors import NotFound
from gearman_manager.failures import group_file
from gearman_manager.failures.gathering import Gathering
from gearman_manager.failures.group_file import FOREVER, HOUR_S
from gearman_manager.failures.mutes import MOST_LETTERS, Mutes
from gearman_manager.failures.signature import shown_type, signature_of
from gearman_manager.finished.attempt import FinishedAttempt
from gearman_manager.history.complaint import Complaint
from gearman_manager.history.history_file import HistoryError, HistoryFile
from gearman_manager.privacy import MARK, Privacy

_log = logging.getLogger("failures")
#: Ends that wait for their turn, with up to 6 kB of text each; of more the oldest are not counted.
MOST_WAITING: Final = 5000
#: Those that come together are written together, up to a number.
MOST_AT_ONCE: Final = 2000
PAUSE_S: Final = 0.25
#: How often one looks for what is too old, if nothing comes.
TIDY_EVERY_S: Final = 60.0
#: The outcomes that the workers of a pool count as failures; of a lost worker nobody counts them.
_COUNTED: Final = ("failed", "exception")
_WRITE_PATIENCE_S: Final = 60.0
#: The alerts look at dead letters for so long.
_LETTERS_S: Final = 3600.0

Row = dict[str, Any]


class FailureGroups:
    """The groups. All that touches the file runs in its thread."""

    def __init__(
        self,
        file: HistoryFile,
        manager: str,
        roots: Callable[[], Sequence[str]],
        privacy: Privacy,
        pools: Callable[[], Container[str]],
    ) -> None:
        """`manager` is the name in the client ids of our workers; `roots` gives the folders of the modules, `pools` the
        names of our pools. What comes in is private no more; `privacy` is for what was kept before its rules."""
        self._file = file
        for table in group_file.TABLES:
            file.declare(table)
        self._ours = f"gm:{manager}/"
        self._roots = roots
        self._privacy = privacy
        self.mutes = Mutes(pools)
        self._waiting: deque[FinishedAttempt] = deque(maxlen=MOST_WAITING)
        self._lost = 0
        self._has_come = gevent.event.Event()
        self._is_idle = gevent.event.Event()
        self._greenlet = gevent.Greenlet(self._run)
        self._is_loaded = False
        self._unusable = Complaint(_log)

    def start(self) -> None:
        """Take in what comes from now on."""
        self._greenlet.start()

    def close(self) -> None:
        """Write what has come; nothing more is taken in."""
        if self._greenlet.started:
            self._is_idle.wait(2.0)
        self._greenlet.kill(block=False)

    def receive(self, attempts: Sequence[FinishedAttempt]) -> None:
        """Some attempts have ended; returns at once."""
        meant = [each for each in attempts if each.is_failure or self.mutes.has_letter(each.handle)]
        if meant:
            self._lost += max(0, len(self._waiting) + len(meant) - MOST_WAITING)
            self._waiting.extend(meant)
            self._is_idle.clear()
            self._has_come.set()

    # --- for pages and the API

    def page(self, function: str | None, before: tuple[float, str] | None, limit: int) -> list[Row]:
        """Some groups, the latest failure first, those behind a place in this order; each with `hours`, the failures of
        the last day by hour, the oldest first.

        Raises:
            HistoryError: they can't be read.
        """
        rows = self._file.run(partial(_page, function, before, limit, time.time()))
        turns, shown = Turns(), []
        for row in rows:
            shown.append(self._shown(row))
            turns.others()
        return shown

    def show(self, name: str, jobs: int) -> Row:
        """A group, with its `hours` over all days that are kept, its last `jobs`, and the `mark` by which its letters
        of now are meant later.

        Raises:
            NotFound: there is none of this id.
            HistoryError: it can't be read.
        """
        found = self._file.run(partial(_show, name, jobs, time.time()))
        if found is None:
            raise NotFound(f"there is no group of failures {name}: it was forgotten as the oldest, or never was")
        return self._shown(found)

    def _shown(self, row: Row) -> Row:
        rules = self._privacy.of(row["function"])
        if not rules.shows_workloads:  # the sample may be older than the rules, and its workload is not known
            told = shown_type(row["error"], row["exception"], row["place"]) or MARK
            return row | {"exception": told, "error": told, "traceback": ""}
        return row | {name: rules.text(row[name]) for name in ("exception", "error", "traceback")}

    def like(self, function: str, error: str, traceback: str) -> str | None:
        """The id of the group of a failure with that text and traceback; None: there is none, or that can't be read."""
        name = signature_of(error, traceback, "", tuple(self._roots())).group_of(function)
        try:
            return name if self._file.run(partial(group_file.group, name)) is not None else None
        except HistoryError:
            return None

    def letters(self, name: str, mark: int) -> list[tuple[str, str]]:
        """The dead letters of a group that were known at that mark: handle, and job server; none of a group that there
        is not.

        Raises:
            HistoryError: they can't be read.
        """
        return self._file.run(partial(group_file.letters, name, mark))

    def mute(self, name: str, until: float | None, who: str) -> None:
        """Have a group cause no alerts until then (Unix seconds; infinity: until it is unmuted), or None: again.

        Raises:
            NotFound, HistoryError: as `show`.
        """
        kept_until = None if until is None else min(until, FOREVER)
        if not self._file.run(partial(group_file.mute, name, kept_until, who)):
            self.show(name, 0)
        self.mutes.set(name, kept_until)

    def no_letters(self, handles: Sequence[str]) -> None:
        """These jobs have no dead letters any more.

        Raises:
            HistoryError: that can't be written.
        """
        for handle in handles:
            self.mutes.no_letter(handle)
        self._file.run(partial(group_file.no_letter, handles), _WRITE_PATIENCE_S)

    # --- taking in

    def _run(self) -> None:
        while True:
            if not self._is_loaded:
                self._load()
            if not self._waiting:
                self._is_idle.set()
            if self._waiting or self._has_come.wait(TIDY_EVERY_S):
                self._has_come.clear()
                gevent.sleep(PAUSE_S)
            try:
                self._take_in()
                self._unusable.end()
            except HistoryError as error:
                self._unusable.make(f"{error}; failures are not counted until it can")
            except Exception:  # noqa: BLE001 (the loop's boundary: the next ones may do better)
                _log.exception("some failures could not be counted")

    def _load(self) -> None:
        now = time.time()
        try:
            until = self._file.run(partial(group_file.muted, now))
            letters = self._file.run(partial(group_file.recent_letters, now - _LETTERS_S, MOST_LETTERS))
            self.mutes.load(until, letters)
            self._is_loaded = True
        except HistoryError as error:
            self._unusable.make(f"{error}; which failures are muted is not known until it can")

    def _take_in(self) -> None:
        gathering, turns, roots = Gathering(), Turns(), tuple(self._roots())
        if self._lost:
            _log.warning("%d failures came faster than they can be written: they are in no group", self._lost)
            self._lost = 0
        for _ in range(min(len(self._waiting), MOST_AT_ONCE)):
            attempt = self._waiting.popleft()
            if attempt.is_failure:
                self._take_in_failure(attempt, gathering, roots)
            elif attempt.is_over:
                gathering.note_well(attempt.handle)
                self.mutes.no_letter(attempt.handle)
            turns.others()
        ages_s = self._privacy.retention_s
        add = partial(group_file.add, gathering.batch(), time.time(), ages_s)
        self.mutes.use(self._file.run(add, _WRITE_PATIENCE_S))

    def _take_in_failure(self, failure: FinishedAttempt, gathering: Gathering, roots: Sequence[str]) -> None:
        signature = signature_of(failure.error, failure.traceback, failure.outcome, roots)
        name = signature.group_of(failure.function)
        gathering.add(name, signature, failure)
        if failure.outcome in _COUNTED and failure.worker.startswith(self._ours):
            pool = failure.worker.removeprefix(self._ours).rpartition("/")[0]
            self.mutes.note_failure(name, pool, failure.at)
        if failure.follows == "dead":
            self.mutes.note_letter(failure.handle, name)


def in_words(group: Row) -> str:
    """Which group that is, as operators are told of it."""
    place = f" in {group['place']}" if group["place"] else ""
    return f"{group['function']}: {group['exception']}{place} ({group['id']})"


def _page(function: str | None, before: tuple[float, str] | None, limit: int, now: float, connection: Any) -> list[Row]:
    found = group_file.groups(function, before, limit, connection)
    last = int(now // HOUR_S)
    counts = group_file.hours([row["id"] for row in found], last - 23, connection)
    return [_told(row, now) | {"hours": _series(counts[row["id"]], last - 23, last)} for row in found]


def _show(name: str, jobs: int, now: float, connection: Any) -> Row | None:
    found = group_file.group(name, connection)
    if found is None:
        return None
    last = int(now // HOUR_S)
    first = max(last - group_file.MOST_HOURS + 1, min(int(found["first"] // HOUR_S), last - 23))
    counts = group_file.hours([name], first, connection)
    return _told(found, now) | {
        "hours": _series(counts[name], first, last),
        "hours_from": first * HOUR_S,
        "jobs": [row | {"is_dead": bool(row["is_dead"])} for row in group_file.jobs(name, jobs, connection)],
        "mark": group_file.last_id(name, connection),
    }


def _told(row: Row, now: float) -> Row:
    """A group as it is told: a mute that is over is none."""
    until = row.pop("muted_until")
    is_muted = until is not None and until > now
    return {
        **row,
        "is_muted": is_muted,
        "muted_until": until if is_muted and until < FOREVER else None,
        "muted_by": row["muted_by"] if is_muted else None,
    }


def _series(counts: Mapping[int, int], first: int, last: int) -> list[int]:
    return [counts.get(hour, 0) for hour in range(first, last + 1)]
