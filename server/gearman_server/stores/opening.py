"""Opens a store's database: ownership, numbers for handles, and the contents from an earlier run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from gearman_server.errors import StartError, StoreError
from gearman_server.log import logger
from gearman_server.stores.batches_table import read_batches
from gearman_server.stores.keys_table import delete_lapsed, read_keys
from gearman_server.stores.letters_table import read_letters
from gearman_server.stores.migrations import STORE_ID, read_meta
from gearman_server.stores.results_table import read_results
from gearman_server.stores.small_tables import read_marks, read_pauses

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.jobs.batch_rows import StoredBatch
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark
    from gearman_server.jobs.store import KnownKey
    from gearman_server.stores.database import Database
    from gearman_server.stores.reading import StoredRows


Item = TypeVar("Item")


class Left(NamedTuple):
    """The contents of the database from an earlier run."""

    pages: StoredRows
    #: Looks up jobs for requests while the pages are read; None: there are no rows.
    look_ups: StoredRows | None
    letters: Sequence[DeadLetter]
    results: Sequence[KeptResult]
    keys: Sequence[KnownKey]
    schedule_marks: Mapping[str, ScheduleMark]
    pauses: Mapping[bytes, float]
    job_batches: Sequence[StoredBatch]
    #: The id of the store.
    store_id: bytes


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
    letters = [] if database.is_shared else _readable(database, "dead letters", read_letters)
    results = [] if database.is_shared else _readable(database, "kept results", read_results)
    keys = [] if database.is_shared else _readable(database, "known keys", _known_keys)
    cursors = dict(_readable(database, "cursors of jobs", database.cursors.read))
    for rows in filter(None, (pages, look_ups)):
        rows.cursors = cursors
    batches = [] if database.is_shared else database.call(read_batches)
    marks, pauses = database.call(read_marks), database.call(read_pauses)
    store_id = database.call(partial(read_meta, name=STORE_ID)) or ""
    return numbers, Left(pages, look_ups, letters, results, keys, marks, pauses, batches, store_id.encode())


def _known_keys(connection: Connection) -> list[KnownKey]:
    """The keys whose time is not over; the others are removed."""
    delete_lapsed(connection, time.time())
    return read_keys(connection, time.time())


def _readable(database: Database, what: str, read: Callable[[Connection], list[Item]]) -> list[Item]:
    """What can be read; nothing if it can't."""
    try:
        return database.call(read)
    except StoreError as error:
        logger.error("the store %s: the %s can't be read: %s", database.name, what, error)
        return []
