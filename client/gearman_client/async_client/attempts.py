"""The attempts of one call: each has a connection, until one is answered or the call's time is over.

When to try again, and when to leave a server out, is decided as for the blocking client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gearman_client.async_client.link import Link
from gearman_client.async_client.servers import AsyncServer, Servers
from gearman_client.client.attempts import LOSSES, MAX_CHOICES, Limits, LostRequests
from gearman_client.errors import CouldNotConnect, GearmanError, ServerEnding

AnswerT = TypeVar("AnswerT")


class AsyncAttempts(LostRequests):
    """The attempts of one call. They may go to any server, equal keys beginning with the same one, or to `only` one."""

    def __init__(self, servers: Servers, limits: Limits, key: bytes = b"", only: AsyncServer | None = None) -> None:
        super().__init__(limits, 0 if only else len(servers.all) - 1)
        self._servers = servers
        self._key = key
        self._only = only

    async def next(self) -> Link:
        """The connection for the next attempt.

        Raises:
            Timeout: the call has no time.
            CouldNotConnect: no server can be reached.
            ConnectionLost: no server can be reached any more after the request was lost, also not after a while.
        """
        if self._loss is None:
            self.limits.begin()
        servers = self._servers
        while True:
            try:
                return await self._choose()
            except CouldNotConnect as error:
                pause_s = self.pause_s(error, servers.loop.time())
            await asyncio.sleep(pause_s)

    @property
    def is_for_one(self) -> bool:
        """Whether they may go only to one server."""
        return self._only is not None

    def stay_with(self, link: Link) -> None:
        """Only the server of this connection, or another one of its cluster, comes into question from now on."""
        if self._only is None:
            server = self._servers.at(link.address)
            if not self._servers.is_one_cluster(server):
                self._only = server
                self.others = 0
            link.retire()

    async def _choose(self) -> Link:
        servers = self._servers
        if self._only is not None:
            return await servers.link_to(self._only, self.limits.deadline)
        if self._loss is not None:
            servers.refresh()
        for _ in range(MAX_CHOICES):
            link = servers.ready(self._key) or await servers.choose(self._key, self.limits.deadline)
            # A new connection may have told of more servers, and the key may be for one of those.
            if not servers.refresh() or not self._key:
                break
        self.others = len(servers.all) - 1
        return link

    def lost(self, link: Link, error: GearmanError, *, was_sent: bool = True) -> None:
        """The request was lost, and is to be sent again.

        was_sent: the server may have got it.

        Raises:
            GearmanError: `error` itself, if there is to be no other attempt.
        """
        if self.note(error, link.answers, self._servers.loop.time()):
            self._servers.suspect(link)
        elif isinstance(error, ServerEnding):
            link.retire()  # it would refuse the next job too


async def repeat(attempts: AsyncAttempts, ask: Callable[[Link], Awaitable[AnswerT]]) -> AnswerT:
    """Ask a server, and another one if the answer is lost: for requests that may arrive twice.

    Raises:
        ConnectionLost, CouldNotConnect, ProtocolError, Timeout: no server has answered.
    """
    while True:
        link = await attempts.next()
        try:
            return await ask(link)
        except LOSSES as error:
            attempts.lost(link, error)
