"""The last actions: in the log, and in the history's file, into which a greenlet writes them in batches."""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, fields, replace
from functools import partial
from typing import Any, Final

import gevent
import gevent.event

from gearman_manager.history.action import Action
from gearman_manager.history.complaint import Complaint
from gearman_manager.history.history_file import HistoryError, HistoryFile
from gearman_manager.privacy import Privacy

_log = logging.getLogger("actions")
MOST_KEPT: Final = 10_000
#: Those that wait for the disk; of more the oldest stand in the log alone.
_MOST_WAITING: Final = 1000
#: Actions that come together are written together.
_PAUSE_S: Final = 0.02
_COLUMNS: Final = tuple(field.name for field in fields(Action))
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS actions (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, who TEXT, role TEXT, "
    "address TEXT, what TEXT, target TEXT, details TEXT, status INTEGER, outcome TEXT)"
)
_INSERT: Final = f"INSERT INTO actions ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_TRIM: Final = "DELETE FROM actions WHERE id <= (SELECT max(id) FROM actions) - ?"
#: The conditions of a page.
CONDITIONS: Final = ("who", "what", "target")


class ActionLog:
    """Notes actions and tells of them."""

    def __init__(self, file: HistoryFile, privacy: Privacy | None = None) -> None:
        """What `privacy` hides is neither kept nor told."""
        self._file = file
        self._privacy = privacy or Privacy()
        file.declare(_TABLE)
        self._waiting: deque[Action] = deque(maxlen=_MOST_WAITING)
        self._writer: gevent.Greenlet[..., None] | None = None
        self._is_written = gevent.event.Event()
        self._is_written.set()
        self._unwritten = Complaint(_log)
        #: Is told of each action at once.
        self.listener: Callable[[Mapping[str, Any]], None] = lambda _action: None

    def note(self, action: Action) -> None:
        """An action has happened. It is in the log at once, and in the file a moment later."""
        clean = self._privacy.of_all.text
        action = replace(
            action, target=clean(action.target), details=clean(action.details), outcome=clean(action.outcome)
        )
        level = logging.INFO if action.is_done else logging.WARNING
        words = " ".join(word for word in (action.what, action.target, action.details) if word)
        end = "" if action.is_done else f": refused ({action.status}): {action.outcome}"
        _log.log(level, "%s from %s: %s%s", action.who, action.address, words, end)
        self.listener(asdict(action))
        self._waiting.append(action)
        self._is_written.clear()
        if self._writer is None:
            self._writer = gevent.spawn(self._write)

    def page(self, limit: int, before: int | None, conditions: Mapping[str, str]) -> list[dict[str, Any]]:
        """The last actions, the newest first: at most `limit`, those before an id, and those that meet the conditions.

        Raises:
            HistoryError: they can't be read.
        """
        self._is_written.wait(1.0)
        chosen = {name: conditions[name] for name in CONDITIONS if name in conditions}
        clauses = [f"{name} = ?" for name in chosen] + ["id < ?"] * (before is not None)
        where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
        query = f"SELECT id, {', '.join(_COLUMNS)} FROM actions{where} ORDER BY id DESC LIMIT ?"
        values = [*chosen.values(), *([] if before is None else [before]), limit]
        rows = self._file.run(lambda connection: connection.execute(query, values).fetchall())
        return [dict(zip(("id", *_COLUMNS), row, strict=True)) for row in rows]

    def between(self, begin: float, end: float, limit: int) -> list[dict[str, Any]]:
        """The actions of a time that were done, the newest first: at most `limit`. Moments are seconds since 1970.

        Raises:
            HistoryError: they can't be read.
        """
        self._is_written.wait(1.0)
        where = "at >= ? AND at < ? AND status < 400"
        query = f"SELECT {', '.join(_COLUMNS)} FROM actions WHERE {where} ORDER BY id DESC LIMIT ?"
        rows = self._file.run(lambda connection: connection.execute(query, (begin, end, limit)).fetchall())
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def close(self) -> None:
        """Write what is still to be written: the manager ends."""
        self._is_written.wait(2.0)
        self._file.close()

    def _write(self) -> None:
        """Write all that waits, then end."""
        try:
            self._write_waiting()
        finally:
            self._writer = None
            self._is_written.set()

    def _write_waiting(self) -> None:
        while self._waiting:
            gevent.sleep(_PAUSE_S)
            batch = [astuple(action) for action in self._waiting]
            self._waiting.clear()
            try:
                self._file.run(partial(_insert, batch), 60.0)
                self._unwritten.end()
            except HistoryError as error:
                self._unwritten.make(f"{error}; actions stand in the log alone")


def _insert(batch: list[tuple[Any, ...]], connection: sqlite3.Connection) -> None:
    connection.executemany(_INSERT, batch)
    connection.execute(_TRIM, (MOST_KEPT,))
