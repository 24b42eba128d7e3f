"""The stored jobs that a request names, by a handle or by a unique key that is not in memory. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_client.extensions import GET_RESULT
from gearman_client.packet import Packet, PacketType
from gearman_server.jobs.job import PRIORITIES, coalescing_key
from gearman_server.jobs.store import Wanted

if TYPE_CHECKING:
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.kept_results import KeptResults

_WITH_UNIQUE: Final = frozenset(
    {
        PacketType.SUBMIT_JOB,
        PacketType.SUBMIT_JOB_HIGH,
        PacketType.SUBMIT_JOB_LOW,
        PacketType.SUBMIT_JOB_BG,
        PacketType.SUBMIT_JOB_HIGH_BG,
        PacketType.SUBMIT_JOB_LOW_BG,
        PacketType.SUBMIT_JOB_EPOCH,
        PacketType.SUBMIT_REDUCE_JOB,
        PacketType.SUBMIT_REDUCE_JOB_BACKGROUND,
    }
)
#: The number of arguments before the workload, if it is not 2.
_ARGUMENTS: Final = {
    PacketType.SUBMIT_JOB_EPOCH: 3,
    PacketType.SUBMIT_REDUCE_JOB: 4,
    PacketType.SUBMIT_REDUCE_JOB_BACKGROUND: 4,
}


class NamedJobs:
    """Tells whether a request can be answered from memory alone."""

    def __init__(self, table: JobTable, functions: Functions, kept: KeptResults) -> None:
        self._table = table
        self._functions = functions
        self._kept = kept

    def wanted_by(self, packet: Packet) -> Wanted | None:
        """The job that a request names and that may be in the store; None if memory is enough for the answer."""
        packet_type, body = packet
        if packet_type in _WITH_UNIQUE:
            return self._wanted_by_submission(packet_type, body)
        if packet_type == GET_RESULT:
            handle = body.partition(b"\0")[0]
            return self._wanted_handle(handle) if self._kept.get(handle) is None else None
        if packet_type == PacketType.GET_STATUS:
            return self._wanted_handle(body.partition(b"\0")[0])
        if packet_type == PacketType.GET_STATUS_UNIQUE:
            unique = body.partition(b"\0")[0]
            return None if unique in self._table.by_key or unique in (b"", b"-") else Wanted(unique=unique)
        if packet_type == 0:  # a text command that names a job, such as `cancel job H:host:1`
            handles = (word for word in body.split()[1:] if word.rpartition(b":")[2].isdigit() and b":" in word)
            return next((want for word in handles if (want := self._wanted_handle(word)) is not None), None)
        return None

    def _wanted_handle(self, handle: bytes) -> Wanted | None:
        return None if handle in self._table.jobs else Wanted(handle=handle)

    def _wanted_by_submission(self, packet_type: int, body: bytes) -> Wanted | None:
        arguments = body.split(b"\0", _ARGUMENTS.get(PacketType(packet_type), 2))
        if len(arguments) < 3 or not arguments[1]:
            return None  # it will be refused, or it is a job of its own
        name, unique, workload = arguments[0], arguments[1], arguments[-1]
        key = coalescing_key(unique, workload)
        function = self._functions.by_name.get(name)
        if key is None or (function is not None and self._table.find_by_key(function, key) is not None):
            return None
        if not any(self._functions.unread.may_hold(name, priority) for priority in PRIORITIES):
            return None
        return Wanted(unique=unique, function=name, workload=workload if unique == b"-" else None)
