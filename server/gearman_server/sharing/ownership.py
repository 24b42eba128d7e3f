"""Ownership of rows in a store that several servers share: each row has an owner, and each server its fence.

No lock of a session is used after the store has been set up, because a pooler gives sessions to others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, inspect, text

from gearman_server.cluster.members import Member, MemberState
from gearman_server.errors import ComparisonNeededError, OwnershipLostError, StartError
from gearman_server.log import NOTICE, logger
from gearman_server.sharing import servers_table
from gearman_server.sharing.batches import count_jobs
from gearman_server.sharing.claims import claim
from gearman_server.sharing.fencing import fence
from gearman_server.sharing.keys import take_over_keys
from gearman_server.sharing.servers_table import add_dead, hold_fence, read_members, register
from gearman_server.stores.migrations import CLUSTER, META, STEPS, VERSION, migrate, read_meta, write_meta
from gearman_server.stores.ownership import wait_to_own
from gearman_server.stores.rows import JOBS, OWNER, OWNER_INDEX
from gearman_server.version import __version__

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.stores.backend import Backend, Sharing
    from gearman_server.stores.batch import Batch
    from gearman_server.stores.settings import ClusterSettings


class SharedOwnership:
    """This server's own rows."""

    is_shared = True

    def __init__(self, backend: Backend, sharing: Sharing, name: str, cluster: ClusterSettings) -> None:
        self._backend = backend
        self._sharing = sharing
        self._name = name
        self._cluster = cluster
        #: 0 while this server is not registered.
        self.owner = 0
        #: Whether the connection is a new one, and what the store has is not compared yet.
        self.must_compare = False
        #: Which database has answered last.
        self._node = ""

    def connect_options(self) -> dict[str, Any]:
        """What a pooler needs."""
        return self._sharing.connect_options()

    def take(self, connection: Connection) -> None:
        """Set the store up, unless another server of the cluster has done so."""
        if not self._is_set_up(connection):
            self._set_up(connection)
        connection.commit()

    def _is_set_up(self, connection: Connection) -> bool:
        if not inspect(connection).has_table(META):
            return False
        found = read_meta(connection, CLUSTER)
        if found not in (None, self._cluster.name):
            raise StartError(
                f"the store {self._name} belongs to the cluster {found}; start this server with --cluster {found}, or"
                " give it another store"
            )
        version = int(read_meta(connection, VERSION) or 0)
        return found is not None and version >= len(STEPS)

    def _set_up(self, connection: Connection) -> None:
        """Become the only owner for a moment: a server that does not share can't be using the store then. Bring the
        schema up to date, and mark the store so that no such server uses it again."""
        wait_to_own(self._own_unless_set_up, connection, self._name)
        if not self._is_set_up(connection):
            migrate(connection, self._name, in_parts=False)
        if not self._is_set_up(connection):
            write_meta(connection, "epoch", str(int(read_meta(connection, "epoch") or 0) + 1))
            write_meta(connection, "next_number", read_meta(connection, "next_number") or "1")
            if all(index["name"] != OWNER_INDEX for index in inspect(connection).get_indexes(JOBS)):
                connection.exec_driver_sql(f"CREATE INDEX {OWNER_INDEX} ON {JOBS} (owner, priority, id)")
            if connection.execute(text(f"SELECT 1 FROM {JOBS} WHERE owner = {OWNER} LIMIT 1")).first() is not None:
                add_dead(connection, OWNER)
            take_over_keys(connection)
            count_jobs(connection)
            write_meta(connection, CLUSTER, self._cluster.name)
            logger.log(NOTICE, "the store %s is shared from now on: cluster %s", self._name, self._cluster.name)
        self._sharing.disown_briefly(connection)

    def _own_unless_set_up(self, connection: Connection) -> bool:
        """Of many that start at once, one prepares the store, and the others go on as soon as it has."""
        return self._is_set_up(connection) or self._sharing.own_briefly(connection)

    def fence_predecessors(self, engine: Engine) -> None:
        """Whoever had this server's name before is dead. Only at the start: two of one name would go on declaring each
        other dead."""
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for member in read_members(connection):
                is_former = member.name == self._cluster.member and member.state is MemberState.ALIVE
                if is_former and fence(engine, self._sharing, member.id, connection):
                    logger.log(NOTICE, "server %d, which was called %s before, is declared dead", *member[:2])

    def enter(self, connection: Connection, number: int) -> None:
        """Register this server as a living one with this id. The caller commits."""
        address = self._cluster.address
        self._node = self._sharing.node(connection)
        me = Member(number, self._cluster.member, address, __version__, MemberState.ALIVE, None, b"")
        register(connection, me, time.time())

    def use(self, number: int) -> None:
        """Write rows as the server with this id from now on; 0: as none."""
        self.owner = number
        self._backend.use_owner(number)

    def retake(self, connection: Connection) -> None:
        """Any connection is as good as another, once it is known what the database has."""
        self.must_compare = True

    def is_alive(self, connection: Connection) -> tuple[bool, bool]:
        """Whether this server may still write, and whether the database is another one than before.

        If that one does not know this server, because it has lost the commit in which it was registered, that is done
        again.
        """
        node = self._sharing.node(connection)
        former, self._node = self._node, node
        state = servers_table.state_of(connection, self.owner)
        if state is None and former != node:
            self.enter(connection, self.owner)
            return True, True
        return state is MemberState.ALIVE, former != node

    def begin(self, connection: Connection) -> None:
        """Keep the fence until the end of the transaction."""
        if self.must_compare:
            raise ComparisonNeededError("the connection is new: what the database has is compared first")
        if self.owner and not hold_fence(connection, self.owner):
            raise OwnershipLostError("another server of the cluster has declared this one dead")

    def begin_batch(self, connection: Connection, batch: Batch, inserts: Sequence[Job]) -> Sequence[Job]:
        """Claim what others may have done: first of all, because it is ours if its job is there already."""
        return claim(connection, batch, inserts, self.owner)

    def release(self) -> None:
        """Nothing is held."""
