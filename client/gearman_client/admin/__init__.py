"""The administration client: sends text commands to a job server, and turns its tables into values.

In: a command such as `status`. Out: a list of rows (`tables.py`), or the lines as the server sent them.
Open `admin.py` first.
"""

from __future__ import annotations

from gearman_client.admin.admin import (
    DEFAULT_MAX_RESPONSE_BYTES,
    RECEIVE_BYTES,
    AdminClient,
    AdminSocket,
    connect_admin,
)

__all__ = ["AdminClient", "AdminSocket", "DEFAULT_MAX_RESPONSE_BYTES", "RECEIVE_BYTES", "connect_admin"]
