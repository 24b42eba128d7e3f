"""Whose rows a server writes, and how it makes sure of that. Here: one server owns a store at a time.

A second one names the first, waits for its end, and gives up. `gearman_server.sharing` has the other way.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy.exc import DBAPIError

from gearman_server.errors import OwnershipLostError, StartError, StoreError
from gearman_server.log import NOTICE, logger
from gearman_server.stores.changes import count_losses
from gearman_server.stores.migrations import CLUSTER, migrate, read_meta, write_meta
from gearman_server.stores.rows import OWNER

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.jobs.job import Job
    from gearman_server.stores.backend import Backend
    from gearman_server.stores.batch import Batch

#: How long a second server waits for the first one to end.
OWNER_PATIENCE_S: Final = 15.0
_OWNER_LOOKS_S: Final = 0.1
#: Where a lock can't be trusted, a write looks this often whether another server has owned the store.
EPOCH_EVERY_S: Final = 0.5


class Ownership(Protocol):
    """Makes sure that what is written is ours to write."""

    #: The owner of the rows that are written.
    owner: int
    #: Whether others own rows of the same store at the same time.
    is_shared: bool

    def connect_options(self) -> dict[str, Any]:
        """Further options for the driver's `connect`."""

    def take(self, connection: Connection) -> None:
        """At the start: become an owner, and bring the schema up to date. Blocks, and commits.

        Raises:
            StartError: others own the store.
        """

    def retake(self, connection: Connection) -> None:
        """Go on with a new connection. Commits.

        Raises:
            StoreError: it can't be said whose the store is.
            OwnershipLostError: it is another's now.
        """

    def begin(self, connection: Connection) -> None:
        """A transaction that changes rows has begun.

        Raises:
            OwnershipLostError: the rows are another's now.
        """

    def begin_batch(self, connection: Connection, batch: Batch, inserts: Sequence[Job]) -> Sequence[Job]:
        """The transaction of a batch has begun. Returns those of the inserts that are ours to make.

        Raises:
            OwnershipLostError: the rows are another's now.
        """

    def release(self) -> None:
        """Give it up; the connection is closed already."""


class SoleOwnership:
    """One server, one store."""

    owner = OWNER
    is_shared = False

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend = backend
        self._name = name
        #: The number of times that a server has owned the store, this one included.
        self._epoch = 0
        self._epoch_read_at = float("-inf")

    def connect_options(self) -> dict[str, Any]:
        """None."""
        return {}

    def take(self, connection: Connection) -> None:
        """Become the only owner."""
        wait_to_own(self._backend.own, connection, self._name)
        connection.commit()
        migrate(connection, self._name)
        cluster = read_meta(connection, CLUSTER)
        if cluster is not None:
            raise StartError(
                f"the store {self._name} is shared by the servers of the cluster {cluster}; start this one with"
                f" --cluster {cluster}, or give it another store"
            )
        self._epoch = int(read_meta(connection, "epoch") or 0) + 1
        write_meta(connection, "epoch", str(self._epoch))
        write_meta(connection, "owner", this_process())
        connection.commit()
        count_losses(connection)
        self._backend.begin_ownership(connection.connection.driver_connection)

    def retake(self, connection: Connection) -> None:
        """Go on, unless another server has owned the store meanwhile."""
        if not self._backend.own(connection):
            raise StoreError(f"another session owns it: {holder_of(connection)}", is_lost=True)
        self._check_epoch(connection)
        connection.commit()

    def begin(self, connection: Connection) -> None:
        """The lock is enough."""

    def begin_batch(self, connection: Connection, batch: Batch, inserts: Sequence[Job]) -> Sequence[Job]:
        """Where it may not be enough, look at the epoch now and then."""
        if self._backend.is_lock_weak and time.monotonic() > self._epoch_read_at + EPOCH_EVERY_S:
            self._check_epoch(connection)
        return inserts

    def release(self) -> None:
        """Give the lock up."""
        self._backend.disown()

    def _check_epoch(self, connection: Connection) -> None:
        if int(read_meta(connection, "epoch") or 0) != self._epoch:
            raise OwnershipLostError("another gearman-server has owned the store in the meantime")
        self._epoch_read_at = time.monotonic()


def wait_to_own(own: Callable[[Connection], bool], connection: Connection, name: str) -> None:
    """Become the owner of the store with this name: call `own` until it succeeds. Blocks, and commits nothing.

    Raises:
        StartError: another server owns it, and does not end.
    """
    deadline = time.monotonic() + OWNER_PATIENCE_S
    is_told = False
    while not own(connection):
        connection.rollback()
        if not is_told:
            is_told = True
            text = "the store %s belongs to another gearman-server (%s): waiting %d s at most for its end"
            logger.log(NOTICE, text, name, holder_of(connection), OWNER_PATIENCE_S)
        if time.monotonic() > deadline:
            raise StartError(f"the store {name} belongs to another gearman-server: {holder_of(connection)}")
        time.sleep(_OWNER_LOOKS_S)


def holder_of(connection: Connection) -> str:
    """The server that owns the store, as it called itself."""
    try:
        connection.rollback()
        with connection.begin():  # it ends here, because the owner has to write
            return read_meta(connection, "owner") or "one that is just starting"
    except DBAPIError:
        return "one that is just starting"


def this_process() -> str:
    """What the owner calls itself."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
    return f"process {os.getpid()} on {platform.node()[:128]}, since {since}"
