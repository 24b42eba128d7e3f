"""A supervisor for pools of Gearman workers. Importing it in a worker module is light: no gevent, no Flask, no SQL."""

from __future__ import annotations

from gearman_manager.errors import JobTimeout, ManagerError
from gearman_manager.function import function
from gearman_manager.job import Job
from gearman_manager.verdict import Reject, Retry

__version__ = "0.1.0"

__all__ = ["Job", "JobTimeout", "ManagerError", "Reject", "Retry", "__version__", "function"]
