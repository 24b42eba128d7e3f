"""The job servers of an asynchronous client: one connection to each, opened on demand and shared by all coroutines.

A server that could not be reached costs no call anything as long as another one answers: it is tried again beside them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from time import monotonic
from typing import Final

from gearman_client import exclusive
from gearman_client.address import Address
from gearman_client.async_client.awaited import AwaitedAnswer
from gearman_client.async_client.link import Link
from gearman_client.async_client.opening import open_connection
from gearman_client.client.opening import OpeningSettings
from gearman_client.client.request import ALIVE_REQUEST
from gearman_client.client.server_choice import KeyOrders, ServerHealth, in_order, server_at
from gearman_client.client.server_pool import ALIVE_S, IDLE_S, PATIENCE_S
from gearman_client.connection.ring import Ring
from gearman_client.errors import (
    ConnectionLost,
    CouldNotConnect,
    GearmanError,
    ProtocolError,
    ServerError,
    Timeout,
)
from gearman_client.packet import PacketType

#: How long the first jobs of a set wait for a server that is just being connected to, so that each gets its share.
HOLD_BACK_S: Final = 0.1


class AsyncServer:
    """One job server, the connection to it if there is one, and the attempt to open one if that is under way."""

    __slots__ = ("address", "connecting", "connecting_since", "link")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.link: Link | None = None
        self.connecting: asyncio.Task[Link] | None = None
        self.connecting_since = 0.0

    def fresh_link(self, now: float) -> Link | None:
        """The connection, if it is there and something has come over it lately."""
        link = self.link
        return link if link is not None and now - link.heard_at < IDLE_S else None

    def leave(self) -> None:
        """Close the connection as soon as nobody waits for an answer on it."""
        if self.connecting is not None:
            self.connecting.cancel()
        if self.link is not None:
            self.link.retire()


class Servers:
    """The servers as one event loop of one process uses them. Times are those of the loop."""

    def __init__(self, addresses: Sequence[Address], settings: OpeningSettings) -> None:
        self.loop = asyncio.get_running_loop()
        self.forks: Final = exclusive.forks
        self.all = tuple(AsyncServer(address) for address in addresses)
        self._opening_settings = settings
        self._health = ServerHealth()
        self._by_key = KeyOrders(self.all, Ring(addresses))
        self._version = 0
        self.refresh()

    def refresh(self) -> bool:
        """Take in which servers there are now. Returns whether there was a change."""
        roster = self._opening_settings.roster
        if roster is None:
            return False
        if roster.forget_at != inf and (now := monotonic()) >= roster.forget_at:
            roster.forget(now)
        version, addresses, ring = roster.known
        if version == self._version:
            return False
        self._version = version
        former = {server.address: server for server in self.all}
        servers = {each: former.pop(each) if each in former else AsyncServer(each) for each in addresses}
        self.all = tuple(servers.values())
        self._by_key = KeyOrders(self.all, ring)
        for server in former.values():
            server.leave()
        return True

    def at(self, address: Address) -> AsyncServer:
        """The server of this address.

        Raises:
            ArgumentError: it is none of the client's.
        """
        return server_at(self.all, address)

    def ready(self, key: bytes) -> Link | None:
        """The connection for a job with this key, if the server that is the first to ask has one."""
        if not self._health.is_good:
            return None
        server = self._by_key.of(key)[0]
        return server.fresh_link(self.loop.time())

    async def choose(self, key: bytes, deadline: float) -> Link:
        """A connection for a job with this key, opened if necessary.

        Raises:
            CouldNotConnect: no server can be reached in time; the text names each address and the reason.
        """
        now = self.loop.time()
        servers = in_order(self._by_key.of(key), self._health, now)
        if not self._health.is_good:
            self._revive(servers, now)
            # A server that failed at its last attempt counts again once it was reached, and not when it may be tried.
            servers = sorted(servers, key=lambda server: self._health.has_failed(server.address))
        return await self._first_to_answer(servers, deadline)

    async def least_busy(self, deadline: float) -> Link:
        """The connection with the least under way, for a job of many; all servers that are well get one.

        Raises:
            CouldNotConnect: as `choose`.
        """
        now = self.loop.time()
        if len(self.all) == 1:
            return self.ready(b"") or await self.choose(b"", deadline)
        if not self._health.is_good:
            self._revive(self.all, now)
        missing = [
            server
            for server in self.all
            if server.fresh_link(now) is None and not self._health.has_failed(server.address)
        ]
        attempts = {server: self._connect(server) for server in missing}
        waited_for = [attempt for server, attempt in attempts.items() if now - server.connecting_since < HOLD_BACK_S]
        if waited_for:
            await asyncio.wait(waited_for, timeout=min(HOLD_BACK_S, max(0.0, deadline - now)))
            now = self.loop.time()
        links = [link for server in self.all if (link := server.fresh_link(now)) is not None]
        return min(links, key=_load) if links else await self.choose(b"", deadline)

    async def link_to(self, server: AsyncServer, deadline: float) -> Link:
        """The connection to one server, opened if necessary.

        Raises:
            CouldNotConnect: it can't be reached in time.
        """
        return server.fresh_link(self.loop.time()) or await self._first_to_answer([server], deadline)

    def fellows_of(self, server: AsyncServer) -> Sequence[AsyncServer]:
        """The other servers of this one's cluster, which know its jobs if it is gone."""
        roster = self._opening_settings.roster
        fellows = roster.fellows_of(server.address) if roster is not None else ()
        return [each for each in self.all if each.address in fellows] if fellows else ()

    def is_one_cluster(self, server: AsyncServer) -> bool:
        """Whether all others are of this server's cluster, whose servers know each other's submissions."""
        return len(self.fellows_of(server)) == len(self.all) - 1

    def is_lost(self, server: AsyncServer) -> bool:
        """Whether it could not be reached at the last attempt."""
        return self._health.has_failed(server.address)

    def living(self, servers: Sequence[AsyncServer]) -> Sequence[AsyncServer]:
        """Those of these servers that were reached at the last attempt; all of them if there is none."""
        if self._health.is_good:
            return servers
        self._revive(servers, self.loop.time())
        return [server for server in servers if not self._health.has_failed(server.address)] or servers

    def suspect(self, link: Link) -> None:
        """A server did not do what was due: others come first, until it has answered over a new connection."""
        self._health.note_failure(link.address, self.loop.time())
        link.retire()

    def note_silent(self, servers: Iterable[AsyncServer]) -> None:
        """Others have answered, and these have not: others come first, until they have."""
        for server in servers:
            if server.link is not None:
                self.suspect(server.link)
            else:
                self._health.note_failure(server.address, self.loop.time())

    def close(self) -> None:
        """Close the connections as soon as nobody waits for an answer on them."""
        for server in self.all:
            server.leave()

    def forsake(self) -> None:
        """Close the descriptors alone: the event loop is closed, or belongs to this process's parent."""
        for server in self.all:
            if server.link is not None:
                server.link.forsake()

    async def _first_to_answer(self, servers: Sequence[AsyncServer], deadline: float) -> Link:
        """Try one server after the other, without giving one up before its time is over."""
        begun = now = self.loop.time()
        # A call with little time shares it out.
        patience_s = min(PATIENCE_S, max(0.0, deadline - now) / (len(servers) + 1))
        waiting = deque(servers)
        attempts: dict[asyncio.Task[Link], AsyncServer] = {}
        failures: dict[Address, str] = {}
        next_at = 0.0
        while now < deadline:
            while waiting and (now >= next_at or not attempts):
                server = waiting.popleft()
                link = server.fresh_link(now)
                if link is not None:
                    self._note_late(attempts.values(), now)
                    return link
                attempts[self._connect(server)] = server
                if not self._health.has_failed(server.address):
                    next_at = now + patience_s
            if not attempts:
                break
            until = min(deadline, next_at if waiting else inf)
            timeout_s = None if until == inf else max(0.0, until - now)
            ended, _ = await asyncio.wait(attempts, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            now = self.loop.time()
            for attempt in ended:
                address = attempts.pop(attempt).address
                link, failures[address] = _outcome(attempt, address)
                if link is not None:
                    self._note_late(attempts.values(), now)
                    return link
        for server in (*attempts.values(), *waiting):
            failures[server.address] = _failure(server.address, f"no answer within {now - begun:.2g} s")
        raise CouldNotConnect("; ".join(failures.values()))

    def _revive(self, servers: Sequence[AsyncServer], now: float) -> None:
        """Begin to connect to the servers that failed and are due, without waiting."""
        for server in servers:
            if self._health.has_failed(server.address) and not self._health.left_out_until(server.address, now):
                self._connect(server)

    def _note_late(self, servers: Iterable[AsyncServer], now: float) -> None:
        """Another server was faster. One that takes too long counts as one that failed, until its attempt succeeds."""
        for server in servers:
            if now - server.connecting_since >= PATIENCE_S:
                self._health.note_failure(server.address, now)

    def _connect(self, server: AsyncServer) -> asyncio.Task[Link]:
        """The attempt to connect, which all who wait for the server share."""
        if server.connecting is None or server.connecting.done():
            server.connecting_since = self.loop.time()
            server.connecting = self.loop.create_task(self._open(server))
            server.connecting.add_done_callback(_note_seen)
        return server.connecting

    async def _open(self, server: AsyncServer) -> Link:
        try:
            link = await self._alive_link(server) or await self._open_link(server.address)
        except CouldNotConnect:
            self._health.note_failure(server.address, self.loop.time())
            raise
        finally:
            server.connecting = None
        self._health.note_success(server.address)
        if link.is_open:
            server.link = link
        return link

    async def _alive_link(self, server: AsyncServer) -> Link | None:
        """The connection that was silent for long, if there is one and the server answers over it."""
        link = server.link
        if link is None:
            return None
        try:
            await link.ask(AwaitedAnswer(ALIVE_REQUEST, PacketType.ECHO_RES), self.loop.time() + ALIVE_S)
        except ServerError:
            pass  # it refuses, so it is alive
        except Timeout:
            link.retire()  # jobs under way on it may still end well; Link itself finds out whether it is dead
        except (ConnectionLost, ProtocolError):
            pass
        return link if link.is_open else None

    async def _open_link(self, address: Address) -> Link:
        connection = await open_connection(address, self._opening_settings)
        return Link(connection, self._opening_settings.reply_timeout_s, self._on_end)

    def _on_end(self, link: Link, reason: GearmanError | None) -> None:
        """A link takes no more requests."""
        for server in self.all:
            if server.link is link:
                server.link = None
        if isinstance(reason, Timeout):
            # It takes connections and says nothing: the others come first.
            self._health.note_failure(link.address, self.loop.time())


def _outcome(attempt: asyncio.Task[Link], address: Address) -> tuple[Link | None, str]:
    """The connection of an attempt that has ended, if it is open; else why not."""
    try:
        link = attempt.result()
    except CouldNotConnect as error:
        return None, str(error)
    except asyncio.CancelledError:
        return None, _failure(address, "the client was closed meanwhile")
    return (link, "") if link.is_open else (None, _failure(address, "the connection ended at once"))


def _failure(address: Address, reason: str) -> str:
    return f"could not connect to {address}: {reason}"


def _note_seen(attempt: asyncio.Task[Link]) -> None:
    """Keep the loop from reporting the error of an attempt for which nobody waits any more."""
    if not attempt.cancelled():
        attempt.exception()


def _load(link: Link) -> int:
    return link.load
