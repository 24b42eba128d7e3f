"""A Gearman job server on gevent: a process of its own, or embedded in a gevent program. It never imports the manager.

A program that embeds it needs only this module: `Server`, its settings, and its errors. Each is loaded on its first
use; importing the package alone loads nothing.

Open `server.py` first, then `broker.py`, the heart: packets in, replies out. The rooms, from the outside in: command,
process; http, edge, stores, policy_file around the broker; text_commands, requests and jobs, which make up the broker.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from gearman_server.compiled import choosing as _choosing  # noqa: F401 - before any other module: it says which is loaded
from gearman_server.version import __version__

if TYPE_CHECKING:
    from gearman_server.broker_settings import BrokerSettings
    from gearman_server.edge.settings import (
        KeepaliveSettings,
        ListenerSettings,
        ListenSettings,
        PortSettings,
        TlsSettings,
    )
    from gearman_server.errors import PolicyFileError, ServerError, StartError, StartFailure, UsageError
    from gearman_server.jobs.access import AccessList
    from gearman_server.jobs.dead_letters import DeadLetterBounds
    from gearman_server.jobs.kept_results import ResultBounds
    from gearman_server.jobs.policies import BrakeRule, FunctionPolicy, KeyPolicy, Rate
    from gearman_server.jobs.schedule_rules import Missed, ScheduleRule
    from gearman_server.options.timing import Cron, Every, Timing, parse_cron
    from gearman_server.policy_file.contents import PolicyFile
    from gearman_server.policy_file.loading import read_policies
    from gearman_server.server import Server, ServerSettings
    from gearman_server.stores.settings import ClusterSettings, StoreSettings

#: The module that defines each name. A test compares this with the imports above.
_HOMES: Final = {
    "Server": "server",
    "ServerSettings": "server",
    # Ports, protocols and access.
    "PortSettings": "edge.settings",
    "ListenSettings": "edge.settings",
    "KeepaliveSettings": "edge.settings",
    "TlsSettings": "edge.settings",
    "ListenerSettings": "edge.settings",
    "AccessList": "jobs.access",
    # Jobs, dead letters and results.
    "BrokerSettings": "broker_settings",
    "DeadLetterBounds": "jobs.dead_letters",
    "ResultBounds": "jobs.kept_results",
    "StoreSettings": "stores.settings",
    "ClusterSettings": "stores.settings",
    # The rules for functions, and schedules.
    "PolicyFile": "policy_file.contents",
    "read_policies": "policy_file.loading",
    "FunctionPolicy": "jobs.policies",
    "KeyPolicy": "jobs.policies",
    "BrakeRule": "jobs.policies",
    "Rate": "jobs.policies",
    "ScheduleRule": "jobs.schedule_rules",
    "Missed": "jobs.schedule_rules",
    "Timing": "options.timing",
    "Every": "options.timing",
    "Cron": "options.timing",
    "parse_cron": "options.timing",
    # Errors.
    "ServerError": "errors",
    "StartError": "errors",
    "StartFailure": "errors",
    "UsageError": "errors",
    "PolicyFileError": "errors",
}

__all__ = [
    "AccessList",
    "BrakeRule",
    "BrokerSettings",
    "ClusterSettings",
    "Cron",
    "DeadLetterBounds",
    "Every",
    "FunctionPolicy",
    "KeepaliveSettings",
    "KeyPolicy",
    "ListenSettings",
    "ListenerSettings",
    "Missed",
    "PolicyFile",
    "PolicyFileError",
    "PortSettings",
    "Rate",
    "ResultBounds",
    "ScheduleRule",
    "Server",
    "ServerError",
    "ServerSettings",
    "StartError",
    "StartFailure",
    "StoreSettings",
    "Timing",
    "TlsSettings",
    "UsageError",
    "__version__",
    "parse_cron",
    "read_policies",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
