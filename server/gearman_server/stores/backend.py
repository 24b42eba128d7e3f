"""What a store wants of its kind of database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.jobs.job import Job
    from gearman_server.stores.rows import Layout, Row


class Sharing(Protocol):
    """What a kind of database does for several servers that share a store."""

    def connect_options(self) -> dict[str, Any]:
        """Further options for the driver's `connect`, since the connection may lead to a pooler."""

    def own_briefly(self, connection: Connection) -> bool:
        """Take the lock of the store's only owner, until the transaction ends or `disown_briefly`. False: somebody else
        has it."""

    def disown_briefly(self, connection: Connection) -> None:
        """Give that lock back, if the end of the transaction does not."""

    def node(self, connection: Connection) -> str:
        """Which of several copies of a database answers, as far as one may lack what another has committed."""

    def bound_waits(self, connection: Connection) -> None:
        """Have the transaction that has just begun wait no longer than a second for a row that another one holds."""

    def end_blockers(self, connection: Connection) -> int:
        """End sessions that hold a server's row without doing anything. Returns their number."""


class Backend(Protocol):
    """One kind of database."""

    #: Whether `check` may fail although nothing is written.
    wants_looks: bool
    #: Whether the lock of `own` can't be trusted everywhere.
    is_lock_weak: bool

    @property
    def sharing(self) -> Sharing | None:
        """What it does for several servers on one store; None: its stores have one server each."""

    def connect_options(self, timeout_s: float) -> dict[str, Any]:
        """The options for the driver's `connect`, so that no call waits much longer than the time."""

    def prepare(self, driver_connection: Any) -> None:
        """Give a new connection the settings that are not the database's defaults."""

    def begin(self, connection: Connection) -> None:
        """Begin a transaction, if the driver does not do it by itself."""

    def use_owner(self, owner: int) -> None:
        """Insert rows as those of this owner from now on."""

    def insert(self, connection: Connection, layout: Layout, rows: Sequence[Row]) -> None:
        """Add rows to the table of jobs."""

    def insert_plain(self, connection: Connection, jobs: Sequence[Job], offset_s: float) -> None:
        """Add plain jobs. The hot path.

        `offset_s` is added to a monotonic time to get the wall clock's.
        """

    def is_atomic(self, jobs: Sequence[Job], size_bytes: int) -> bool:
        """Whether `insert_plain` adds all of these or none, without a transaction around it."""

    def refused(self, driver_connection: Any, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that are too big for the database, so that an attempt would cost the connection."""

    def room_bytes(self) -> int | None:
        """The largest size of the texts of one row; None: there is no bound that matters."""

    def own(self, connection: Connection) -> bool:
        """Become the store's only owner while the connection (or this process) lives; False: there is another owner.

        Raises:
            StoreError: no lock would hold here.
        """

    def disown(self) -> None:
        """Give the ownership up, if the end of the connection does not."""

    def open(self) -> None:
        """Prepare for the first connection.

        Raises:
            StartError: the database can't be used in this way.
        """

    def begin_ownership(self, driver_connection: Any) -> None:
        """Mark the database as this owner's."""

    def check(self, *, is_brief: bool = False) -> None:
        """Check that the next start will find what is committed now; `is_brief`: as far as that costs nothing.

        Raises:
            StoreError: it will not, and why.
        """

    def repair(self, driver_connection: Any) -> bool:
        """Remove the reason why `check` has failed. True: it is done, and the connection has to be closed."""

    def check_room(self, connection: Connection, workload_bytes: int) -> None:
        """Check that there is room for workloads of this size, and keep the log small enough for the disk as it is.

        Raises:
            StoreError: there is not, and an attempt could use up the room without which the log can't be emptied.
        """

    def empty_log(self, driver_connection: Any) -> None:
        """Try to give the log's room on the disk back."""

    def note_closed(self) -> None:
        """The connection is closed."""

    def obstacle(self) -> str | None:
        """The reason why the database can't be used at all, as far as it can be seen from outside."""

    def break_off(self, driver_connection: Any) -> None:
        """Make a call that waits for the database fail now. For another thread."""
