"""A question to a peer, which may be anything: slow, silent, huge, hostile, or somebody else."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gevent
import pytest

from gearman_manager.peers.asking import MAX_BYTES, NoAnswer, ask
from gearman_manager.peers.summary import MOST_CHARACTERS, MOST_SERVERS, MOST_TROUBLES, read_summary, summary_of

from ...certificates import Certificates

SERVER = {"address": "b:4730", "up": True, "trouble": "", "version": "0.1.0", "store": "sqlite", "connections": 3}
SUMMARY: dict[str, Any] = {
    "name": "b",
    "pid": 7,
    "since": 1.5,
    "version": "0.1.0",
    "well": True,
    "text": "all is well",
    "troubles": [],
    "pools": 1,
    "workers": 2,
    "busy": 1,
    "queued": 3,
    "running": 1,
    "servers": [SERVER],
}
Serve = Callable[[socket.socket], None]


@contextmanager
def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that treats each connection so, once its request has come; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                connections.append(connection)
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                connection.recv(65536)
                serve(connection)
                connection.close()
            except ssl.SSLError:
                continue
            except OSError:
                if listener.fileno() < 0:
                    return

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join()


def answering(head: str, body: bytes = b"") -> Serve:
    return lambda connection: connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)


def as_json(told: Any) -> Serve:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return answering(f"HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: {len(body)}", body)


def drip(connection: socket.socket) -> None:
    """Byte after byte, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    with suppress(OSError):
        while True:
            connection.sendall(b" ")
            threading.Event().wait(0.02)


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    with suppress(OSError):
        while True:
            connection.sendall(b" " * 65536)


def crumbs(connection: socket.socket) -> None:
    """As many small pieces as there can be."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    with suppress(OSError):
        while True:
            connection.sendall(b"1\r\n \r\n" * 10_000)


def interim(connection: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@pytest.mark.parametrize("serve", [crumbs, interim, flood])
def test_no_answer_holds_the_others_up(serve: Serve) -> None:
    longest_s = 0.0

    def tick() -> None:
        nonlocal longest_s
        while True:
            began = time.thread_time()
            gevent.sleep(0)
            longest_s = max(longest_s, time.thread_time() - began)

    with serving(serve) as port:
        ticking = gevent.spawn(tick)
        with pytest.raises(NoAnswer, match="more than"):
            ask(f"http://127.0.0.1:{port}", "token", None, timeout_s=30)
        ticking.kill()
    assert longest_s < 0.1


def test_a_peers_summary_is_read() -> None:
    with serving(as_json(SUMMARY)) as port:
        assert ask(f"http://127.0.0.1:{port}", "token", None) == SUMMARY


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (answering("HTTP/1.1 302 Found\nLocation: http://127.0.0.1:1/\nContent-Length: 0"), "redirects (302)"),
        (answering("HTTP/1.1 401 Unauthorized\nContent-Length: 0"), "refuses the token (401)"),
        (answering("HTTP/1.1 404 Not Found\nContent-Length: 0"), "it answers 404"),
        (answering("HTTP/1.1 200 OK\nContent-Type: text/html\nContent-Length: 2", b"hi"), "not with JSON"),
        (as_json(b"{"), "no summary of a manager"),
        (as_json(b"[" * 100_000), "no summary of a manager"),
        (as_json(b"\xff\xfe"), "no summary of a manager"),
        (as_json([1]), "it is no object"),
        (as_json({**SUMMARY, "name": 3}), "name is no text"),
        (as_json({**SUMMARY, "since": "x"}), "since is no number"),
        (as_json(json.dumps({**SUMMARY, "since": float("nan")}).encode()), "since is no number"),
        (as_json({**SUMMARY, "workers": -1}), "workers is no number"),
        (as_json({**SUMMARY, "well": "yes"}), "well is neither true nor false"),
        (as_json({**SUMMARY, "servers": [3]}), "a server in it is no object"),
        (answering("SSH-2.0-OpenSSH_9.2"), "no proper HTTP"),
        (answering("HTTP/1.1 200 OK\n" + "A: " + "b" * 100_000), "no proper HTTP"),
        (answering("HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: 9", b"{}"), "no proper HTTP"),
        (lambda connection: None, "no proper HTTP"),
        (flood, f"more than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_no_proper_answer_is_refused_with_the_reason(serve: Serve, reason: str) -> None:
    with serving(serve) as port, pytest.raises(NoAnswer) as refused:
        ask(f"http://127.0.0.1:{port}/prefix", "token", None)
    assert reason in str(refused.value)


@pytest.mark.parametrize("serve", [drip, lambda connection: threading.Event().wait(1)], ids=["dripping", "silent"])
def test_a_slow_peer_is_given_up(serve: Serve) -> None:
    began = time.monotonic()
    with serving(serve) as port:
        with pytest.raises(NoAnswer, match=r"no answer within 0\.3 s"):
            ask(f"http://127.0.0.1:{port}", "token", None, timeout_s=0.3)
        assert time.monotonic() - began < 3


def test_nobody_there_and_a_name_that_there_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(NoAnswer, match="refused"):
        ask(f"http://127.0.0.1:{port}", "token", None)
    with pytest.raises(NoAnswer):
        ask("http://no-such-host.invalid", "token", None)


def test_certificates_are_checked(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.server, certificates.key(certificates.server))
    with serving(as_json(SUMMARY), tls) as port:
        assert ask(f"https://localhost:{port}", "token", str(certificates.ca)) == SUMMARY
        with pytest.raises(NoAnswer, match="certificate"):
            ask(f"https://localhost:{port}", "token", None)
        with pytest.raises(NoAnswer, match="certificate"):
            ask(f"https://127.0.0.1:{port}", "token", str(certificates.ca))  # it is for localhost


def test_long_texts_and_lists_are_cut() -> None:
    told = {**SUMMARY, "text": "x" * 5000, "troubles": ["y" * 5000] * 100, "servers": [SERVER] * 500, "more": "z"}
    read = read_summary(json.dumps(told).encode())
    assert (len(read["text"]), len(read["troubles"]), len(read["servers"])) == (
        MOST_CHARACTERS + 1,
        MOST_TROUBLES,
        MOST_SERVERS,
    )
    assert "more" not in read


def test_an_overview_in_few_words_can_be_read_by_a_peer() -> None:
    overview = {
        "manager": {"name": "a", "pid": 1, "since": 2.0},
        "well": False,
        "text": "not well",
        "troubles": [{"kind": "pool", "subject": "mail", "text": "failing"}],
        "pools": [{"workers": [1, 2], "busy": 1, "queued": 2, "running": 3}] * 2,
        "servers": [{"address": "a:1", "up": None, "trouble": ""}, {"address": "b:2", "up": True, "trouble": "x"}],
    }
    summary = summary_of(overview, "0.1.0", {"b:2": {"version": "1.1.19", "store": None, "connections": 4}})
    assert summary["troubles"] == ["pool mail: failing"]
    assert [summary[name] for name in ("pools", "workers", "busy", "queued", "running")] == [2, 4, 2, 4, 6]
    assert [server["version"] for server in summary["servers"]] == [None, "1.1.19"]
    assert read_summary(json.dumps(summary).encode()) == summary
