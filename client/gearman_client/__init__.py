"""Gearman for Python: packet codec, client, worker and administration client. It needs only the standard library.

The rooms: commands on top; async_client; client, worker and admin; connection below them; at the root the values that
all share, the packet codec among them. Open `client/client.py` or `worker/worker.py` first.
"""

from __future__ import annotations

# The name that type checkers take for true; `typing` itself takes longer to load than all else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from gearman_client.address import DEFAULT_PORT, Address, parse_address, parse_addresses
    from gearman_client.admin.admin import AdminClient, connect_admin
    from gearman_client.admin.tables import ConnectedWorker, FunctionHold, FunctionStatus, PriorityStatus, ShownJob
    from gearman_client.async_client.async_client import AsyncClient
    from gearman_client.async_client.job_batch import AsyncJobBatch
    from gearman_client.async_client.remote_task import AsyncRemoteTask
    from gearman_client.async_client.task_set import AsyncTaskSet
    from gearman_client.client.batch_packets import BatchStatus
    from gearman_client.client.client import Client
    from gearman_client.client.codec import BytesCodec, Codec, GzipCodec, JsonCodec
    from gearman_client.client.follow_up import FollowUp
    from gearman_client.client.foreground import JobCallbacks
    from gearman_client.client.job_batch import JobBatch
    from gearman_client.client.job_status import JobHandle, JobStatus
    from gearman_client.client.options import BackgroundOptions, ClientOptions, ForegroundOptions
    from gearman_client.client.remote_task import RemoteTask
    from gearman_client.client.submission import Priority
    from gearman_client.connection.cluster_servers import ClusterServer
    from gearman_client.errors import (
        AddressError,
        AdminError,
        ArgumentError,
        ConnectionLost,
        CouldNotConnect,
        GearmanError,
        InUse,
        JobAnswered,
        JobException,
        JobFailed,
        JobNotAcknowledged,
        JobNotKnown,
        JobStopped,
        NotSupported,
        OutboxError,
        PartlyRefused,
        ProtocolError,
        ResultExpired,
        ResultNotDecoded,
        ResultNotKept,
        ResultUnknown,
        ServerEnding,
        ServerError,
        ServerSilent,
        Timeout,
        Unfinished,
    )
    from gearman_client.task_sets.executor import GearmanExecutor
    from gearman_client.task_sets.set_task import SetTask
    from gearman_client.task_sets.task_set import TaskSet
    from gearman_client.tasks.default_client import set_default_client, set_default_servers
    from gearman_client.tasks.task import Task, task
    from gearman_client.tls import Tls
    from gearman_client.worker.observer import WorkerObserver
    from gearman_client.worker.worker import Worker
    from gearman_client.worker.worker_job import WorkerJob
    from gearman_client.worker.worker_settings import Batch, WorkerSettings

__version__ = "0.1.0"

__all__ = [
    "Address",
    "AddressError",
    "AdminClient",
    "AdminError",
    "ArgumentError",
    "AsyncClient",
    "AsyncJobBatch",
    "AsyncRemoteTask",
    "AsyncTaskSet",
    "BackgroundOptions",
    "Batch",
    "BatchStatus",
    "BytesCodec",
    "Client",
    "ClientOptions",
    "ClusterServer",
    "Codec",
    "ConnectedWorker",
    "ConnectionLost",
    "CouldNotConnect",
    "DEFAULT_PORT",
    "FollowUp",
    "ForegroundOptions",
    "FunctionHold",
    "FunctionStatus",
    "GearmanError",
    "GearmanExecutor",
    "GzipCodec",
    "InUse",
    "JobAnswered",
    "JobBatch",
    "JobCallbacks",
    "JobException",
    "JobFailed",
    "JobHandle",
    "JobNotAcknowledged",
    "JobNotKnown",
    "JobStatus",
    "JobStopped",
    "JsonCodec",
    "NotSupported",
    "OutboxError",
    "PartlyRefused",
    "Priority",
    "PriorityStatus",
    "ProtocolError",
    "RemoteTask",
    "ResultExpired",
    "ResultNotDecoded",
    "ResultNotKept",
    "ResultUnknown",
    "ServerEnding",
    "ServerError",
    "ServerSilent",
    "SetTask",
    "ShownJob",
    "Task",
    "TaskSet",
    "Timeout",
    "Tls",
    "Unfinished",
    "Worker",
    "WorkerJob",
    "WorkerObserver",
    "WorkerSettings",
    "connect_admin",
    "parse_address",
    "parse_addresses",
    "set_default_client",
    "set_default_servers",
    "task",
]

#: Every name and its module, which is imported when the name is first used: most programs need few of them.
_LATER: Final = {
    "Address": "gearman_client.address",
    "AddressError": "gearman_client.errors",
    "AdminClient": "gearman_client.admin.admin",
    "AdminError": "gearman_client.errors",
    "ArgumentError": "gearman_client.errors",
    "AsyncClient": "gearman_client.async_client.async_client",
    "AsyncRemoteTask": "gearman_client.async_client.remote_task",
    "AsyncTaskSet": "gearman_client.async_client.task_set",
    "BackgroundOptions": "gearman_client.client.options",
    "Batch": "gearman_client.worker.worker_settings",
    "BytesCodec": "gearman_client.client.codec",
    "Client": "gearman_client.client.client",
    "ClientOptions": "gearman_client.client.options",
    "ClusterServer": "gearman_client.connection.cluster_servers",
    "Codec": "gearman_client.client.codec",
    "ConnectedWorker": "gearman_client.admin.tables",
    "ConnectionLost": "gearman_client.errors",
    "CouldNotConnect": "gearman_client.errors",
    "DEFAULT_PORT": "gearman_client.address",
    "ForegroundOptions": "gearman_client.client.options",
    "FunctionHold": "gearman_client.admin.tables",
    "FunctionStatus": "gearman_client.admin.tables",
    "GearmanError": "gearman_client.errors",
    "GearmanExecutor": "gearman_client.task_sets.executor",
    "GzipCodec": "gearman_client.client.codec",
    "InUse": "gearman_client.errors",
    "JobAnswered": "gearman_client.errors",
    "JobCallbacks": "gearman_client.client.foreground",
    "AsyncJobBatch": "gearman_client.async_client.job_batch",
    "BatchStatus": "gearman_client.client.batch_packets",
    "FollowUp": "gearman_client.client.follow_up",
    "JobBatch": "gearman_client.client.job_batch",
    "JobException": "gearman_client.errors",
    "JobFailed": "gearman_client.errors",
    "JobHandle": "gearman_client.client.job_status",
    "JobNotAcknowledged": "gearman_client.errors",
    "JobNotKnown": "gearman_client.errors",
    "JobStatus": "gearman_client.client.job_status",
    "JobStopped": "gearman_client.errors",
    "JsonCodec": "gearman_client.client.codec",
    "NotSupported": "gearman_client.errors",
    "OutboxError": "gearman_client.errors",
    "PartlyRefused": "gearman_client.errors",
    "Priority": "gearman_client.client.submission",
    "PriorityStatus": "gearman_client.admin.tables",
    "ProtocolError": "gearman_client.errors",
    "RemoteTask": "gearman_client.client.remote_task",
    "ResultExpired": "gearman_client.errors",
    "ResultNotDecoded": "gearman_client.errors",
    "ResultNotKept": "gearman_client.errors",
    "ResultUnknown": "gearman_client.errors",
    "ServerEnding": "gearman_client.errors",
    "ServerError": "gearman_client.errors",
    "ServerSilent": "gearman_client.errors",
    "SetTask": "gearman_client.task_sets.set_task",
    "ShownJob": "gearman_client.admin.tables",
    "Task": "gearman_client.tasks.task",
    "TaskSet": "gearman_client.task_sets.task_set",
    "Timeout": "gearman_client.errors",
    "Tls": "gearman_client.tls",
    "Unfinished": "gearman_client.errors",
    "Worker": "gearman_client.worker.worker",
    "WorkerJob": "gearman_client.worker.worker_job",
    "WorkerObserver": "gearman_client.worker.observer",
    "WorkerSettings": "gearman_client.worker.worker_settings",
    "connect_admin": "gearman_client.admin.admin",
    "parse_address": "gearman_client.address",
    "parse_addresses": "gearman_client.address",
    "set_default_client": "gearman_client.tasks.default_client",
    "set_default_servers": "gearman_client.tasks.default_client",
    "task": "gearman_client.tasks.task",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LATER.keys())
