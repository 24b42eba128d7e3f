"""Opens a store's database: ownership, numbers for handles, and the contents from an earlier run.

A store that has one server tells whether its last run ended in order, and whether workers ever came that go on with
their jobs when their server is gone: without them a start waits for no word. Each fact is written once in a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, text

from gearman_server.errors import OwnershipLostError, StartError, StoreError
from gearman_server.log import logger
from gearman_server.orphans.former_run import NOTHING_RUNS, FormerRun
from gearman_server.orphans.orphans import WORD_S
from gearman_server.stores.batches_table import read_batches
from gearman_server.stores.keys_table import delete_lapsed, read_keys
from gearman_server.stores.letters_table import read_letters
from gearman_server.stores.migrations import STORE_ID, read_meta, write_meta
from gearman_server.stores.results_table import read_results
from gearman_server.stores.rows import JOBS
from gearman_server.stores.small_tables import read_marks, read_pauses
from gearman_server.thread import native_sleep

if TYPE_CHECKING:
    from gearman_server.jobs.batch_rows import StoredBatch
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark
    from gearman_server.jobs.store import KnownKey
    from gearman_server.requests.departures import Departures
    from gearman_server.stores.database import Database
    from gearman_server.stores.reading import StoredRows
    from gearman_server.stores.writer import Writer
    from gearman_server.thread import Delivery


Item = TypeVar("Item")

#: The fact that such workers have come.
SPEAKERS: Final = "speakers"
#: For how long it is tried to write this, and the pause before each further attempt.
_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.05
#: The fact that tells which run was the last that ended in order.
ENDED: Final = "ended"


class Ending(NamedTuple):
    """How the last run ended."""

    #: The number of this run.
    run: int
    in_order: bool
    has_speakers: bool


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
    #: How the last run ended.
    ending: Ending


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
    if not database.is_shared:
        database.call(_delete_probe, as_owner=True)
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
    ending = database.call(read_ending)
    return numbers, Left(pages, look_ups, letters, results, keys, marks, pauses, batches, store_id.encode(), ending)


def _delete_probe(connection: Connection) -> None:
    """A run that was killed while it looked for room has left its row."""
    connection.execute(text(f"DELETE FROM {JOBS} WHERE id < 0"))


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


# --- the last run, and what the next one is told of this


def read_ending(connection: Connection) -> Ending:
    """What the store tells. This run's number is in it already."""
    run = int(read_meta(connection, "epoch") or 0)
    is_in_order = read_meta(connection, ENDED) == str(run - 1)
    return Ending(run, is_in_order, read_meta(connection, SPEAKERS) is not None)


class LastRun:
    """The last run, and what the next one is told of this."""

    def __init__(self, database: Database, ending: Ending) -> None:
        self._database = database
        self._ending = ending
        self._has_speakers = ending.has_speakers
        self._departures: Departures | None = None

    def doubts(self, now: float) -> FormerRun:
        """Which jobs are in doubt after this start."""
        if not self._has_speakers:
            return NOTHING_RUNS
        return FormerRun(now + WORD_S, ended_in_order=self._ending.in_order)

    def watch(self, departures: Departures, writer: Writer) -> Callable[[], None]:
        """Note how this run ends. The result is to be called when a worker comes that goes on with its jobs."""
        self._departures = departures
        return partial(self._note_speaker, writer)

    def note_end(self) -> None:
        """This run ends in order, if it is known which jobs run. All else is written."""
        if self._departures is not None and not self._departures.are_unsure:
            with suppress(StoreError):  # then the next start waits for words about more jobs
                self._database.call(partial(write_meta, name=ENDED, content=str(self._ending.run)), as_owner=True)

    def _note_speaker(self, writer: Writer) -> None:
        if not self._has_speakers:
            self._has_speakers = True
            self._write_speakers(writer, time.monotonic() + _PATIENCE_S)

    def _write_speakers(self, writer: Writer, deadline: float) -> None:
        """Have it written, behind the batches that wait."""

        def write() -> Delivery:  # on the writer's thread
            try:
                self._database.call(partial(write_meta, name=SPEAKERS, content="1"), as_owner=True)
            except StoreError as error:
                # A broken connection or a deadlock must not leave the next start without it.
                may_repeat = error.is_lost and not isinstance(error, OwnershipLostError)
                if may_repeat and time.monotonic() < deadline:
                    native_sleep(_PAUSE_S)
                    return partial(self._write_speakers, writer, deadline)
                reason = "that workers go on with their jobs can't be noted"
                logger.error("the store %s: %s: %s", self._database.name, reason, error)
                return self._forget_speakers
            return _nothing

        writer.run(write)

    def _forget_speakers(self) -> None:
        """The next one that comes is noted."""
        self._has_speakers = False


def _nothing() -> None:
    """It is written."""
