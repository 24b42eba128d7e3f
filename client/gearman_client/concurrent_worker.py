"""The documented import path of ConcurrentWorker. The class itself is in worker/concurrent_worker.py."""

from __future__ import annotations

from gearman_client.worker.concurrent_worker import ConcurrentWorker

__all__ = ["ConcurrentWorker"]
