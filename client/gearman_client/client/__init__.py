"""The blocking client: jobs are submitted, their results awaited, their status asked for.

In: a function's name and a workload. Out: a result, a handle, a status, or an exception of `gearman_client.errors`.
Open `client.py` first; `server_pool.py` chooses the job server, the other files are one conversation each.
"""

from __future__ import annotations

from gearman_client.client.client import Client, Priority

__all__ = ["Client", "Priority"]
