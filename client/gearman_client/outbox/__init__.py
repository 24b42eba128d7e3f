"""The outbox: background jobs that a program writes into its own database, in the transaction of its other changes.

In: a connection or session of the program, and what `Client.submit_background` takes. Out: a row of the table
`gearman_outbox`, which `gearman-manager outbox` hands to a job server after the commit. docs/outbox.md explains it.
Open `outbox.py` first; `schema.py` has the table, `row.py` makes a row of a call, `connections.py` knows the libraries.
"""

from __future__ import annotations

from gearman_client.outbox.outbox import Outbox, background, background_many, create_table
from gearman_client.outbox.row import OutboxOptions
from gearman_client.outbox.schema import create_statements

__all__ = ["Outbox", "OutboxOptions", "background", "background_many", "create_statements", "create_table"]
