"""A real SMTP server for tests, and the envelopes that it received."""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import Any

from aiosmtpd.smtp import SMTP


class Mailbox:
    """The envelopes that a mail server received, and its number of connections. Refuses chosen recipients."""

    def __init__(self) -> None:
        self.envelopes: list[Any] = []
        self.connections: set[Any] = set()
        self.refused: dict[str, str] = {}
        self.data_reply = "250 OK"
        self.noop_reply = "250 OK"

    async def handle_RCPT(  # noqa: N802 (the name is aiosmtpd's)
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        self.connections.add(session.peer)
        return self.data_reply

    async def handle_NOOP(self, server: SMTP, session: Any, envelope: Any, argument: str) -> str:  # noqa: N802
        return self.noop_reply


class MailServer:
    """A real SMTP server on a free port, in an event loop of its own."""

    def __init__(self, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        self.mailbox = Mailbox()
        self.sessions: set[asyncio.Transport] = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(self._serve(tls, options), self.loop).result(10)
        self.port: int = self.server.sockets[0].getsockname()[1]

    async def _serve(self, tls: ssl.SSLContext | None, options: dict[str, Any]) -> asyncio.Server:
        sessions = self.sessions

        class Remembered(SMTP):
            def connection_made(self, transport: Any) -> None:
                sessions.add(transport)
                super().connection_made(transport)

        def session() -> SMTP:
            return Remembered(self.mailbox, hostname="mail.test", loop=self.loop, **options)

        return await self.loop.create_server(session, "127.0.0.1", 0, ssl=tls)

    def hang_up(self) -> None:
        """Close every connection, as a server does with clients that have long been silent."""

        async def close() -> None:
            for transport in self.sessions:
                transport.abort()

        asyncio.run_coroutine_threadsafe(close(), self.loop).result(10)

    def close(self) -> None:
        async def end() -> None:
            self.server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
