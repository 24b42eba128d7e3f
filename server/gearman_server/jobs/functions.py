"""All functions by name, their rules, and a bound on their number: a stream of new names must not fill memory. Pure.

gearmand keeps every name that it ever saw. So does this server while there are few. Beyond that, it forgets unused
names, and creates them again when they are used again. It is called only for names that are not in the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.jobs.events import EventStream, FunctionsForgotten
from gearman_server.jobs.function import Function, JobQueue, ReplayQueue
from gearman_server.jobs.job import PRIORITIES

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.policies import FunctionPolicy, Policies

MAX_FUNCTION_BYTES: Final = 8192
#: Up to this many functions, none is forgotten. One takes 3 kB, and half as much again while its jobs are counted.
MANY_FUNCTIONS: Final = 10_000
#: There are never more than this, except for functions that the operator names in the policies.
MAX_FUNCTIONS: Final = 100_000
#: A search for idle functions among that many takes some 30 ms, so not every new name starts one.
_PAUSE_S: Final = 1.0

# A name with a line feed in it would forge lines of the `status` table, which monitoring parses. A TAB is allowed, as
# in gearmand: Perl's clients and workers join their `prefix` to a name with one. In the lines of gearmand's tables the
# numbers are read from the end; our own tables escape the names.
_UNPRINTABLE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class UnreadRows:
    """Which stored jobs of an earlier run have yet to be read: none, except during a replay."""

    def __init__(self) -> None:
        #: Whether stored jobs are still being read.
        self.is_reading = False
        #: The priority whose rows are being read, and the id of the last row of it that was read.
        self.priority = PRIORITIES[0]
        self.last_id = -1
        #: The functions and priorities that have rows at all; None: not known yet.
        self.stored: frozenset[tuple[bytes, int]] | None = None

    def may_hold(self, name: bytes, priority: int) -> bool:
        """Whether there may be unread jobs of that function and priority."""
        return priority >= self.priority and (self.stored is None or (name, priority) in self.stored)

    def queues_of(self, name: bytes) -> tuple[JobQueue, JobQueue, JobQueue]:
        """The queues of a new function: those of a replay for priorities that may have unread jobs."""
        high, normal, low = (ReplayQueue() if self.may_hold(name, priority) else JobQueue() for priority in PRIORITIES)
        return high, normal, low


class Functions:
    """Functions by name."""

    def __init__(self, policies: Policies, agenda: Agenda, events: EventStream) -> None:
        self.by_name: dict[bytes, Function] = {}
        self._names: tuple[bytes, ...] | None = None
        #: Told of each function that was dropped (see `pauses`).
        self.note_dropped: Callable[[Function], None] = _leave
        self.policies = policies
        self.unread = UnreadRows()
        #: Makes the queues of new functions; None: they are ordinary ones (see the room `cluster`).
        self.split_queue: Callable[[JobQueue], JobQueue] | None = None
        self._agenda = agenda
        self._events = events
        self._counts_jobs = False
        self._not_before = 0.0
        #: Called for each function that has got its rules (see the room `keys`).
        self.arrange: Callable[[Function], None] = _leave

    def create(self, name: bytes, *, is_promised: bool = False) -> Function:
        """Create the function of that name, which must not exist yet.

        Raises:
            RefusedError: no function can have that name, or there are too many; too many never counts if `is_promised`.
        """
        check_function_name(name)
        if not is_promised:
            self._make_room_for(name)
        function = self.by_name[name] = Function(name, self.policies.of(name))
        self._names = None
        if self._counts_jobs:
            function.count_jobs()
        if self.unread.is_reading:
            function.queues = self.unread.queues_of(name)
        elif self.split_queue is not None:
            high, normal, low = map(self.split_queue, function.queues)
            function.queues = (high, normal, low)
        self.arrange(function)
        return function

    @property
    def names(self) -> tuple[bytes, ...]:
        """The names of all functions at this time. Whoever reads them slowly has to see which of them are left."""
        if self._names is None:
            self._names = tuple(self.by_name)
        return self._names

    def drop(self, function: Function) -> None:
        """Remove it from the table."""
        del self.by_name[function.name]
        self.note_dropped(function)
        self._names = None

    def count_jobs(self) -> None:
        """From now on, count how jobs fare (`Function.counts`)."""
        self._counts_jobs = True
        for function in self.by_name.values():
            function.count_jobs()

    def use_policies(self, by_function: Mapping[bytes, FunctionPolicy]) -> Iterable[Function]:
        """From now on, follow these rules. A running job keeps its deadline.

        Yields each function after its rules have changed.
        """
        self.policies = replace(self.policies, by_function=by_function)
        for function in self.by_name.values():
            function.use_policy(self.policies.of(function.name))
            self.arrange(function)
            yield function

    def _make_room_for(self, name: bytes) -> None:
        """Make room for one more function, of this name.

        Raises:
            RefusedError: there are too many functions in use.
        """
        if len(self.by_name) < MANY_FUNCTIONS:
            return
        # Until a replay has ended, jobs may be on their way to queues that are still empty.
        if self._agenda.now >= self._not_before and not self.unread.is_reading:
            self._forget_idle()
        if len(self.by_name) >= MAX_FUNCTIONS and name not in self.policies.by_function:
            raise RefusedError(b"QUEUE_ERROR", b"Too many functions: there are %d already" % MAX_FUNCTIONS)

    def _forget_idle(self) -> None:
        written = self.policies.by_function
        idle = [name for name, function in self.by_name.items() if name not in written and _is_idle(function)]
        for name in idle:
            del self.by_name[name]
        self._names = None
        self._not_before = self._agenda.now + _PAUSE_S
        if idle:
            self._events.emit(FunctionsForgotten(len(idle)))


def check_function_name(name: bytes) -> None:
    """Check a function's name.

    Raises:
        RefusedError: no function can have that name.
    """
    if not name:
        raise RefusedError(b"INVALID_FUNCTION_NAME", b"The function name is empty")
    if len(name) > MAX_FUNCTION_BYTES:
        raise RefusedError(b"ARGUMENT_TOO_LARGE", b"Function name too large")
    if _UNPRINTABLE.search(name):
        raise RefusedError(b"INVALID_FUNCTION_NAME", b"The function name holds a control character")


def _is_idle(function: Function) -> bool:
    """Whether it has no worker (so no running job), no waiting job, and nothing that the operator or a worker set."""
    has_jobs = any(function.queues) or any(function.delayed)
    return not (function.workers or has_jobs or function.limits is not None or function.throttle is not None)


def _leave(_function: Function) -> None:
    """Keys and pauses mean nothing."""
