"""The job server as an object: a broker, its store and its listening sockets, on the event loop of whoever starts it.

`Server("127.0.0.1:0").start()` embeds it in any gevent program. What belongs to a process of its own (signals, pid
file, log, descriptor limit) is in `life`.
"""

from __future__ import annotations

import os
import platform
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import gevent

from gearman_server import __version__, log
from gearman_server.broker import Broker
from gearman_server.edge.listener import Listener
from gearman_server.edge.ports import Ports
from gearman_server.edge.settings import ListenerSettings, ListenSettings, PortSettings, TlsSettings
from gearman_server.edge.tls import TlsContext
from gearman_server.edge.unix_sockets import UNIX_PREFIX
from gearman_server.errors import StartError, StartFailure
from gearman_server.http.opening import open_http_ports
from gearman_server.jobs.events import Event, ShutdownRequested, StoreLost
from gearman_server.jobs.job_table import BrokerSettings
from gearman_server.jobs.policies import PolicyFile
from gearman_server.jobs.store import MemoryStore, Store
from gearman_server.log import NOTICE, logger
from gearman_server.policy_file.loading import reread_policies, use_policies
from gearman_server.stores.settings import StoreSettings
from gearman_server.text_commands.admin import ServerFacts

if TYPE_CHECKING:
    from gearman_server.http.port import HttpPort
    from gearman_server.stores.sql_store import SqlStore

#: How long an HTTP answer may take to leave once no job is running any more.
HTTP_DRAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server does, wherever it runs."""

    ports: PortSettings = field(default_factory=lambda: PortSettings(ListenSettings()))
    #: For the TLS port; where there is none the job port itself speaks TLS, but for Unix sockets.
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


class Server:
    """A job server on this thread's gevent loop.

    `Server("127.0.0.1:0", "unix:/run/gearman.sock")` listens there; without addresses, where `settings.listen` says.
    It can be started once. As a context manager it is started and stopped.
    """

    def __init__(self, *addresses: str, settings: ServerSettings | None = None) -> None:
        settings = settings or ServerSettings(broker=BrokerSettings(handle_prefix=default_handle_prefix()))
        if addresses:
            jobs = replace(settings.ports.jobs, addresses=addresses)
            settings = replace(settings, ports=replace(settings.ports, jobs=jobs))
        self._settings = settings
        self._ports = Ports(settings.ports)
        self._tls: TlsContext | None = None
        self._broker: Broker | None = None
        self._store: SqlStore | None = None
        self._listener: Listener | None = None
        self._http_ports: list[HttpPort] = []
        self._shutdown_timer: object = None  # a timer that nobody holds is collected

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it takes jobs, such as `127.0.0.1:4730`, `[::1]:4730` or `unix:/run/gearman.sock`."""
        return self.addresses_by_purpose.get("jobs", ())

    @property
    def addresses_by_purpose(self) -> Mapping[str, tuple[str, ...]]:
        """All that it listens on: `jobs`, and what there is of `tls`, `http` and `metrics`."""
        if not self._ports.addresses:
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

    def describe_addresses(self) -> str:
        """All that it listens on, in one line."""
        return self._ports.describe()

    # --- life

    def open(self, inherited: Mapping[str, Sequence[socket.socket]] | None = None) -> None:
        """Take the ports and read the certificates, without serving yet: connections wait until `start`.

        It may be left out. Sockets that the process was started with stand in for the ports of their purpose.

        Raises:
            StartError: it can't start; the message is one line that says why.
        """
        if not self._ports.sockets:
            if self._settings.tls is not None:
                self._tls = TlsContext(self._settings.tls)
            self._ports.open(inherited or {})

    def start(self) -> None:
        """Serve, until `stop`. Returns as soon as connections are accepted.

        Raises:
            StartError: it can't start, or was started before.
        """
        if self._listener is not None:
            raise StartError("a server can be started once; make another")
        self.open()
        facts = ServerFacts(__version__, os.getpid(), log.level_name())
        loop = gevent.get_hub().loop
        store = self._open_store()
        broker = self._broker = Broker(store, self._settings.broker, facts, time.time, random.random)
        log.log_events(broker.events)
        if self._store is not None:
            broker.restore_schedules(self._store.schedule_marks)
        if self._settings.policies is not None:
            use_policies(broker, self._settings.policies, time.monotonic())
        self._listener = Listener(broker, loop, self._settings.bounds)
        if self._store is not None:
            self._store.start(broker, loop)
        self._listen(self._listener)
        self._http_ports = open_http_ports(broker, self._listener, self._ports.sockets, self._settings.bounds.allowed)
        logger.log(NOTICE, "gearman-server %s listens on %s", __version__, self.describe_addresses())

    def _open_store(self) -> Store:
        if self._settings.store is None:
            return MemoryStore(_first_handle_number())
        from gearman_server.stores.sql_store import SqlStore

        try:
            self._store = SqlStore(self._settings.store)
            self._store.open()
        except StartError as error:
            raise StartError(str(error), StartFailure.STORE) from error
        return self._store

    def _listen(self, listener: Listener) -> None:
        sockets = self._ports.sockets
        is_tls_apart = "tls" in sockets
        for listening in sockets.get("jobs", ()):
            is_plain = is_tls_apart or listening.family == socket.AF_UNIX
            listener.listen([listening], None if is_plain else self._tls)
        listener.listen(sockets.get("tls", ()), self._tls)
        if self._settings.bounds.allowed is None:
            is_main_plain = is_tls_apart or self._tls is None
            self._ports.warn_if_open_to_all(["jobs", "http"] if is_main_plain else ["http"])

    def on_shutdown_command(self, react: Callable[[bool], None]) -> None:
        """Have `react` called, once the answer has left, when an administrator sends `shutdown`: whether gracefully.

        Without this such a command changes nothing. The server must have been started.
        """
        if self._broker is None:
            raise StartError("the server is not started")
        loop = gevent.get_hub().loop

        def react_later(event: Event) -> None:
            if isinstance(event, ShutdownRequested):
                timer = self._shutdown_timer = loop.timer(0)  # what is due leaves before timers have their turn
                timer.start(react, event.is_graceful)

        self._broker.events.subscribe(react_later, ShutdownRequested)

    def on_store_lost(self, react: Callable[[str], None]) -> None:
        """Have `react` called with the reason when another server has taken the store: what this one knows of its jobs
        no longer holds, and it has to end. The server must have been started."""
        if self._broker is None:
            raise StartError("the server is not started")

        def react_to(event: Event) -> None:
            if isinstance(event, StoreLost):
                react(event.reason)

        self._broker.events.subscribe(react_to, StoreLost)

    def finish(self, when_idle: Callable[[], None]) -> None:
        """Accept nothing more, start no more jobs, and call back, in the loop, once no job is running."""
        if self._listener is None:
            when_idle()
        else:
            for port in self._http_ports:
                port.close_listeners()
            self._listener.finish(lambda: gevent.spawn(self._drain_http, when_idle))

    def _drain_http(self, when_idle: Callable[[], None]) -> None:
        """The last answers are still being written; who merely keeps its connection open is not waited for."""
        for port in self._http_ports:
            port.drain(HTTP_DRAIN_S)
        when_idle()

    def reload(self) -> None:
        """Read again what may change while it runs: certificates, and the rules for functions."""
        if self._tls is not None:
            self._tls.reload()
        if self._broker is not None and self._settings.policies is not None:
            reread_policies(self._broker, self._settings.policies.path, time.monotonic())
            if self._listener is not None:
                self._listener.flush_soon()  # a limit that was raised has woken workers

    @property
    def job_count(self) -> int:
        """How many jobs there are, waiting and running."""
        return len(self._broker.table.jobs) if self._broker is not None else 0

    def shrink(self) -> None:
        """Let go of memory that only a larger backlog needed."""
        if self._broker is not None:
            self._broker.table.shrink()

    def stop(self) -> None:
        """Close every connection and port at once. Stopping twice does nothing."""
        if self._listener is not None:
            self._listener.close()
        for port in self._http_ports:
            port.close()
        self._ports.close()
        if self._store is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _first_handle_number() -> int:
    """Microseconds since 1970: no restarted server can have been counted that far, so no handle comes twice."""
    return time.time_ns() // 1000
