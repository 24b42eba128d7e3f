"""The client for asyncio. It and asyncio are imported when `gearman_client.AsyncClient` is first used.

In: a function's name and a workload, from any number of coroutines of one event loop. Out: a result, a handle, a
status, or an exception of `gearman_client.errors`. Open `async_client.py` first. `servers.py` chooses and opens
connections; `link.py` is one connection that all coroutines share.
"""

from __future__ import annotations

from gearman_client.async_client.async_client import AsyncClient

__all__ = ["AsyncClient"]
