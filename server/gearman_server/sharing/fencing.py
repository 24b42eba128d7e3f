"""Declares a server dead though a transaction of it may be open that will never end, because its process, its machine
or the network to it stands still: the database keeps that, and with it the fence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from gearman_server.sharing import servers_table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from gearman_server.stores.backend import Sharing


def fence(engine: Engine, sharing: Sharing, number: int, connection: Connection) -> bool:
    """Fence the server with this id, over a connection of its own. If that takes too long, end the session that is in
    the way, over the given one. False: another was first."""
    try:
        return _fence(engine, sharing, number)
    except DBAPIError:
        if not sharing.end_blockers(connection):
            raise
        return _fence(engine, sharing, number)


def _fence(engine: Engine, sharing: Sharing, number: int) -> bool:
    with engine.connect() as connection, connection.begin():
        sharing.bound_waits(connection)
        return servers_table.declare_dead(connection, number)
