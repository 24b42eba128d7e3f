"""Helpers for the tests of the sample modules: a recording job, modules loaded by path, real HTTP and SMTP servers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

WORKERS = Path(__file__).parents[3] / "workers"
CERTIFICATE = Path(__file__).with_name("localhost.pem")


class RecordedJob:
    """A job with the interface that the modules use; their reports are kept in lists."""

    def __init__(self, workload: bytes, settings: Mapping[str, Any]) -> None:
        self.workload = workload
        self.settings = settings
        self.handle = "H:test:1"
        self.unique = "unique-1"
        self.function = "sample"
        self.attempt = 1
        self.log = logging.LoggerAdapter(logging.getLogger("sample"), {})
        self.statuses: list[tuple[int, int]] = []
        self.pieces: list[bytes] = []
        self.warnings: list[bytes] = []

    def json(self) -> Any:
        try:
            return json.loads(self.workload)
        except ValueError as error:
            raise ValueError(f"the workload is not JSON: {error}") from error

    def status(self, numerator: int, denominator: int) -> None:
        self.statuses.append((numerator, denominator))

    def data(self, data: bytes) -> None:
        self.pieces.append(data)

    def warning(self, data: bytes) -> None:
        self.warnings.append(data)


@pytest.fixture
def make_job() -> Callable[..., RecordedJob]:
    """A job for a workload (bytes, or a value to send as JSON) and settings."""

    def make(workload: Any, **settings: Any) -> RecordedJob:
        return RecordedJob(workload if isinstance(workload, bytes) else json.dumps(workload).encode(), settings)

    return make


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """A sample module, loaded by its path with the workers folder at the end of sys.path, as the manager does."""
    if str(WORKERS) not in sys.path:
        sys.path.append(str(WORKERS))

    def load_module(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"sample_{name}", WORKERS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look up their own module there.
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load_module


@pytest.fixture(scope="session")
def certificate() -> Path:
    """Key and certificate of `localhost`, signed by itself."""
    return CERTIFICATE


@pytest.fixture(scope="session")
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


Reply = Callable[[BaseHTTPRequestHandler], None]


def not_found(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


class Site:
    """A real HTTP server: a function for each path, and a list of the requests."""

    def __init__(self, address: str, tls: ssl.SSLContext | None) -> None:
        self.replies: dict[str, Reply] = {}
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.closing = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append((self.path, dict(self.headers)))
                # A client that has read enough closes the connection in the middle; some tests are about that.
                with contextlib.suppress(OSError):
                    site.replies.get(self.path, not_found)(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "http" if tls is None else "https"
        self.address = address
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, path: str = "/", host: str | None = None) -> str:
        return f"{self.scheme}://{host or self.address}:{self.port}{path}"

    def page(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        def reply(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.replies[path] = reply

    def redirect(self, path: str, target: str, status: int = 302) -> None:
        self.page(path, b"", status, Location=target)

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    """Starts web servers on addresses of 127.0.0.0/8."""
    with contextlib.ExitStack() as stack:

        def make(address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Site:
            site = Site(address, tls)
            stack.callback(site.close)
            return site

        yield make


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


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


@pytest.fixture
def make_mail_server() -> Iterator[Callable[..., MailServer]]:
    """Starts SMTP servers; `login=(user, password)` makes one that asks for a login."""
    with contextlib.ExitStack() as stack:

        def make(login: tuple[str, str] | None = None, **options: Any) -> MailServer:
            def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
                return AuthResult(success=(data.login.decode(), data.password.decode()) == login, handled=False)

            if login is not None:
                options |= {"authenticator": authenticate, "auth_required": True}
            server = MailServer(**options)
            stack.callback(server.close)
            return server

        yield make
