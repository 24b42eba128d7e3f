"""Keeps finished jobs in their file, within its bounds, and finds them again."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from gearman_manager.config.models import FinishedJobs
from gearman_manager.control.turns import Turns
from gearman_manager.errors import ManagerError, NotNow
from gearman_manager.finished import table
from gearman_manager.finished.attempt import FinishedAttempt
from gearman_manager.finished.private_attempts import shown_row
from gearman_manager.finished.search import Wanted
from gearman_manager.history.complaint import Complaint
from gearman_manager.history.history_file import HistoryError, HistoryFile, file_names
from gearman_manager.privacy import Privacy

_log = logging.getLogger("history")
FILE_NAME: Final = "finished.db"
FILE_NAMES: Final = file_names(FILE_NAME)
#: A hundred thousand rows with long workloads; of such with long tracebacks fewer.
MOST_BYTES: Final = 256 << 20
#: How often rows that are too old are looked for.
TIDY_EVERY_S: Final = 60.0
_WRITE_PATIENCE_S: Final = 60.0
#: How often room is made for one page: each time a tenth of all.
_MOST_TRIES: Final = 8
#: Characters of a text that is looked for.
MOST_TEXT: Final = 200
#: Servers that are remembered.
_MOST_CURSORS: Final = 1000


class Keeper:
    """The finished jobs that are kept."""

    def __init__(self, path: Path, bounds: Callable[[], FinishedJobs | None], privacy: Privacy) -> None:
        """`bounds` gives those in force; None: none are kept. `privacy` says what may be shown, and for how long the
        rows of a function are kept, if that is shorter."""
        self._path = path
        self._file = HistoryFile(path, MOST_BYTES)
        for statement in table.TABLES:
            self._file.declare(statement)
        for column in table.LATER:
            self._file.declare_column(*column)
        self._bounds = bounds
        self.privacy = privacy
        #: The bounds for what was kept before, while none are kept; of `max_count` only that it is 0 matters.
        self.bounds_of_old: Callable[[], FinishedJobs] = FinishedJobs
        self._cursors: dict[str, str] = {}
        self._tidied_at = -TIDY_EVERY_S
        self._not_kept, self._not_tidied = Complaint(_log), Complaint(_log)

    @property
    def is_on(self) -> bool:
        """Whether any are kept."""
        return self._bounds() is not None

    def cursor_of(self, server: str) -> str:
        """Where to go on with a server; empty: at its first end."""
        if server in self._cursors:
            return self._cursors[server]
        try:
            return self._file.run(partial(table.cursor_of, server))
        except HistoryError:
            return ""  # it will be said when they are to be written

    def keep(self, attempts: Sequence[FinishedAttempt], server: str, cursor: str) -> None:
        """Write what a server told, and where to go on. Only the calling greenlet waits. What can't be written is lost:
        the log says so."""
        bounds = self._bounds()
        if bounds is None:
            return
        self._note_cursor(server, cursor)
        try:
            self._write(partial(table.insert, attempts, server, cursor, bounds.max_count))
            self._not_kept.end()
        except HistoryError as error:
            self._not_kept.make(f"{error}; finished jobs are not kept until it can")

    def _note_cursor(self, server: str, cursor: str) -> None:
        """Remember it: while the file is busy or broken, nothing must be read twice."""
        self._cursors.pop(server, None)
        self._cursors[server] = cursor
        if len(self._cursors) > _MOST_CURSORS:
            del self._cursors[next(iter(self._cursors))]

    def _write(self, insert: Callable[[sqlite3.Connection], None]) -> None:
        for left in reversed(range(_MOST_TRIES)):
            try:
                self._file.run(insert, _WRITE_PATIENCE_S)
                return
            except HistoryError as error:
                if not left or getattr(error.__cause__, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                    raise
                self._file.run(table.make_room, _WRITE_PATIENCE_S)

    def tidy(self) -> None:
        """Delete what is too old, a part at a time, if it is time for that; also while none are kept. Only the calling
        greenlet waits."""
        now = time.monotonic()
        if now < self._tidied_at + TIDY_EVERY_S:
            return
        self._tidied_at = now
        if not self.is_on and not self._path.exists():
            return  # none was ever kept
        young = self._young()
        befores: list[tuple[float, str | None]] = [(young.since, None)]
        befores += [(since, function) for function, since in young.since_of.items()]
        try:
            for before, function in befores:
                while self._file.run(partial(table.delete_older, before, function)):
                    pass
            self._not_tidied.end()
        except HistoryError as error:
            self._not_tidied.make(f"{error}; finished jobs that are too old stay in it until it can")

    def _young(self) -> table.Young:
        """Since when what is kept must have ended; infinity: nothing stays."""
        now, bounds = time.time(), self._bounds() or self.bounds_of_old()
        since = now - bounds.max_age if bounds.max_count else math.inf
        ages_s = self.privacy.retention_s
        since_of = {function: now - age_s for function, age_s in ages_s.items() if now - age_s > since}
        return table.Young(since, since_of)

    def page(self, wanted: Wanted, limit: int, before: int | None) -> list[dict[str, Any]]:
        """The kept ends that are wanted, the newest first: at most `limit`, of those before an id. Their texts are cut,
        and some are left out: `attempts_of` has all.

        Raises:
            HistoryError: they can't be read.
            NotNow: none are kept.
            ManagerError: too long a text is looked for.
        """
        self._check(wanted)
        condition = wanted.condition(before=before)
        listed = partial(table.listed, condition, self._young(), limit, self.privacy)
        return self._shown_in_list(self._file.run(listed))

    def mark(self) -> int:
        """The id of the newest end that is kept: what is kept later has a higher one.

        Raises:
            HistoryError, NotNow: as `page`.
        """
        self._check(Wanted())
        return self._file.run(table.last_id)

    def count(self, wanted: Wanted, mark: int) -> tuple[int, int]:
        """How many jobs have wanted ends up to that mark, and how many of them can be run again.

        Raises:
            HistoryError, NotNow, ManagerError: as `page`.
        """
        self._check(wanted)
        return self._file.run(partial(table.counted, wanted.condition(up_to=mark), self._young(), self.privacy))

    def with_workloads(self, wanted: Wanted, mark: int, after: int, limit: int) -> list[dict[str, Any]]:
        """Some of the wanted ends up to that mark and after an id, the oldest first, with their workloads.

        Raises:
            HistoryError, NotNow, ManagerError: as `page`.
        """
        self._check(wanted)
        condition = wanted.condition(after=after, up_to=mark)
        found = partial(table.with_workloads, condition, self._young(), limit, self.privacy)
        return self._shown(self._file.run(found))

    def has_ended(self, handle: str, mark: int) -> bool:
        """Whether a job was over when that was the mark, as far as that is kept.

        Raises:
            HistoryError, NotNow: as `page`.
        """
        self._check(Wanted())
        return self._file.run(partial(table.has_ended, handle, mark))

    def last_of_schedules(self, tags: Iterable[str], limit: int) -> dict[str, list[dict[str, Any]]]:
        """By tag, the last jobs that are over and have this tag of a schedule alone, the newest first, as `page`.

        Raises:
            HistoryError: they can't be read.
            NotNow: none are kept.
        """
        self._check(Wanted())
        found = self._file.run(partial(table.last_of_schedules, list(tags), limit, self._young(), self.privacy))
        return {tag: self._shown_in_list(rows) for tag, rows in found.items()}

    def attempts_of(self, handle: str) -> list[dict[str, Any]]:
        """What is kept of a job, its last attempts, the first one first; none: nothing is.

        Raises:
            HistoryError: it can't be read.
        """
        if not self.is_on:
            return []
        return self._shown(self._file.run(partial(table.attempts_of, handle, self._young())))

    def _shown_in_list(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        # Cut only now: a private value in an error is known by the workload.
        return [
            {**row, "error": row["error"][: table.LISTED_ERROR], "workload": row["workload"][: table.LISTED_WORKLOAD]}
            for row in self._shown(rows)
        ]

    def _shown(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        turns, shown = Turns(), []
        for row in rows:
            shown.append(shown_row(row, self.privacy))
            turns.others()
        return shown

    def _check(self, wanted: Wanted) -> None:
        if not self.is_on:
            raise NotNow("finished jobs are not kept: `control.listen` or `history.finished_jobs` turns that on")
        if wanted.text is not None and len(wanted.text) > MOST_TEXT:
            raise ManagerError(f"text: at most {MOST_TEXT} characters are looked for")

    def close(self) -> None:
        """Keep nothing more."""
        self._file.close()
