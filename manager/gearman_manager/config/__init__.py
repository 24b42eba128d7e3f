"""The configuration of the manager: files to a typed, immutable `Config`, and from there to what runs.

`load` reads, `lay_out` decides. Only the supervisor and the command line import this: it is too heavy for a worker.
"""

from ..units import WorkerCount
from .address import reachable
from .file import load, written_run_dir
from .function_keys import Function
from .layout import FoundFunction, Layout, lay_out
from .models import Config, Control, Defaults, JobServer, Limits, Log, Server
from .pool_keys import Pool, Scale
from .problem import ConfigError, Place, Problem
from .resolve import ResolvedFunction, ResolvedPool, ResolvedScale
from .schedule_keys import Schedule

__all__ = [
    "Config",
    "ConfigError",
    "Control",
    "Defaults",
    "FoundFunction",
    "Function",
    "JobServer",
    "Layout",
    "Limits",
    "Log",
    "Place",
    "Pool",
    "Problem",
    "ResolvedFunction",
    "ResolvedPool",
    "ResolvedScale",
    "Scale",
    "Schedule",
    "Server",
    "WorkerCount",
    "lay_out",
    "load",
    "reachable",
    "written_run_dir",
]
