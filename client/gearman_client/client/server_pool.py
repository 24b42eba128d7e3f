"""The job servers of a client: the order in which to ask them, and the connection to each.

A server that could not be reached is left out and tried again on the side: no call waits for it while there is another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Final

from gearman_client import exclusive
from gearman_client.address import Address
from gearman_client.client.exchange import Exchange
from gearman_client.client.opening import Opening, OpeningSettings
from gearman_client.client.request import ALIVE_REQUEST
from gearman_client.client.server_choice import KeyOrders, ServerHealth, in_order, server_at
from gearman_client.connection.connection import Connection
from gearman_client.connection.ring import Ring
from gearman_client.connection.waiting import wait_for_any
from gearman_client.errors import ConnectionLost, CouldNotConnect, Timeout
from gearman_client.packet import Packet, PacketType

#: How long a call waits for one server before it tries the next one too. A server that needs longer is left out.
PATIENCE_S: Final = 0.5
#: A connection idle for so long is asked whether it is alive before a request goes over it: balancers and NATs forget
#: connections without a word. The shortest limits in use are about a minute.
IDLE_S: Final = 20.0
#: How long the answer to that question may take.
ALIVE_S: Final = 1.0


class PooledServer:
    """One job server, and the connection to it if there is one."""

    __slots__ = (
        "address",
        "alive_at",
        "answers",
        "connection",
        "exchange",
        "takes_lists",
        "takes_options",
        "tells_results",
    )

    def __init__(self, address: Address) -> None:
        self.address = address
        self.connection: Connection | None = None
        #: The server has confirmed, on this connection, that it answers requests for results.
        self.tells_results = False
        #: Whether it takes options of jobs, on this connection; None: it was not asked.
        self.takes_options: bool | None = None
        #: The same, for many jobs in one packet.
        self.takes_lists: bool | None = None
        #: When the connection was last known to be alive (monotonic seconds), and the requests answered over it.
        self.alive_at = 0.0
        self.answers = 0
        #: What is under way over the connection, apart from questions that are answered at once.
        self.exchange = Exchange()

    def connect(self, connection: Connection) -> None:
        """Use this connection from now on."""
        self.drop()
        self.connection, self.alive_at, self.answers = connection, monotonic(), 0

    def drop(self) -> None:
        """Close the connection, so that the rest of an unfinished request can't meet the next one."""
        connection, self.connection = self.connection, None
        self.tells_results, self.takes_options, self.takes_lists = False, None, None
        if connection is not None:
            connection.close()
            self.exchange.lose()


@dataclass(frozen=True, slots=True)
class PoolSettings(OpeningSettings):
    """The settings of a client's pools, and what all of them share.

    health: what each has found out about a server.
    openings: connections on their way that no call waits for; whoever takes one out has it to himself.
    """

    health: ServerHealth = field(default_factory=ServerHealth)
    openings: dict[Address, Opening] = field(default_factory=dict)

    def take_opening(self, address: Address) -> Opening | None:
        """The connection to a server that is on its way, if there is one."""
        opening = self.openings.pop(address, None)
        if opening is not None and opening.forks != exclusive.forks:
            opening.close()  # the parent goes on with it
            return None
        return opening

    def leave_opening(self, opening: Opening) -> None:
        """Let a later call go on with this one."""
        if self.openings.setdefault(opening.address, opening) is not opening:
            opening.close()

    def close(self) -> None:
        """Give up the connections that are on their way."""
        for address in list(self.openings):
            opening = self.openings.pop(address, None)
            if opening is not None:
                opening.close()


class ServerPool:
    """Connects on demand and keeps each connection for the next request."""

    def __init__(self, addresses: Sequence[Address], settings: PoolSettings) -> None:
        self.servers = tuple(PooledServer(address) for address in addresses)
        self._settings = settings
        self._by_key = KeyOrders(self.servers, Ring(addresses))
        #: Of the servers that are known, as it was taken in, and as it was when all others were dropped.
        self._version = self._clean_version = 0
        self.refresh()

    def refresh(self, *, is_idle: bool = True) -> bool:
        """Take in which servers there are now; returns whether there was a change. With a request under way none is
        dropped."""
        roster = self._settings.roster
        if roster is None:
            return False
        if roster.forget_at != inf and (now := monotonic()) >= roster.forget_at:
            roster.forget(now)
        version, addresses, ring = roster.known
        if version == (self._clean_version if is_idle else self._version):
            return False
        former = {server.address: server for server in self.servers}
        servers = {each: former.pop(each) if each in former else PooledServer(each) for each in addresses}
        if is_idle:
            while former:
                former.popitem()[1].drop()
            self._clean_version = version
        self.servers = (*servers.values(), *former.values())
        self._by_key = KeyOrders(self.servers, ring)
        self._version = version
        return True

    @property
    def settings(self) -> PoolSettings:
        """What all pools of the client share."""
        return self._settings

    @property
    def health(self) -> ServerHealth:
        """What the client has found out about its servers."""
        return self._settings.health

    def at(self, address: Address) -> PooledServer:
        """The server of this address.

        Raises:
            ArgumentError: it is none of the client's.
        """
        return server_at(self.servers, address)

    def choose(self, key: bytes, deadline: float = inf) -> tuple[PooledServer, Connection]:
        """A server that answers: the first one, or the one that equal keys choose alike; else one after it.

        Raises:
            CouldNotConnect: no server answers before `deadline` (monotonic); the text has the reason of each.
        """
        health = self._settings.health
        now = monotonic()
        servers = in_order(self._by_key.of(key), health, now)
        if not health.is_good:
            self._revive(servers, now)
            # A server that failed at its last attempt counts again once it was reached, and not when it may be tried.
            servers = sorted(servers, key=lambda server: health.has_failed(server.address))
        connection = self._idle_connection(servers[0], now, deadline)
        if connection is not None:
            return servers[0], connection
        return self._first_to_answer(servers, deadline)

    def connection(self, server: PooledServer, deadline: float = inf) -> Connection:
        """The connection to one server, opened if necessary.

        Raises:
            CouldNotConnect: the server can't be reached before `deadline` (monotonic).
        """
        connection = self._idle_connection(server, monotonic(), deadline)
        return connection or self._first_to_answer([server], deadline)[1]

    def fellows_of(self, server: PooledServer) -> Sequence[PooledServer]:
        """The other servers of this one's cluster, which know its jobs if it is gone."""
        roster = self._settings.roster
        fellows = roster.fellows_of(server.address) if roster is not None else ()
        return [each for each in self.servers if each.address in fellows] if fellows else ()

    def is_one_cluster(self, server: PooledServer) -> bool:
        """Whether all others are of this server's cluster, whose servers know each other's submissions."""
        return len(self.fellows_of(server)) == len(self.servers) - 1

    def living(self, servers: Sequence[PooledServer]) -> Sequence[PooledServer]:
        """Those of these servers that were reached at the last attempt; all of them if there is none."""
        health = self._settings.health
        if health.is_good:
            return servers
        self._revive(servers, monotonic())
        return [server for server in servers if not health.has_failed(server.address)] or servers

    def close(self) -> None:
        """Close all connections."""
        for server in self.servers:
            server.drop()

    def _first_to_answer(self, servers: Sequence[PooledServer], deadline: float) -> tuple[PooledServer, Connection]:
        """Try one server after the other, without giving one up before its time is over."""
        race = _Race(self._settings, servers, deadline)
        try:
            while True:
                now = monotonic()
                for server in race.starters(now):
                    connection = self._idle_connection(server, now, deadline)
                    if connection is not None:
                        return server, connection
                    race.start(server, now)
                winner = race.winner(now)
                if winner is not None:
                    return winner
                race.wait(now)
        finally:
            race.end()

    def _revive(self, servers: Sequence[PooledServer], now: float) -> None:
        """Go on with connections to servers that failed, or begin one to each that is due, without waiting."""
        settings = self._settings
        for server in servers:
            address = server.address
            if not settings.health.has_failed(address):
                continue
            opening = settings.take_opening(address)
            # Nobody has looked after it in time: that it comes to nothing says little about the server today.
            is_forgotten = opening is not None and now >= opening.deadline
            try:
                if opening is None:
                    if settings.health.left_out_until(address, now):
                        continue
                    opening = Opening(address, settings, now)
                connection = opening.advance(now)
            except CouldNotConnect:
                if opening is not None:
                    opening.close()
                if is_forgotten:
                    settings.leave_opening(Opening(address, settings, now))
                else:
                    settings.health.note_failure(address, now)
                continue
            if connection is None:
                settings.leave_opening(opening)
            else:
                settings.health.note_success(address)
                server.connect(connection)

    def _idle_connection(self, server: PooledServer, now: float, deadline: float) -> Connection | None:
        """The connection from an earlier request, if it is still good."""
        connection = server.connection
        if connection is None:
            return None
        if is_quiet(connection):
            if now - server.alive_at < IDLE_S:
                return connection
            if _answers(connection, min(now + ALIVE_S, now + (deadline - now) / 2)):
                server.alive_at = now
                return connection
        server.drop()
        return None


class _Race:
    """The attempts of one call to reach one of several servers."""

    def __init__(self, settings: PoolSettings, servers: Sequence[PooledServer], deadline: float) -> None:
        self._settings = settings
        self._deadline = deadline
        self._waiting = deque(servers)
        self._under_way: dict[PooledServer, Opening] = {}
        #: Servers whose attempt an earlier call has begun, and nobody has gone on with in time.
        self._forgotten: set[PooledServer] = set()
        self._failures: dict[Address, str] = {}
        self._begun = monotonic()
        self._next_at = 0.0
        # A call with little time shares it out.
        self._patience_s = min(PATIENCE_S, max(0.0, deadline - self._begun) / (len(servers) + 1))

    def starters(self, now: float) -> Iterator[PooledServer]:
        """The servers to try now, one by one: the next one, when the last one fails or takes too long."""
        while self._waiting and (now >= self._next_at or not self._under_way):
            yield self._waiting.popleft()

    def start(self, server: PooledServer, now: float) -> None:
        """Try a server."""
        opening = self._settings.take_opening(server.address)
        if opening is not None and now >= opening.deadline:
            self._forgotten.add(server)
        self._under_way[server] = opening or Opening(server.address, self._settings, now)
        if not self._settings.health.has_failed(server.address):
            self._next_at = now + self._patience_s

    def winner(self, now: float) -> tuple[PooledServer, Connection] | None:
        """The first server to answer; None while others are under way.

        Raises:
            CouldNotConnect: there is none, or the time is over.
        """
        for server, opening in list(self._under_way.items()):
            try:
                connection = opening.advance(now)
            except CouldNotConnect as error:
                opening.close()
                del self._under_way[server]
                if server in self._forgotten:
                    self._forgotten.remove(server)
                    self._under_way[server] = Opening(server.address, self._settings, now)
                else:
                    self._fail(server, str(error), now)
                continue
            if connection is not None:
                del self._under_way[server]
                self._settings.health.note_success(server.address)
                server.connect(connection)
                return server, connection
        if now >= self._deadline:
            for server in (*self._under_way, *self._waiting):
                what = self._under_way[server].missing if server in self._under_way else "no answer"
                reason = f"{what} within {now - self._begun:.2g} s"
                self._failures[server.address] = f"could not connect to {server.address}: {reason}"
        elif self._under_way or self._waiting:
            return None
        raise CouldNotConnect("; ".join(self._failures.values()))

    def wait(self, now: float) -> None:
        """Wait until one of the attempts can go on, or the next one is to begin."""
        if not self._under_way:
            return
        until = min(self._deadline, *(opening.deadline for opening in self._under_way.values()))
        if self._waiting:
            until = min(until, self._next_at)
        watched = [(opening.fileno(), opening.events) for opening in self._under_way.values()]
        if all(descriptor >= 0 for descriptor, _ in watched):  # else one has just begun, and goes on without waiting
            wait_for_any(watched, until - now)

    def end(self) -> None:
        """Leave the unfinished attempts to later calls. A server that takes too long counts as one that failed."""
        now = monotonic()
        for server, opening in self._under_way.items():
            if now - opening.started >= PATIENCE_S:
                self._settings.health.note_failure(server.address, now)
            self._settings.leave_opening(opening)

    def _fail(self, server: PooledServer, reason: str, now: float) -> None:
        self._failures[server.address] = reason
        self._settings.health.note_failure(server.address, now)


def next_packets(connection: Connection, deadline: float) -> list[Packet]:
    """Wait for packets and return at least one.

    Raises:
        Timeout: no packet was complete before `deadline` (monotonic; may be infinite).
        InUse: the process was forked since the connection was opened, and this is the child.
    """
    while True:
        connection.check_process()
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise Timeout(f"no answer from {connection.address} in the time allowed")
        packets = connection.receive_within(left_s)
        if packets:
            return packets


def is_quiet(connection: Connection) -> bool:
    """Whether an idle connection may still be good: nothing is under way on it, so anything readable is its end."""
    try:
        return connection.is_quiet()
    except ConnectionLost:
        return False


def _answers(connection: Connection, deadline: float) -> bool:
    """Whether the server answers over this connection."""
    try:
        connection.queue(ALIVE_REQUEST)
        connection.flush()
        return next_packets(connection, deadline)[0][0] == PacketType.ECHO_RES
    except (ConnectionLost, Timeout):
        return False
