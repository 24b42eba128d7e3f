"""The job server as an object: a broker, its store and its ports, on the event loop of the thread that starts it.

`Server("127.0.0.1:0").start()` embeds it in any gevent program. Signals, pid file, log and descriptor limit are for a
process of its own: see the room process. The order here is that of a server's life: settings, build, start, stop.
"""

from __future__ import annotations

import logging
import os
import platform
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import gevent

from gearman_server import event_log
from gearman_server.broker import Broker
from gearman_server.broker_settings import BrokerSettings
from gearman_server.compiled.choosing import CHOICE
from gearman_server.edge.listener import Listener
from gearman_server.edge.ports import Ports
from gearman_server.edge.settings import ListenerSettings, ListenSettings, PortSettings, TlsSettings
from gearman_server.edge.tls import TlsContext
from gearman_server.edge.unix_sockets import UNIX_PREFIX
from gearman_server.errors import StartError, StartFailure
from gearman_server.http.opening import open_http_ports
from gearman_server.jobs.events import Event, ShutdownRequested, StoreLost
from gearman_server.jobs.store import MemoryStore, first_number
from gearman_server.log import NOTICE, level_name, logger
from gearman_server.policy_file.contents import PolicyFile
from gearman_server.policy_file.loading import reread_policies, use_policies
from gearman_server.stores.settings import StoreSettings, member_name, named_by, reachable_address
from gearman_server.text_commands.admin import ServerFacts
from gearman_server.version import __version__

if TYPE_CHECKING:
    from gearman_server.http.port import HttpPort
    from gearman_server.loop import CheckingLoop
    from gearman_server.stores.sql_store import SqlStore

#: How long the last HTTP answers may take to leave after the last job has ended.
HTTP_DRAIN_S: Final = 1.0


# --- settings


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The settings of a server, embedded or not."""

    ports: PortSettings = field(default_factory=lambda: PortSettings(ListenSettings()))
    #: For the TLS port; without one, the job port itself speaks TLS, except on Unix sockets.
    tls: TlsSettings | None = None
    bounds: ListenerSettings = field(default_factory=ListenerSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    #: Where background jobs are kept; None: in memory.
    store: StoreSettings | None = None
    #: The rules for functions; `reload` reads the file again.
    policies: PolicyFile | None = None


def default_handle_prefix() -> bytes:
    """`H:HOST`, as in gearmand."""
    return b"H:" + platform.node().encode("utf-8", "replace")


# --- build


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a running server, without its ports."""

    broker: Broker
    listener: Listener
    http_ports: Sequence[HttpPort]
    #: None: jobs are kept only in memory.
    store: SqlStore | None


def build(settings: ServerSettings, ports: Ports, loop: CheckingLoop) -> Parts:
    """Make the parts, each from those before it. When it returns, the server accepts jobs.

    Raises:
        StartError: the store can't be used; then no part is left.
        UsageError: the store's URL is invalid.
    """
    with ExitStack() as undo:
        store = _open_store(settings.store, ports, loop) if settings.store is not None else None
        if store is not None:
            undo.callback(store.close)
        broker = _build_broker(settings, store, ports)
        listener = Listener(broker, loop, settings.bounds)
        undo.callback(listener.close)
        if store is not None:
            store.restore_to(broker)
        ports.accept_by(listener)
        if settings.bounds.allowed is None:
            ports.warn_if_open_to_all()
        http_ports = open_http_ports(broker, listener, ports.sockets, settings.bounds.allowed)
        undo.pop_all()
    return Parts(broker, listener, http_ports, store)


def _open_store(settings: StoreSettings, ports: Ports, loop: CheckingLoop) -> SqlStore:
    # Only a server with such a store loads SQL.
    try:
        if settings.cluster is not None:
            from gearman_server.sharing.shared_store import SharedStore

            return SharedStore(settings, named_by(settings.cluster, ports.addresses), loop)
        from gearman_server.stores.sql_store import SqlStore

        return SqlStore(settings, loop)
    except StartError as error:
        raise StartError(str(error), StartFailure.STORE) from error


def _build_broker(settings: ServerSettings, store: SqlStore | None, ports: Ports) -> Broker:
    """Make the broker, with the rules and the schedules that it must know before the first packet."""
    address = reachable_address(ports.addresses)
    kind = "memory" if settings.store is None else settings.store.url.partition(":")[0].partition("+")[0]
    facts = ServerFacts(__version__, os.getpid(), level_name(), member_name(address), address, kind)
    jobs = store if store is not None else MemoryStore(first_number(time.time(), random.random()))
    broker = Broker(jobs, settings.broker, facts, time.time, random.random)
    event_log.log_events(broker.events)
    if store is not None:
        broker.scheduler.restore(store.schedule_marks)
        broker.pauses.restore(store.pauses)
    if settings.policies is not None:
        use_policies(broker, settings.policies, time.monotonic())
    return broker


class Server:
    """A job server on this thread's gevent loop.

    `Server("127.0.0.1:0", "unix:/run/gearman.sock")` listens on these addresses, `Server()` on those of
    `settings.ports`. It can be started only once. As a context manager it is started and stopped.
    """

    def __init__(self, *addresses: str, settings: ServerSettings | None = None) -> None:
        settings = settings or ServerSettings(broker=BrokerSettings(handle_prefix=default_handle_prefix()))
        if addresses:
            jobs = replace(settings.ports.jobs, addresses=addresses)
            settings = replace(settings, ports=replace(settings.ports, jobs=jobs))
        self._settings = settings
        #: Kept after the stop, for its addresses.
        self._ports: Ports | None = None
        #: None before the start and after the stop.
        self._parts: Parts | None = None
        self._was_started = False

    # --- start

    def open(self, inherited: Mapping[str, Sequence[socket.socket]] | None = None) -> None:
        """Take the ports and read the certificates, but don't serve yet: connections wait until `start`.

        This call is optional. Sockets that the process has inherited replace the ports of their purpose.

        Raises:
            StartError: it can't start; the message is one line that says why.
        """
        self._opened_ports(inherited or {})

    def _opened_ports(self, inherited: Mapping[str, Sequence[socket.socket]]) -> Ports:
        if self._ports is None or not self._ports.sockets:
            tls = TlsContext(self._settings.tls) if self._settings.tls is not None else None
            self._ports = Ports(self._settings.ports, tls, inherited)
        return self._ports

    def start(self) -> None:
        """Serve until `stop`. Returns as soon as connections are accepted.

        Raises:
            StartError: it can't start, or was started before.
            UsageError: the store's URL is invalid.

        A failed start leaves nothing behind: the ports are free.
        """
        if self._was_started:
            raise StartError("a server can be started once; make another")
        if CHOICE.trouble is not None:
            raise StartError(CHOICE.trouble)
        ports = self._opened_ports({})
        try:
            self._parts = build(self._settings, ports, gevent.get_hub().loop)
        except BaseException:
            ports.close()
            raise
        self._was_started = True
        logger.log(NOTICE, "gearman-server %s listens on %s", __version__, ports.describe())
        logger.log(NOTICE if CHOICE.is_compiled or CHOICE.reason else logging.INFO, "%s", CHOICE.describe())

    def __enter__(self) -> Self:
        self.start()
        return self

    # --- where it listens

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses for jobs, such as `127.0.0.1:4730`, `[::1]:4730` or `unix:/run/gearman.sock`."""
        return self.addresses_by_purpose.get("jobs", ())

    @property
    def addresses_by_purpose(self) -> Mapping[str, tuple[str, ...]]:
        """All its addresses, by purpose: `jobs`, and `tls`, `http` and `metrics` if it has them."""
        if self._ports is None or not self._ports.addresses:
            raise StartError("the server has no address before it is started")
        return self._ports.addresses

    @property
    def address(self) -> str:
        """The first of its addresses."""
        return self.addresses[0]

    @property
    def port(self) -> int:
        """The TCP port of the first of its addresses that has one."""
        ports = [address.rpartition(":")[2] for address in self.addresses if not address.startswith(UNIX_PREFIX)]
        if not ports:
            raise StartError("the server listens on no TCP port")
        return int(ports[0])

    @property
    def sockets_to_keep(self) -> list[tuple[str, socket.socket]]:
        """Its listening sockets, each with its purpose, if they outlive this process in another's hands. None if one is
        a Unix socket: this process removes its file at the end."""
        sockets = {} if self._ports is None else self._ports.sockets
        found = [(purpose, each) for purpose, listening in sockets.items() for each in listening]
        return found if all(each.family != socket.AF_UNIX for _, each in found) else []

    def describe_addresses(self) -> str:
        """All its addresses in one line."""
        return self._ports.describe() if self._ports is not None else ""

    # --- while it runs

    def reload(self) -> None:
        """Read the certificates and the rules for functions again: these may change while it runs."""
        if self._ports is not None and self._ports.tls is not None:
            self._ports.tls.reload()
        if self._parts is not None and self._settings.policies is not None:
            reread_policies(self._parts.broker, self._settings.policies.path, time.monotonic())
            self._parts.listener.flush_soon()  # a raised limit has woken workers

    @property
    def size(self) -> int:
        """The number of jobs, waiting and running, and that of functions, each of which is as much as ten jobs."""
        if self._parts is None:
            return 0
        broker = self._parts.broker
        return len(broker.table.jobs) + 10 * len(broker.functions.by_name)

    def shrink(self) -> None:
        """Release memory that only a larger backlog needed."""
        if self._parts is not None:
            self._parts.broker.table.shrink()

    def on_shutdown_command(self, react: Callable[[bool], None]) -> None:
        """Call `react` after the answer to an administrator's `shutdown` has left; its argument: whether gracefully.

        Without this the command changes nothing. The server must have been started.
        """
        broker = self._running_parts().broker
        timer = gevent.get_hub().loop.timer(0)  # replies leave before the loop runs its timers

        def react_later(event: Event) -> None:
            if isinstance(event, ShutdownRequested):
                timer.start(react, event.is_graceful)

        broker.events.subscribe(react_later, ShutdownRequested)

    def on_store_lost(self, react: Callable[[str], None]) -> None:
        """Call `react` with the reason when another server has taken the store: this one's knowledge of the jobs is
        then outdated, and it has to end. The server must have been started."""

        def react_to(event: Event) -> None:
            if isinstance(event, StoreLost):
                react(event.reason)

        self._running_parts().broker.events.subscribe(react_to, StoreLost)

    def _running_parts(self) -> Parts:
        if self._parts is None:
            raise StartError("the server is not started")
        return self._parts

    # --- stop

    def finish(self, when_idle: Callable[[], None]) -> None:
        """Accept no more connections, start no more jobs, and call back, in the loop, once no job is running."""
        if self._parts is None:
            when_idle()
            return
        http_ports = self._parts.http_ports
        for port in http_ports:
            port.close_listeners()
        self._parts.listener.finish(lambda: gevent.spawn(_drain_http, http_ports, when_idle))

    def stop(self) -> None:
        """Close every connection and port at once. Stopping twice does nothing."""
        parts, self._parts = self._parts, None
        links: list[int] = []
        if parts is not None:
            parts.broker.departures.keep_jobs = parts.store is not None
            links = parts.listener.hold_links()
            parts.listener.close()
            for port in parts.http_ports:
                port.close()
        if self._ports is not None:
            self._ports.close()
        if parts is not None and parts.store is not None:
            parts.store.stop_writing()
            parts.broker.settle()  # it hears what became of the last jobs
            parts.store.close()
        for link in links:
            os.close(link)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _drain_http(http_ports: Sequence[HttpPort], when_idle: Callable[[], None]) -> None:
    """Wait for the last answers to be written, but not for a peer that merely keeps its connection open."""
    for port in http_ports:
        port.drain(HTTP_DRAIN_S)
    when_idle()
