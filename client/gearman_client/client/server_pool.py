"""The job servers of a client: the order in which to ask them, and the connection to each.

A server that can't be reached is skipped at once, and for a short time it is tried only after all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final
from zlib import crc32

from gearman_client.address import Address
from gearman_client.connection.connecting import connect
from gearman_client.connection.connection import Connection
from gearman_client.errors import ConnectionLost, CouldNotConnect, ProtocolError, Timeout
from gearman_client.packet import Packet, PacketType, encode_request

#: How long a server is tried last after it could not be reached.
DEAD_S: Final = 1.0

_EXCEPTIONS: Final = encode_request(PacketType.OPTION_REQ, b"exceptions")
_OPTION_ANSWERS: Final = frozenset({PacketType.OPTION_RES, PacketType.ERROR})


@dataclass(eq=False, slots=True)
class PooledServer:
    """One job server, and the connection to it if there is one."""

    address: Address
    connection: Connection | None = None
    #: The server has confirmed, on this connection, that it answers requests for results.
    tells_results: bool = False

    def drop(self) -> None:
        """Close the connection, so that the rest of an unfinished request can't meet the next one."""
        connection, self.connection = self.connection, None
        self.tells_results = False
        if connection is not None:
            connection.close()


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Times in seconds; `exceptions` asks each server for WORK_EXCEPTION packets.

    dead_until: when to try a server again before others; all pools of a client share what each has found.
    """

    connect_timeout_s: float
    reply_timeout_s: float
    exceptions: bool
    dead_until: dict[Address, float] = field(default_factory=dict)


class ServerPool:
    """Connects on demand and keeps each connection for the next request."""

    def __init__(self, addresses: Sequence[Address], settings: PoolSettings) -> None:
        self.servers = tuple(PooledServer(address) for address in addresses)
        self._settings = settings

    def choose(self, unique: bytes) -> tuple[PooledServer, Connection]:
        """The first server that answers. Equal unique ids start with the same server, so that equal jobs meet there.

        Raises:
            CouldNotConnect: no server answers.
        """
        failures = []
        for server in self._in_order(unique):
            try:
                return server, self.connection(server)
            except CouldNotConnect as error:
                failures.append(str(error))
        raise CouldNotConnect("; ".join(failures))

    def connection(self, server: PooledServer) -> Connection:
        """The connection to one server, opened if necessary.

        Raises:
            CouldNotConnect: the server can't be reached.
        """
        if server.connection is not None and not _is_usable(server.connection):
            server.drop()
        if server.connection is None:
            try:
                server.connection = self._open(server.address)
            except CouldNotConnect:
                self._settings.dead_until[server.address] = monotonic() + DEAD_S
                raise
            self._settings.dead_until.pop(server.address, None)
        return server.connection

    def close(self) -> None:
        """Close all connections."""
        for server in self.servers:
            server.drop()

    def _in_order(self, unique: bytes) -> list[PooledServer]:
        start = crc32(unique) % len(self.servers) if unique else 0
        servers = self.servers[start:] + self.servers[:start]
        now, dead_until = monotonic(), self._settings.dead_until
        return sorted(servers, key=lambda server: dead_until.get(server.address, 0.0) > now)

    def _open(self, address: Address) -> Connection:
        settings = self._settings
        sock = connect(address, settings.connect_timeout_s)
        try:
            connection = Connection(sock, address, stall_s=settings.reply_timeout_s)
            if settings.exceptions:
                self._ask_for_exceptions(connection)
        except (ConnectionLost, OSError, ProtocolError, Timeout) as error:
            sock.close()
            raise CouldNotConnect(
                f"could not connect to {address}: something listens there but it does not answer like a job server "
                f"({error}); check host and port"
            ) from error
        except BaseException:
            sock.close()
            raise
        return connection

    def _ask_for_exceptions(self, connection: Connection) -> None:
        """Ask, and wait for the answer. Even a refusal proves that the server is alive, and not just its machine."""
        connection.queue(_EXCEPTIONS)
        connection.flush()
        deadline = monotonic() + self._settings.connect_timeout_s
        packets = next_packets(connection, deadline)
        if packets[0][0] not in _OPTION_ANSWERS:
            raise ProtocolError(f"packet type {packets[0][0]} does not answer OPTION_REQ")


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
        if connection.wait_readable(None if left_s == float("inf") else left_s):
            packets = connection.receive()
            if packets:
                return packets


def _is_usable(connection: Connection) -> bool:
    """Whether an idle connection is still good: nothing is under way on it, so anything readable is its end."""
    try:
        return connection.is_quiet()
    except ConnectionLost:
        return False
