"""Gearman for Python: packet codec, client, worker and administration client. It needs only the standard library.

The rooms: commands on top; client, worker and admin; connection below them; at the root the values that all share, the
packet codec among them. Open `client/client.py` or `worker/worker.py` first.
"""

from __future__ import annotations

from gearman_client.address import DEFAULT_PORT, Address, parse_address, parse_addresses
from gearman_client.admin.admin import AdminClient, connect_admin
from gearman_client.admin.tables import ConnectedWorker, FunctionStatus, PriorityStatus, ShownJob
from gearman_client.client.client import Client, Priority
from gearman_client.client.foreground import JobCallbacks
from gearman_client.client.job_status import JobHandle, JobStatus
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
    NotSupported,
    PartlyRefused,
    ProtocolError,
    ResultExpired,
    ResultNotKept,
    ResultUnknown,
    ServerError,
    Timeout,
)
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
    "Batch",
    "Client",
    "ConnectedWorker",
    "ConnectionLost",
    "CouldNotConnect",
    "DEFAULT_PORT",
    "FunctionStatus",
    "GearmanError",
    "InUse",
    "JobAnswered",
    "JobCallbacks",
    "JobException",
    "JobFailed",
    "JobHandle",
    "JobStatus",
    "NotSupported",
    "PartlyRefused",
    "Priority",
    "PriorityStatus",
    "ProtocolError",
    "ResultExpired",
    "ResultNotKept",
    "ResultUnknown",
    "ServerError",
    "ShownJob",
    "Timeout",
    "Tls",
    "Worker",
    "WorkerJob",
    "WorkerObserver",
    "WorkerSettings",
    "connect_admin",
    "parse_address",
    "parse_addresses",
]
