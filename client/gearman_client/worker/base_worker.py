"""The common part of all workers: links, functions, and stopping. Each kind of worker gets its jobs in its own way.

A process that runs jobs creates its worker after its last fork; there are no threads. A ServerLink handles everything
about one server, its failures included.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from math import inf
from time import monotonic
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from gearman_client.address import Address
from gearman_client.arguments import to_limit
from gearman_client.connection.roster import Roster
from gearman_client.exclusive import Exclusive
from gearman_client.text import to_argument, to_function
from gearman_client.worker.link_context import LinkContext
from gearman_client.worker.observer import LoggingObserver, WorkerObserver
from gearman_client.worker.orphan_link import OrphanLink
from gearman_client.worker.readiness import Readiness
from gearman_client.worker.worker_settings import TIMES, WorkerSettings

#: How long `close` lets the servers read the last answers.
GOODBYE_S: Final = 1.0
#: The same for one server that is left, while the others wait.
_LEAVING_S: Final = 0.1

Servers = str | Address | Iterable[str | Address]
Link = TypeVar("Link", bound=OrphanLink)


class BaseWorker(Generic[Link]):
    """Holds a link to every job server at `addresses`. The links connect and reconnect while the worker asks for jobs.

    Raises:
        ArgumentError: the client id or the namespace can't be sent.
    """

    def __init__(
        self,
        addresses: tuple[Address, ...],
        settings: WorkerSettings,
        observer: WorkerObserver | None,
        new_link: Callable[[Address, LinkContext], Link],
        readiness: Readiness | None = None,
    ) -> None:
        to_argument(settings.client_id, "client id")
        to_argument(settings.namespace, "namespace")
        for name in TIMES:
            to_limit(getattr(settings, name), name)
        self._readiness = readiness or Readiness()
        self._context = LinkContext(settings, observer or LoggingObserver(), self._readiness)
        self._new_link = new_link
        roster = Roster(addresses)
        if settings.discover:
            self._context.roster = roster
        self._version = roster.known.version
        self._links: Sequence[Link] = tuple(new_link(address, self._context) for address in addresses)
        self._context.orphans.links = lambda: self._links
        self._is_stopping = False
        self.leave_when(bool)
        self._use = Exclusive("worker")
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def _name_of(self, function: str) -> bytes:
        """The name at the job servers."""
        return to_argument(self._context.settings.namespace, "namespace") + to_function(function)

    def _offer(self, function: str) -> None:
        name = self._name_of(function)
        if name in self._context.functions:
            return
        self._context.functions[name] = function
        for link in self._links:
            link.can_do(name)

    def interrupt_on(self, descriptor: int) -> None:
        """Treat a readable `descriptor` (or one whose other end is closed) like a call of `stop`."""
        self._readiness.watch_interrupt(descriptor)

    def leave_when(self, is_told: Callable[[], bool]) -> None:
        """Have jobs that can be interrupted (`WorkerJob.iterate`) give way once `is_told` is true, as after `stop`.

        It is called for each item of such a job.
        """
        self._context.must_leave = lambda: self._is_stopping or is_told()

    def stop(self) -> None:
        """Grab no more jobs, and end the wait for them. Safe in a signal handler.

        The worker still waits for the reply to a grab that is under way, and returns the job that it may bring.
        """
        self._is_stopping = True
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # full: the worker is awake already; closed: there is nothing to wake
            os.write(self._wake_writer, b"\0")

    @property
    def stopping(self) -> bool:
        """Whether `stop` or `close` was called."""
        return self._is_stopping

    def flush(self) -> None:
        """Send the pending answers now, without grabbing."""
        for link in self._links:
            link.flush()

    def close(self) -> None:
        """Send the pending answers, wait up to a second for the servers to read them, and disconnect for good.

        In a forked child it only closes descriptors: the connections belong to the parent.
        """
        self._is_stopping = True
        if self._use.is_after_fork:
            for link in self._links:
                link.leave()
        else:
            for link in self._links:
                link.begin_close()
        deadline = monotonic() + GOODBYE_S
        for link in self._links:
            link.close(deadline)
        self._context.orphans.close()
        reader, self._wake_reader = self._wake_reader, -1
        writer, self._wake_writer = self._wake_writer, -1
        for descriptor in (reader, writer):
            if descriptor >= 0:
                os.close(descriptor)

    @property
    def servers(self) -> tuple[Address, ...]:
        """The servers that are known now: those that were given, and those that they have told of."""
        return tuple(link.address for link in self._links)

    def _follow_cluster(self, roster: Roster, now: float) -> None:
        """Serve the servers that have come, and leave those that are forgotten."""
        if now >= roster.forget_at:
            roster.forget(now)
        version, addresses, _ = roster.known
        if version == self._version or self._is_stopping:
            return
        self._version = version
        former = {link.address: link for link in self._links}
        links = [former.pop(each) if each in former else self._new_link(each, self._context) for each in addresses]
        busy = [link for link in former.values() if not self._let_go(link, now)]
        if busy:
            self._version = -1  # they are looked at again
        self._links = (*links, *busy)

    def _let_go(self, link: Link, now: float) -> bool:
        """Leave a server that is forgotten, or known by another name. False: jobs of it are under way."""
        link.begin_close()
        link.close(now + _LEAVING_S)
        return True

    def _serve(self, wait_s: float | None) -> None:
        """Handle the bytes that arrived and the links that are due."""
        for listener in self._readiness.wait(wait_s):
            listener.on_ready()
        now = monotonic()
        if self._context.roster is not None:
            self._follow_cluster(self._context.roster, now)
        for link in self._links:
            if link.due_at <= now:
                link.tick(now)

    def _time_to_wait(self, now: float, deadline: float) -> float | None:
        until = min(deadline, *(link.due_at for link in self._links))
        return None if until == inf else max(0.0, until - now)
