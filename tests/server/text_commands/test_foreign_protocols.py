"""Requests of other protocols on the Gearman port: they end the connection, and nothing that follows is carried out."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Callable

import pytest

from gearman_client.packet import REQUEST_MAGIC, PacketParser, PacketType, encode_request

from ..broker_harness import BrokerHarness
from ..server_process import ServerProcess

SUBMISSION = encode_request(PacketType.SUBMIT_JOB_BG, b"smuggled", b"", b"w")
COMMANDS = b"create function smuggled\nmaxqueue smuggled 1\nshutdown\n"
FIRST_LINES = [
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:4730\r\nContent-Type: text/plain\r\n\r\n",
    b"GET /a%20path?with=query HTTP/1.1\r\n",
    b"PUT /f HTTP/1.0\n",
    b"DELETE http://example.com/ HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT 127.0.0.1:4730 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"BREW pot HTTP/1.1\r\n",
    b"post / http/1.1\r\n",
    b"GET  /  HTTP/1.1 \r\n",
    b"GET\t/\tHTTP/1.1\r\n",
    b"GET /a b c d e f g HTTP/1.1\r\n",
    b"GET /\r\n",
    b" GET / HTTP/1.1\r\n",
    b"\rGET / HTTP/1.1\r\n",
    b"\xef\xbb\xbfGET / HTTP/1.1\r\n",
    b"BREW / HTTP/1.1\rstatus\n",
    b"set key 0 0 20\r\n",
    b"put 0 0 60 20\r\n",
    b"GET /\0 HTTP/1.1\r\n",
    b"status / HTTP/1.1\r\n",
    b"version http://127.0.0.1:4730/ HTTP/1.1\r\n",
    b"Host: 127.0.0.1:4730\r\n",
    b"OPTIONS rtsp://127.0.0.1 RTSP/1.0\r\n",
    b"EHLO mail.example.com\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"CLIENT libcurl 8.5\r\n",
    b'{"method": "x"}\n',
    b"<34>1 2026-01-01T00:00:00Z host app - - - text\n",
]


@pytest.mark.parametrize("follows", [SUBMISSION, COMMANDS], ids=["packet", "lines"])
@pytest.mark.parametrize("first", FIRST_LINES)
def test_nothing_after_another_protocols_line_is_carried_out(
    broker: BrokerHarness, first: bytes, follows: bytes
) -> None:
    peer = broker.peer()
    parser = PacketParser(REQUEST_MAGIC, accepts_text=True)
    broker.broker.receive(peer.session, parser.feed(first + b"version\n" + follows), broker.now)
    assert peer.session.ending is not None
    assert b"OK" not in b"".join(peer.session.out)
    assert broker.peer().text(b"status") == b".\n"


@pytest.mark.parametrize(
    "line",
    [b"drop function a/1", b"maxqueue HTTP/1.1 5", b"jobs list function=/a", b"post", b"GET", b"get status", b"a/b c"],
)
def test_a_command_about_a_name_with_a_slash_is_no_foreign_line(broker: BrokerHarness, line: bytes) -> None:
    peer = broker.peer()
    assert peer.text(line) != b""
    assert peer.session.ending is None


@pytest.mark.parametrize("together", [True, False], ids=["one-write", "line-by-line"])
def test_http_on_the_gearman_port_is_answered_with_400_closed_logged_and_counted(
    start_server: Callable[..., ServerProcess], together: bool
) -> None:
    server = start_server("--metrics-listen", "127.0.0.1:0", "--verbose", "WARNING")
    peer = server.peer()
    request = [b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n\r\n", COMMANDS, SUBMISSION]
    if together:
        peer.socket.sendall(b"".join(request))
        answer = peer.read_to_end()
    else:
        peer.socket.sendall(request[0])
        answer = peer.socket.recv(65536)
        peer.socket.sendall(b"".join(request[1:]))
        answer += peer.read_to_end()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert answer.endswith(b"not of HTTP\n")
    assert "it speaks HTTP on a port of the Gearman protocol: POST / HTTP/1.1" in server.wait_for_log("127.0.0.1:")
    assert server.text(b"status") == b".\n"
    with urllib.request.urlopen(f"http://{server.announced['metrics'][0]}/metrics", timeout=20) as page:
        assert b"\ngearman_foreign_requests_total 1.0\n" in page.read()


def test_a_tls_handshake_on_the_plain_port_ends_at_once(server: ServerProcess) -> None:
    peer = server.peer()
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    peer.socket.sendall(outgoing.read() + b"\ncreate function smuggled\n")
    assert b"a TLS handshake" in peer.read_to_end()
    assert server.text(b"status") == b".\n"


def test_the_rest_of_a_long_request_is_not_read(server: ServerProcess) -> None:
    peer = server.peer()
    request = b"POST / HTTP/1.1\r\n" + COMMANDS * 1_000_000
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        peer.socket.sendall(request)
    assert server.text(b"status") == b".\n"
