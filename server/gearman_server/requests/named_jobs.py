"""The stored jobs that a request names, by a handle or by a unique key that is not in memory. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_client.extensions import GET_RESULT, STOP_JOB, SUBMIT_JOB_WITH
from gearman_client.job_pairs import cut_pairs
from gearman_client.packet import Packet, PacketType
from gearman_server.jobs.job import PRIORITIES, coalescing_key
from gearman_server.jobs.store import Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    def wanted_by(self, packet: Packet) -> Sequence[Wanted]:
        """The jobs that a request names and that may be in the store; none if memory is enough for the answer."""
        packet_type, body = packet
        if packet_type == 0:  # a text command that names jobs, such as `cancel job H:host:1`
            handles = (word for word in body.split()[1:] if word.rpartition(b":")[2].isdigit() and b":" in word)
            return [want for word in handles if (want := self._wanted_handle(word)) is not None]
        want = self._wanted_by_packet(packet_type, body)
        return () if want is None else (want,)

    def _wanted_by_packet(self, packet_type: int, body: bytes) -> Wanted | None:
        if packet_type in _WITH_UNIQUE:
            return self._wanted_by_submission(packet_type, body)
        if packet_type == SUBMIT_JOB_WITH:
            name, _, rest = body.partition(b"\0")
            unique, _, pairs = rest.partition(b"\0")
            try:
                return self._wanted_by_key(name, unique, cut_pairs(pairs)[1])
            except ValueError:
                return None  # it will be refused
        if packet_type == GET_RESULT:
            handle = body.partition(b"\0")[0]
            return self._wanted_handle(handle) if self._kept.get(handle) is None else None
        if packet_type in (PacketType.GET_STATUS, STOP_JOB):
            return self._wanted_handle(body.partition(b"\0")[0])
        if packet_type == PacketType.GET_STATUS_UNIQUE:
            unique = body.partition(b"\0")[0]
            return None if unique in self._table.by_key or unique in (b"", b"-") else Wanted(unique=unique)
        return None

    def _wanted_handle(self, handle: bytes) -> Wanted | None:
        return None if handle in self._table.jobs else Wanted(handle=handle)

    def _wanted_by_submission(self, packet_type: int, body: bytes) -> Wanted | None:
        arguments = body.split(b"\0", _ARGUMENTS.get(PacketType(packet_type), 2))
        if len(arguments) < 3:
            return None  # it will be refused
        return self._wanted_by_key(arguments[0], arguments[1], arguments[-1])

    def _wanted_by_key(self, name: bytes, unique: bytes, workload: bytes) -> Wanted | None:
        key = coalescing_key(unique, workload)
        function = self._functions.by_name.get(name)
        if key is None or (function is not None and self._table.find_by_key(function, key) is not None):
            return None
        if not any(self._functions.unread.may_hold(name, priority) for priority in PRIORITIES):
            return None
        return Wanted(unique=unique, function=name, workload=workload if unique == b"-" else None)
