"""Which job server to ask first, and which to leave out for a while because it could not be reached. Pure.

The blocking and the asynchronous client share it, so that equal unique ids meet on one server whoever submits them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Generic, Protocol, TypeVar
from zlib import crc32

from gearman_client.address import Address
from gearman_client.connection.ring import Ring
from gearman_client.errors import ArgumentError

#: How long a server is left out after it could not be reached for the first time, and the most that this doubles to.
FIRST_BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 30.0


class HasAddress(Protocol):
    """A server as a client keeps it."""

    @property
    def address(self) -> Address: ...


ServerT = TypeVar("ServerT", bound=HasAddress)


def server_at(servers: Iterable[ServerT], address: Address) -> ServerT:
    """The one of the servers that has this address.

    Raises:
        ArgumentError: none has it.
    """
    for server in servers:
        if server.address == address:
            return server
    raise ArgumentError(f"{address} is none of the client's servers")


class ServerHealth:
    """What a client has found out about its servers. Threads may share it: each call is one step of a dictionary's.

    Times are monotonic seconds.
    """

    __slots__ = ("_left_out",)

    def __init__(self) -> None:
        #: When to try a server again, and the back-off that led to it; only of servers that could not be reached.
        self._left_out: dict[Address, tuple[float, float]] = {}

    def note_failure(self, server: Address, now: float) -> None:
        """A server could not be reached. Failures found at the same time by several calls count as one."""
        until, backoff_s = self._left_out.get(server, (0.0, 0.0))
        if now >= until:
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S) or FIRST_BACKOFF_S
            self._left_out[server] = now + backoff_s, backoff_s

    def note_success(self, server: Address) -> None:
        """A server was reached."""
        self._left_out.pop(server, None)

    @property
    def is_good(self) -> bool:
        """Whether every server could be reached at the last attempt."""
        return not self._left_out

    def has_failed(self, server: Address) -> bool:
        """Whether the server could not be reached at the last attempt, however long ago."""
        return server in self._left_out

    def left_out_until(self, server: Address, now: float) -> float:
        """When to try a server again before others; 0 if that is now."""
        until = self._left_out.get(server, (0.0, 0.0))[0]
        return until if until > now else 0.0


def hash_of(key: bytes) -> int:
    """The number of a key, from 0 to 32767, whose remainder chooses the server.

    It is that of Perl's client (seen on the wire with Gearman::Client 2.004), so that its jobs and ours meet.
    """
    return crc32(key) >> 16 & 0x7FFF


def in_order(servers: Sequence[ServerT], health: ServerHealth, now: float) -> Sequence[ServerT]:
    """The servers in the order in which to try them: those that are left out come last, the soonest due first."""
    if health.is_good:
        return servers
    return sorted(servers, key=lambda server: health.left_out_until(server.address, now))


def by_key(servers: Sequence[ServerT], key: bytes, ring: Ring) -> Sequence[ServerT]:
    """The servers in their order for a key, those last that are not in the ring; without a key as they are."""
    if not key:
        return servers
    places = {address: at for at, address in enumerate(ring.order(hash_of(key)))}
    return sorted(servers, key=lambda server: places.get(server.address, len(places)))


class KeyOrders(Generic[ServerT]):
    """`by_key` for servers that stay for a while."""

    __slots__ = ("_orders", "_ring", "_servers")

    def __init__(self, servers: Sequence[ServerT], ring: Ring) -> None:
        self._servers = servers
        self._ring = ring
        self._orders: dict[int, Sequence[ServerT]] = {}

    def of(self, key: bytes) -> Sequence[ServerT]:
        """All servers, in the order for this key."""
        if not key or not self._servers:
            return self._servers
        slot = hash_of(key) % self._ring.slots
        found = self._orders.get(slot)
        if found is None:
            found = self._orders[slot] = by_key(self._servers, key, self._ring)
        return found


def home_of(handle: str, servers: Sequence[ServerT]) -> Sequence[ServerT]:
    """The server that gave the handle, a `JobHandle`; all servers when it is not among them or not known."""
    home = getattr(handle, "server", None)
    return [server for server in servers if server.address == home] or servers
