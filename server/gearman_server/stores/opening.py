"""Opens a store's database: ownership, numbers for handles, and the contents from an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gearman_server.errors import StartError, StoreError
from gearman_server.log import logger

if TYPE_CHECKING:
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark
    from gearman_server.stores.database import Database
    from gearman_server.stores.reading import StoredRows


class Left(NamedTuple):
    """The contents of the database from an earlier run."""

    pages: StoredRows
    #: Looks up jobs for requests while the pages are read; None: there are no rows.
    look_ups: StoredRows | None
    letters: Sequence[DeadLetter]
    results: Sequence[KeptResult]
    schedule_marks: Mapping[str, ScheduleMark]


def open_database(database: Database) -> tuple[range, Left]:
    """Own the database. Returns numbers for handles, and the contents from an earlier run. Blocks.

    Raises:
        StartError: the database can't be used; it is closed.
    """
    try:
        database.open()
        return _read(database)
    except BaseException as error:
        database.close()
        if isinstance(error, StoreError):
            raise StartError(f"the store {database.name} can't be used: {error}") from error
        raise


def _read(database: Database) -> tuple[range, Left]:
    numbers = database.reserve_numbers()
    pages, look_ups = database.stored_rows(numbers.start), None
    if pages.has_rows():
        look_ups = database.stored_rows(numbers.start)
    return numbers, Left(pages, look_ups, _letters(database), _results(database), database.schedule_marks())


def _letters(database: Database) -> list[DeadLetter]:
    try:
        return database.letters()
    except StoreError as error:
        logger.error("the store %s: the dead letters can't be read: %s", database.name, error)
        return []


def _results(database: Database) -> list[KeptResult]:
    try:
        return database.results()
    except StoreError as error:
        logger.error("the store %s: the kept results can't be read: %s", database.name, error)
        return []
