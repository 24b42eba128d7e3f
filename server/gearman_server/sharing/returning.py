"""A new connection to the database may lead to another one: a standby that has become the primary, and lacks what was
committed last. Memory is the truth for what this server owns: before anything new is acknowledged, the store gets what
it lacks, and loses what has ended.

Everything here runs on the loop's thread, but for what is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Connection, text

from gearman_server.errors import StoreError
from gearman_server.log import NOTICE, logger
from gearman_server.stores.rows import JOBS
from gearman_server.thread import Delivery

if TYPE_CHECKING:
    from gearman_server.cluster.comparison import Comparison
    from gearman_server.sharing.ownership import SharedOwnership
    from gearman_server.stores.database import Database
    from gearman_server.stores.writer import Writer

_OWN_IDS: Final = text(f"SELECT id FROM {JOBS} WHERE owner = :owner")


class Differences(NamedTuple):
    """What the comparison has found."""

    #: The number of jobs that have to be written again.
    missing: int
    #: Ids of rows without a job here, in a database that is another one than before: their jobs have ended.
    surplus: set[int]


#: Gets what was found, or why the store can't be read; None: the rows are others' now.
Finish = Callable[["Differences | StoreError | None"], None]


class Returning:
    """Reads what the store has, and has it compared."""

    def __init__(
        self, database: Database, ownership: SharedOwnership, writer: Writer, comparison: Comparison, finish: Finish
    ) -> None:
        """`finish` is called at the end of each comparison."""
        self._database = database
        self._ownership = ownership
        self._writer = writer
        self._comparison = comparison
        self._finish = finish
        self.is_running = False
        #: Whether another database has answered than before.
        self._has_moved = False

    def start(self) -> None:
        """Begin a comparison, unless one is under way."""
        if not self.is_running:
            self.is_running = True
            self._writer.run(self._read)

    def _read(self) -> Delivery:
        """Runs on the writer's thread."""
        try:
            stored = self._database.call(self._own_ids)
        except StoreError as error:
            return partial(self._end, error)
        if stored is None:
            return partial(self._end, None)
        self._ownership.must_compare = False
        return partial(self._comparison.start, stored, self._note)

    def _own_ids(self, connection: Connection) -> set[int] | None:
        """The ids of our rows; None: others have them. Runs on the writer's thread."""
        is_alive, self._has_moved = self._ownership.is_alive(connection)
        if not is_alive:
            return None
        rows: Iterable[tuple[int]] = connection.execute(_OWN_IDS, {"owner": self._ownership.owner})
        return {int(number) for (number,) in rows}

    def _note(self, missing: int, surplus: set[int]) -> None:
        if not self._has_moved:
            # This database has lost nothing, so no row is one that was deleted. What it has and we don't know is a page
            # of adopted rows whose commit got no answer, say.
            surplus = set()
        if missing or surplus:
            text = "the database has been away, and has lost what was committed last: %d jobs are written again"
            logger.log(NOTICE, text, missing)
        self._end(Differences(missing, surplus))

    def _end(self, found: Differences | StoreError | None) -> None:
        self.is_running = False
        self._finish(found)
