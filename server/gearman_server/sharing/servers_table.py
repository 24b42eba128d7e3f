"""The servers that share a store: who they are (`gearman_servers`), and their beats (`gearman_beats`).

The row of a server in `gearman_servers` is its fence: each of its transactions holds that row, and whoever declares the
server dead changes it. So whatever commits after that was not written by the dead one. Beats have a table of their own,
so that neither a long transaction delays a beat nor a beat a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, LargeBinary, column, delete, insert, select, table, text, update

from gearman_server.cluster.members import Member, MemberState
from gearman_server.stores.rows import JOBS

_servers: Final = table(
    "gearman_servers",
    column("id", BigInteger()),
    *map(column, ("name", "address", "version", "state", "fence", "started_at")),
)
_beats: Final = table("gearman_beats", column("id", BigInteger()), column("beat"), column("facts", LargeBinary()))
_ALIVE = int(MemberState.ALIVE)

#: The columns of a member, and the rest of the statement that reads all of them.
MEMBER_COLUMNS: Final = "servers.id, name, address, version, state, beat, facts"
FROM_MEMBERS: Final = (
    "FROM gearman_servers servers LEFT JOIN gearman_beats beats ON beats.id = servers.id ORDER BY servers.id"
)
# FOR SHARE is enough: whoever declares us dead waits for our commit, and two transactions of ours don't wait for one
# another. MySQL's read locks are unknown to the other nodes of a Galera cluster: there the row has to be changed.
_HOLD_BY_LOCK: Final = f"SELECT 1 FROM gearman_servers WHERE id = {{}} AND state = {_ALIVE} FOR SHARE"
_HOLD_BY_CHANGE: Final = f"UPDATE gearman_servers SET fence = fence + 1 WHERE id = {{}} AND state = {_ALIVE}"
_HAS_JOBS: Final = text(f"SELECT 1 FROM {JOBS} WHERE owner = :id LIMIT 1")


def register(connection: Connection, member: Member, unix_now: float) -> None:
    """Add a living server."""
    row = {
        "id": member.id,
        "name": member.name,
        "address": member.address,
        "version": member.version,
        "state": int(member.state),
        "fence": 0,
        "started_at": unix_now,
    }
    connection.execute(insert(_servers), row)
    connection.execute(insert(_beats), {"id": member.id, "beat": 1, "facts": b""})


def hold_fence(connection: Connection, number: int) -> bool:
    """Keep the server with this id alive until the end of the transaction. False: it is dead."""
    if connection.dialect.name == "postgresql":
        return connection.exec_driver_sql(_HOLD_BY_LOCK.format(number)).first() is not None
    return connection.exec_driver_sql(_HOLD_BY_CHANGE.format(number)).rowcount == 1


def state_of(connection: Connection, number: int) -> MemberState | None:
    """Whether the server with this id lives; None: it is not known."""
    state = connection.execute(select(_servers.c.state).where(_servers.c.id == number)).scalar()
    return None if state is None else MemberState(state)


def read_members(connection: Connection) -> list[Member]:
    """All servers whose jobs are their own, or not adopted yet, those that came first at the head."""
    return [member_of(row) for row in connection.exec_driver_sql(f"SELECT {MEMBER_COLUMNS} {FROM_MEMBERS}")]


def member_of(row: Sequence[Any]) -> Member:
    """The server of this row, which begins with the columns of one."""
    number, name, address, version, state, beat, facts = row[:7]
    return Member(int(number), name, address, version, MemberState(state), beat, bytes(facts or b""))


def declare_dead(connection: Connection, number: int, state: MemberState = MemberState.DEAD) -> bool:
    """Fence a server: nothing that it writes is committed from now on. It waits for a transaction of that server.

    state: LEFT if the server itself does it at its end. Returns False if another was first.
    """
    dying = update(_servers).where(_servers.c.id == number, _servers.c.state == _ALIVE)
    return connection.execute(dying.values(state=int(state), fence=_servers.c.fence + 1)).rowcount == 1


def add_dead(connection: Connection, number: int) -> None:
    """Have rows of an owner that is not known adopted."""
    if connection.execute(select(_servers.c.id).where(_servers.c.id == number)).first() is None:
        nobody = Member(number, "", "", "", MemberState.DEAD, None, b"")
        register(connection, nobody, 0.0)


def bury(connection: Connection, number: int) -> bool:
    """Remove a dead server that owns no job any more. False: it owns some."""
    if connection.execute(_HAS_JOBS, {"id": number}).first() is not None:
        return False
    connection.execute(delete(_beats).where(_beats.c.id == number))
    connection.execute(delete(_servers).where(_servers.c.id == number, _servers.c.state != _ALIVE))
    return True
