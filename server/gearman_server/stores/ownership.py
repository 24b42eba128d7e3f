"""One server owns a store at a time: a second one names the first, waits for its end, and gives up."""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from gearman_server.errors import StartError
from gearman_server.log import NOTICE, logger
from gearman_server.stores.migrations import read_meta

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.stores.backend import Backend

#: How long a second server waits for the first one to end.
OWNER_PATIENCE_S: Final = 15.0
_OWNER_LOOKS_S: Final = 0.1


def wait_to_own(backend: Backend, connection: Connection, name: str) -> None:
    """Become the owner of the store with this name. Blocks.

    Raises:
        StartError: another server owns it, and does not end.
    """
    deadline = time.monotonic() + OWNER_PATIENCE_S
    is_told = False
    while not backend.own(connection):
        connection.rollback()
        if not is_told:
            is_told = True
            text = "the store %s belongs to another gearman-server (%s): waiting %d s at most for its end"
            logger.log(NOTICE, text, name, holder_of(connection), OWNER_PATIENCE_S)
        if time.monotonic() > deadline:
            raise StartError(f"the store {name} belongs to another gearman-server: {holder_of(connection)}")
        time.sleep(_OWNER_LOOKS_S)
    connection.commit()


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
