"""The job servers that a client or worker knows: those that it was given, and the others of their clusters, of which
they tell (docs/protocol-extensions.md). Pure: times are monotonic seconds.

A server that was given stays. One that was learned is forgotten when its cluster has not had it for a while, so that
a server that restarts keeps its place meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

from gearman_client.address import Address, parse_address
from gearman_client.connection.cluster_servers import ClusterServer, parse_servers
from gearman_client.connection.ring import Ring
from gearman_client.errors import AddressError, ProtocolError
from gearman_client.tls import Tls

#: A server that its cluster does not have any more is forgotten after so long.
FORGET_AFTER_S: Final = 300.0
#: The most servers that are learned: what a peer tells has to have a bound.
MAX_LEARNED: Final = 64

#: The beginning of the only row of a server without a cluster: its id.
_NO_CLUSTER: Final = b"0\t"


class Known(NamedTuple):
    """All servers that are known.

    version: counts the changes.
    addresses: those that were given, then the others.
    ring: the same, as keys choose one of them.
    """

    version: int
    addresses: tuple[Address, ...]
    ring: Ring


class Roster:
    """The servers of one client or worker. Threads may share it: whatever changes is replaced whole, not changed."""

    def __init__(self, given: Sequence[Address], forget_after_s: float = FORGET_AFTER_S) -> None:
        self.given = tuple(given)
        self._forget_after_s = forget_after_s
        self.known = Known(0, self.given, Ring(self.given))
        #: When `forget` has something to do.
        self.forget_at = inf
        #: The servers of each cluster, also those that have gone and are not forgotten.
        self._clusters: Sequence[frozenset[Address]] = ()
        #: The learned servers, with the time when each is forgotten; infinite while its cluster has it.
        self._learned: dict[Address, float] = {}
        #: The addresses by which we reach servers that call themselves otherwise, by the addresses that they name.
        self._reached_as: dict[Address, Address] = {}
        #: How the servers of clusters call themselves, by the addresses by which we reach them.
        self._names: dict[Address, str] = {}
        #: The addresses at which servers were declared dead by their clusters, and no other lives now.
        self.dead: frozenset[Address] = frozenset()

    def learn(self, told_by: Address, table: bytes, now: float) -> bool:
        """Take in a packet SERVERS of the server at `told_by`. Returns whether another one may follow.

        Raises:
            ProtocolError: it makes no sense.
        """
        if table.startswith(_NO_CLUSTER):
            return False  # the common case is cheap: a worker pays for each function that it calls
        try:
            servers = parse_servers(table)
        except ValueError as error:
            raise ProtocolError(f"the server's SERVERS makes no sense: {error}") from error
        teller = next((server for server in servers if server.is_this), None)
        if teller is None:
            return False
        own_address = _address(teller, told_by)
        if own_address is None or (told_by.tls is not None and own_address.port != told_by.port):
            return False  # we could not reach the others as it names them: not from here, or not with TLS
        reached_as = {named: reached for named, reached in self._reached_as.items() if reached != told_by}
        if own_address != told_by:
            reached_as[own_address] = told_by
        self._reached_as = reached_as
        reached = {server: address for server in servers if (address := _address(server, told_by)) is not None}
        reached = {server: reached_as.get(address, address) for server, address in reached.items()}
        self._names = {**self._names, **{address: server.address for server, address in reached.items()}}
        alive = frozenset(address for server, address in reached.items() if server.is_alive) | {told_by}
        self.dead = (self.dead | {address for server, address in reached.items() if not server.is_alive}) - alive
        self._note(alive, now)
        return True

    def give(self, given: Sequence[Address]) -> None:
        """Use these given servers instead, and of the learned ones those of their clusters."""
        self.given = tuple(given)
        clusters = [cluster for cluster in self._clusters if not cluster.isdisjoint(given)]
        others = [address for cluster in clusters for address in cluster.difference(given)]
        self._clusters = clusters
        self._arrange({address: self._learned.get(address, inf) for address in others})

    def forget(self, now: float) -> None:
        """Forget the servers whose time has come. Call this at `forget_at`."""
        self._arrange({address: until for address, until in self._learned.items() if until > now})

    def fellows_of(self, address: Address) -> Sequence[Address]:
        """The other servers of this one's cluster."""
        clusters = [cluster for cluster in self._clusters if address in cluster]
        return [each for each in self.known.addresses if each != address and any(each in c for c in clusters)]

    def _note(self, alive: frozenset[Address], now: float) -> None:
        """These servers are a cluster now."""
        before = [cluster for cluster in self._clusters if cluster & alive]
        cluster = alive.union(*before)
        learned = {address: until for address, until in self._learned.items() if address not in self._reached_as}
        for address in sorted(cluster.difference(self.given, self._reached_as)):
            if address not in alive:
                learned[address] = min(learned.get(address, inf), now + self._forget_after_s)
            elif address in learned or len(learned) < MAX_LEARNED:
                learned[address] = inf
        self._clusters = [*(each for each in self._clusters if each not in before), cluster]
        self._arrange(learned)

    def _arrange(self, learned: dict[Address, float]) -> None:
        self._learned = learned
        self.forget_at = min(learned.values(), default=inf)
        addresses = (*self.given, *sorted(learned))
        self._clusters = [cluster.intersection(addresses) for cluster in self._clusters]
        self.dead = self.dead.intersection(addresses)
        self._names = {address: name for address, name in self._names.items() if address in addresses}
        ring = Ring(addresses, self._names if any(self._clusters) else None)
        version, before, former = self.known
        if list(map(_with_tls, addresses)) != list(map(_with_tls, before)) or ring.names != former.names:
            self.known = Known(version + 1, addresses, ring)


def _with_tls(address: Address) -> tuple[Address, Tls | None]:
    """Addresses with different certificates are equal."""
    return address, address.tls


def _address(server: ClusterServer, told_by: Address) -> Address | None:
    """Where a server is reached by those who reach `told_by`; None: nowhere."""
    try:
        address = parse_address(server.address)
    except AddressError:
        return None
    host = address.host
    if _is_local(host):
        if not _is_local(told_by.host):
            return None  # the loopback of another machine
        host = told_by.host  # its names are one
    return Address(host, address.port, told_by.tls)


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
