"""The blocking client: it submits jobs, waits for results, and asks for a job's status.

In: a function's name and a workload. Out: a result, a handle, a status, or an exception of `gearman_client.errors`.
Open `client.py` first. `server_pool.py` chooses the job server; most other files hold one conversation with it.
"""

from __future__ import annotations

from gearman_client.client.client import Client
from gearman_client.client.submission import Priority

__all__ = ["Client", "Priority"]
