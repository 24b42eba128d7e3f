"""Workers: they register functions, grab jobs and send the answers back, over one link to each job server.

In: a callback for each function. Out: its answers as packets, and the events of the connections to a `WorkerObserver`.
Open `worker.py` first (one job at a time); `concurrent_worker.py` holds several jobs. `server_link.py` is one link: it
connects, grabs, and comes back after a growing pause, whose bounds are in `worker_settings.py`; `link_state.py` has the
table of its states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gearman_client.worker.callbacks import JobCallback
from gearman_client.worker.job_loop import logger
from gearman_client.worker.worker import LOOK_INTERVAL_S, TURN_JOBS, TURN_S, Worker

if TYPE_CHECKING:
    from gearman_client.worker.concurrent_worker import ConcurrentWorker

__all__ = ["ConcurrentWorker", "JobCallback", "LOOK_INTERVAL_S", "TURN_JOBS", "TURN_S", "Worker", "logger"]


def __getattr__(name: str) -> Any:
    """`ConcurrentWorker` at its first use: few programs need it."""
    if name != "ConcurrentWorker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gearman_client.worker.concurrent_worker import ConcurrentWorker

    return ConcurrentWorker
