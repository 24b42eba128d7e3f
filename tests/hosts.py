"""Hosts of a test, each a network namespace, and a router that can drop the packets between any two: then no end of a
connection hears anything. Where the machine allows no namespaces, loopback addresses with proxies between them.

On such hosts run job servers. Their database, and the clients and workers, are on two further ones.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import make_url

from .server.stores.proxy import Proxy

_CLONE_NEWNET: Final = 0x40000000
#: Of the calling thread.
_OWN_NETWORK: Final = Path("/proc/thread-self/ns/net")
_CONNECT_S: Final = 20.0


class Host(Protocol):
    """A machine for a job server."""

    @property
    def options(self) -> Sequence[str]:
        """With these options the server listens there, and tells its peers where."""

    def entered(self) -> AbstractContextManager[None]:
        """What this thread starts meanwhile runs there."""

    def way_to(self, database_url: str) -> str:
        """The URL of that database from there."""

    def connect(self) -> socket.socket:
        """A connection of a client or worker to the server there."""

    def cut(self, *parts: str) -> None:
        """Pass nothing to and from these: `database`, `peers`, `workers`."""

    def heal(self) -> None:
        """Pass everything again, also what was sent meanwhile."""


@contextmanager
def hosts(count: int, database_port: int) -> Iterator[Sequence[Host]]:
    """So many hosts, and a way to the database, which listens on a loopback address of this machine."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(namespaces(count, database_port))
        except NoNamespacesError:
            yield stack.enter_context(loopback_hosts(count, database_port))


# --- network namespaces


class NoNamespacesError(Exception):
    """This machine does not allow it to make any."""


class Namespace:
    """A network namespace without a name. It is gone once it is closed and all is closed that was opened there."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        before = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if self._libc.unshare(_CLONE_NEWNET) != 0:
                raise NoNamespacesError(os.strerror(ctypes.get_errno()))
            self._descriptor = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
            self._enter(before)
        finally:
            os.close(before)

    @property
    def path(self) -> str:
        """Another process finds it here."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def _enter(self, descriptor: int) -> None:
        if self._libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in it, and so is what it starts and opens."""
        before = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        self._enter(self._descriptor)
        try:
            yield
        finally:
            self._enter(before)
            os.close(before)

    def ip(self, *commands: str) -> None:
        """Carry out commands of `ip` in it."""
        with self.entered():
            subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True, timeout=30)

    def close(self) -> None:
        os.close(self._descriptor)


class Router:
    """The namespace in the middle."""

    def __init__(self) -> None:
        self._namespace = Namespace()
        self._dropped: set[tuple[str, str]] = set()
        self._attached: list[Namespace] = []
        try:
            with self._namespace.entered():
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        except OSError as error:
            raise NoNamespacesError(str(error)) from error

    def attach(self) -> tuple[Namespace, str]:
        """Another namespace that reaches all the others by way of this one, and its address."""
        namespace = Namespace()
        self._attached.append(namespace)
        subnet, name = f"10.0.{len(self._attached)}", f"to{len(self._attached)}"
        try:
            self._namespace.ip(
                f"link add {name} type veth peer name eth0 netns {namespace.path}",
                f"address add {subnet}.1/24 dev {name}",
                f"link set {name} up",
            )
            namespace.ip(
                f"address add {subnet}.2/24 dev eth0",
                "link set eth0 up",
                "link set lo up",
                f"route add default via {subnet}.1",
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoNamespacesError(str(error)) from error
        return namespace, f"{subnet}.2"

    def drop(self, one: str, other: str) -> None:
        """Drop the packets between these addresses."""
        new = {(one, other), (other, one)} - self._dropped
        self._namespace.ip(*(f"rule add from {source} to {target} blackhole" for source, target in new))
        self._dropped |= new

    def pass_on(self, address: str) -> None:
        """Drop no packet of this address."""
        over = {pair for pair in self._dropped if address in pair}
        self._namespace.ip(*(f"rule delete from {source} to {target} blackhole" for source, target in over))
        self._dropped -= over

    def close(self) -> None:
        for namespace in (*self._attached, self._namespace):
            namespace.close()


class _NamespaceHost:
    """A host that is a namespace."""

    PORT = 4730

    def __init__(self, router: Router, database: tuple[str, int], workers: tuple[Namespace, str]) -> None:
        self._router = router
        self._namespace, self.address = router.attach()
        self._database = database
        self._workers, workers_address = workers
        self.options: Sequence[str] = ("--listen", self.address, "--port", str(self.PORT))
        #: The addresses of each part, the own one left out.
        self.parts = {"database": [database[0]], "workers": [workers_address]}

    def entered(self) -> AbstractContextManager[None]:
        return self._namespace.entered()

    def way_to(self, database_url: str) -> str:
        host, port = self._database
        return make_url(database_url).set(host=host, port=port).render_as_string(hide_password=False)

    def connect(self) -> socket.socket:
        with self._workers.entered():
            return socket.create_connection((self.address, self.PORT), timeout=_CONNECT_S)

    def cut(self, *parts: str) -> None:
        for part in parts:
            for address in self.parts[part]:
                self._router.drop(self.address, address)

    def heal(self) -> None:
        self._router.pass_on(self.address)


@contextmanager
def namespaces(count: int, database_port: int) -> Iterator[Sequence[Host]]:
    """Hosts that are network namespaces."""
    with ExitStack() as stack:
        router = Router()
        stack.callback(router.close)
        database, database_address = router.attach()
        workers = router.attach()
        with database.entered():
            listening = socket.create_server((database_address, 0))
        relay = Proxy(database_port, listening)
        stack.callback(relay.close)
        made = [_NamespaceHost(router, (database_address, relay.port), workers) for _ in range(count)]
        for host in made:
            host.parts["peers"] = [other.address for other in made if other is not host]
        yield made


# --- loopback addresses


class _LoopbackHost:
    """A host that is a loopback address, with proxies to and from it."""

    def __init__(self, number: int, database_port: int) -> None:
        address = f"127.0.77.{number + 1}"
        with socket.create_server((address, 0)) as probe:
            port = int(probe.getsockname()[1])
        self.proxies = {
            "database": [Proxy(database_port)],
            "peers": [Proxy(port, host=address)],
            "workers": [Proxy(port, host=address)],
        }
        announced = f"127.0.0.1:{self.proxies['peers'][0].port}"
        self.options: Sequence[str] = ("--listen", address, "--port", str(port), "--announce", announced)
        #: Those of others that hold what it sends to peers.
        self.further: list[Proxy] = []

    def entered(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def way_to(self, database_url: str) -> str:
        port = self.proxies["database"][0].port
        return make_url(database_url).set(port=port).render_as_string(hide_password=False)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.proxies["workers"][0].port), timeout=_CONNECT_S)

    def cut(self, *parts: str) -> None:
        for part in parts:
            for proxy in (*self.proxies[part], *(self.further if part == "peers" else ())):
                proxy.stall()

    def heal(self) -> None:
        for proxy in (*(proxy for proxies in self.proxies.values() for proxy in proxies), *self.further):
            proxy.heal()


@contextmanager
def loopback_hosts(count: int, database_port: int) -> Iterator[Sequence[Host]]:
    """Hosts that are loopback addresses. One that is cut from its peers cuts off all peers from one another."""
    made = [_LoopbackHost(number, database_port) for number in range(count)]
    for host in made:
        host.further = [proxy for other in made if other is not host for proxy in other.proxies["peers"]]
    try:
        yield made
    finally:
        for host in made:
            for proxies in host.proxies.values():
                for proxy in proxies:
                    proxy.close()


#: Makes hosts, in one way or the other.
Maker = Callable[[int, int], AbstractContextManager[Sequence[Host]]]
