"""A supervisor for pools of Gearman workers. Importing it in a worker module is light: no gevent, no Flask, no SQL.

In: a configuration file and folders of functions. Out: worker processes, as many as the queues need, and a job server.
The rooms, from the outside in: command, top, simulation, outbox; supervisor; dashboard, api; live, peers, series;
failures, finished; control, metrics, alerts, telemetry; history, access; code, scaling, pools, job_servers; worker,
modules; migration, config, bridge; logs, ipc, host, privacy. Open `supervisor/supervisor.py` first, then
`pools/workforce.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gearman_client.errors import JobStopped
from gearman_manager.errors import JobTimeout, ManagerError
from gearman_manager.function import function
from gearman_manager.verdict import Reject, Retry, Throttled

if TYPE_CHECKING:
    from gearman_manager.job import Job

__version__ = "0.1.0"

__all__ = ["Job", "JobStopped", "JobTimeout", "ManagerError", "Reject", "Retry", "Throttled", "__version__", "function"]


def __getattr__(name: str) -> Any:
    """`Job` at its first use: with it comes the client library's worker, which supervisor and commands do not need."""
    if name != "Job":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gearman_manager.job import Job

    return Job
