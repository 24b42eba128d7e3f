"""The configuration of the manager: from YAML files to a typed, immutable `Config`, and on to the layout that runs.

In: the path of the main file, environment variables, and the functions that discovery found. Out: `load` returns a
`Config`, `lay_out` a `Layout` of resolved pools and functions; mistakes are `Problem`s that know their file and line.
Open `models.py` first for the keys, then `file.py` for reading and `layout.py` for deciding.
Only the supervisor and the command line import this room: it is too heavy for a worker.
"""

from __future__ import annotations

from gearman_manager.config.address import reachable
from gearman_manager.config.control_keys import Control
from gearman_manager.config.error import ConfigError
from gearman_manager.config.file import load, written_run_dir
from gearman_manager.config.function_keys import Function
from gearman_manager.config.layout import FoundFunction, Layout, lay_out
from gearman_manager.config.models import Config, Defaults, JobServer, Limits, Log
from gearman_manager.config.pool_keys import Pool, Scale, Window
from gearman_manager.config.problem import Place, Problem
from gearman_manager.config.resolve import ResolvedFunction, ResolvedPool, ResolvedScale, ResolvedWindow
from gearman_manager.config.schedule_keys import Schedule
from gearman_manager.config.server_keys import Cluster, Listening, Server
from gearman_manager.config.worker_count import WorkerCount

__all__ = [
    "Cluster",
    "Config",
    "ConfigError",
    "Control",
    "Defaults",
    "FoundFunction",
    "Function",
    "JobServer",
    "Layout",
    "Limits",
    "Listening",
    "Log",
    "Place",
    "Pool",
    "Problem",
    "ResolvedFunction",
    "ResolvedPool",
    "ResolvedScale",
    "ResolvedWindow",
    "Scale",
    "Schedule",
    "Server",
    "Window",
    "WorkerCount",
    "lay_out",
    "load",
    "reachable",
    "written_run_dir",
]
