"""Helpers for the tests of the sample modules: a recording job, modules loaded by path, real HTTP and SMTP servers."""

from __future__ import annotations

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
from aiosmtpd.smtp import AuthResult

from ...mail_server import MailServer

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
