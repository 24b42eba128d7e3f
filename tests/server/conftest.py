"""Fixtures for the job server's tests: a broker without sockets, server processes, TLS and Unix peers."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearman_server.broker_settings import BrokerSettings
from gearman_server.jobs.access import EVERYBODY
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.store import MemoryStore, Store

from .. import warm
from ..certificates import Certificates
from .broker_harness import BatchStore, BrokerHarness, DurableBroker
from .server_process import ServerProcess
from .stream_peer import DEADLINE_S, StreamPeer


@pytest.fixture
def make_broker() -> Callable[..., BrokerHarness]:
    """Makes brokers: `make_broker(job_retries=2)`, `make_broker(store=...)`."""

    def make(store: Store | None = None, **settings: Any) -> BrokerHarness:
        return BrokerHarness(_broker_settings(**settings), store if store is not None else MemoryStore())

    return make


def _broker_settings(**settings: Any) -> BrokerSettings:
    settings.setdefault("handle_prefix", b"H:test")
    settings.setdefault("admin_allow", EVERYBODY)
    settings.setdefault("grab_patience_s", 0.0)  # the clock stands still
    return BrokerSettings(**settings)


@pytest.fixture
def batch_store() -> BatchStore:
    """A durable store that commits when the test says so."""
    return BatchStore()


@pytest.fixture
def durable(batch_store: BatchStore) -> DurableBroker:
    """A broker over `batch_store`, with default settings otherwise."""
    return DurableBroker(_broker_settings(), batch_store)


@pytest.fixture
def broker(make_broker: Callable[..., BrokerHarness]) -> BrokerHarness:
    """A broker with default settings; its first handle is H:test:1."""
    return make_broker()


@pytest.fixture
def broker_with(make_broker: Callable[..., BrokerHarness]) -> Callable[..., BrokerHarness]:
    """Makes brokers whose function `f` has a policy: `broker_with(retries=2)`, `broker_with(store=..., rate=...)`."""

    def make(store: Store | None = None, job_retries: int | None = None, **policy: Any) -> BrokerHarness:
        broker = make_broker(store=store, job_retries=job_retries)
        broker.broker.use_policies({b"f": FunctionPolicy(**policy)})
        return broker

    return make


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts real servers: `start_server("--job-retries", "2", LANG="C")`. They are stopped after the test."""
    servers: list[ServerProcess] = []

    def start(*options: str, **environment: str) -> ServerProcess:
        server = ServerProcess(*options, **environment)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """One real server."""
    return start_server()


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    """So many different ports that were free a moment ago."""

    def find(count: int) -> list[int]:
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [int(probe.getsockname()[1]) for probe in probes]
        for probe in probes:
            probe.close()
        return ports

    return find


@pytest.fixture
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `gearman-server` with these options until it ends."""

    def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        if not environment:
            return warm.run("gearman_server", options, DEADLINE_S)
        return subprocess.run(
            [sys.executable, "-m", "gearman_server", *options],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={**os.environ, **environment},
            check=False,
        )

    return run


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits for a condition that no event announces."""

    def wait(condition: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.005)

    return wait


@pytest.fixture
def tls_options(certificates: Certificates) -> list[str]:
    """The options that name the server's certificate and key."""
    return [
        *("--ssl-certificate", str(certificates.server)),
        *("--ssl-key", str(certificates.key(certificates.server))),
    ]


@pytest.fixture
def connect_tls(certificates: Certificates) -> Iterator[Callable[..., StreamPeer]]:
    """Connects by TLS, checking the server's certificate: `connect_tls(port)`, `connect_tls(port, certificate=...)`."""
    opened = []

    def connect(port: int, certificate: Path | None = None, version: ssl.TLSVersion | None = None) -> StreamPeer:
        context = ssl.create_default_context(cafile=str(certificates.ca))
        if certificate is not None:
            context.load_cert_chain(certificate, certificates.key(certificate))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        stream = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        opened.append(stream)
        opened.append(context.wrap_socket(stream, server_hostname="localhost"))
        return StreamPeer(opened[-1])

    yield connect
    for stream in opened:
        stream.close()


@pytest.fixture
def connect_unix() -> Iterator[Callable[[str], StreamPeer]]:
    """Connects to a Unix socket."""
    opened = []

    def connect(path: str) -> StreamPeer:
        stream = socket.socket(socket.AF_UNIX)
        opened.append(stream)
        stream.settimeout(DEADLINE_S)
        stream.connect(path)
        return StreamPeer(stream)

    yield connect
    for stream in opened:
        stream.close()
