"""How many functions there may be: whoever submits to ever new names must not fill the memory for good. Pure.

gearmand keeps every name it ever heard. So does this server while there are few; beyond that, names which nobody uses
are forgotten, and come into existence again when they are named again. Asked only for names that are not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.jobs.events import FunctionsForgotten

if TYPE_CHECKING:
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.job_table import JobTable

#: Up to so many functions, none is forgotten. One takes 3 kB, and half as much again while it is counted.
MANY_FUNCTIONS: Final = 10_000
#: More than this there are not, but for those that the operator names in the policies.
MAX_FUNCTIONS: Final = 100_000
#: Looking for idle ones among that many takes some 30 ms, so it is not done for every name that is new.
_PAUSE_S: Final = 1.0


class FunctionBound:
    """Makes room in the job table, or refuses."""

    def __init__(self, table: JobTable) -> None:
        self._table = table
        self._not_before = 0.0

    def make_room_for(self, name: bytes) -> None:
        """There will be one function more, of this name.

        Raises:
            RefusedError: there are too many that are in use.
        """
        table = self._table
        if len(table.functions) < MANY_FUNCTIONS:
            return
        # Until a replay has ended, jobs may be on their way to queues that are still empty.
        if table.now >= self._not_before and table.replay is None:
            self._forget_idle()
        if len(table.functions) >= MAX_FUNCTIONS and name not in table.policies.by_function:
            raise RefusedError(b"QUEUE_ERROR", b"Too many functions: there are %d already" % MAX_FUNCTIONS)

    def _forget_idle(self) -> None:
        table = self._table
        written = table.policies.by_function
        idle = [name for name, function in table.functions.items() if name not in written and _is_idle(function)]
        for name in idle:
            del table.functions[name]
        self._not_before = table.now + _PAUSE_S
        if idle:
            table.events.emit(FunctionsForgotten(len(idle)))


def _is_idle(function: Function) -> bool:
    """Whether it has no worker, so no running job, none that waits, and no limit that the operator set by command."""
    return not (function.workers or any(function.queues) or any(function.delayed) or function.limits is not None)
