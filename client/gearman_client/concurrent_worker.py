"""`from gearman_client.concurrent_worker import ConcurrentWorker`, as the documentation has it. The worker itself is in
`worker/concurrent_worker.py`."""

from __future__ import annotations

from gearman_client.worker.concurrent_worker import ConcurrentWorker

__all__ = ["ConcurrentWorker"]
