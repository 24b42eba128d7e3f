"""Requests that two programs could read in two ways, that never end, or that a foreign web page sends."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearman_client.packet import PacketType

from ..server_process import ServerProcess

DEADLINE_S = 20
BACKGROUND = b"X-Gearman-Background: true\r\n"
POST = b"POST /f HTTP/1.1\r\nHost: localhost\r\n" + BACKGROUND
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n" + BACKGROUND + b"\r\n"


@pytest.fixture
def web(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server with an HTTP port."""
    return start_server("-r", "http", "--http-port", "0", "--verbose", "INFO")


@pytest.fixture(scope="module")
def refusing() -> Iterator[ServerProcess]:
    """A server with an HTTP port, for all requests that leave nothing behind."""
    server = ServerProcess("-r", "http", "--http-port", "0", "--verbose", "INFO")
    yield server
    server.stop()


def connect(server: ServerProcess, purpose: str = "http") -> socket.socket:
    port = int(server.announced[purpose][0].rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)


def ask(server: ServerProcess, request: bytes, purpose: str = "http") -> bytes:
    """All that the server answers, until it closes."""
    with connect(server, purpose) as stream:
        stream.sendall(request)
        stream.shutdown(socket.SHUT_WR)
        answer = b""
        while data := stream.recv(65536):
            answer += data
    return answer


def jobs(server: ServerProcess) -> bytes:
    return server.text(b"status")


HEADERS = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "both lengths the other way": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "form feed": b"Transfer-Encoding: \x0cchunked\r\n",
    "no-break space": b"Transfer-Encoding: \xa0chunked\r\n",
    "quotes": b'Transfer-Encoding: "chunked"\r\n',
    "two codings": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "two headers": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "identity": b"Transfer-Encoding: identity\r\nContent-Length: 4\r\n",
    "empty coding": b"Transfer-Encoding:\r\nContent-Length: 4\r\n",
    "blank before the colon": b"Content-Length : 4\r\n",
    "tab before the colon": b"Transfer-Encoding\t: chunked\r\n",
    "blank before the name": b" Content-Length: 4\r\n",
    "plus": b"Content-Length: +4\r\n",
    "minus": b"Content-Length: -0\r\n",
    "underscore": b"Content-Length: 1_0\r\n",
    "hexadecimal": b"Content-Length: 0x4\r\n",
    "arabic digits": "Content-Length: ٤\r\n".encode(),
    "no digits": b"Content-Length:\r\n",
    "very long": b"Content-Length: " + b"9" * 400 + b"\r\n",
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n",
    "two lengths in one": b"Content-Length: 4, 5\r\n",
    "folded": b"Content-Length: 4\r\nX-Gearman-Unique: a\r\n b\r\n",
    "folded with a tab": b"Content-Length: 4\r\nX-Gearman-Unique: a\r\n\tb\r\n",
    "folded coding": b"Transfer-Encoding:\r\n chunked\r\n",
    "bare line feed": b"Content-Length: 4\nX-A: b\r\n",
    "bare carriage return": b"Content-Length: 4\r\nX-A: b\rX-B: c\r\n",
    "zero byte": b"Content-Length: 4\r\nX-Gearman-Unique: a\0b\r\n",
    "control character": b"Content-Length: 4\r\nX-Gearman-Unique: a\x01b\r\n",
    "no colon": b"Content-Length: 4\r\nX-A\r\n",
    "no name": b"Content-Length: 4\r\n: b\r\n",
    "name in brackets": b"Content-Length: 4\r\n[X]: b\r\n",
    "blank in a quoted name": b'Content-Length: 4\r\n"X Y: b"\r\n',
    "two unique keys": b"Content-Length: 4\r\nX-Gearman-Unique: a\r\nX-Gearman-Unique: b\r\n",
    "two hosts": b"Content-Length: 4\r\nHost: localhost\r\n",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_follows_it(
    refusing: ServerProcess, header: bytes
) -> None:
    answer = ask(refusing, POST + header + b"\r\n" + b"4\r\nabcd\r\n0\r\n\r\n" + SMUGGLED)
    assert re.match(rb"HTTP/1\.1 (400|501) ", answer), answer
    assert answer.count(b"\r\nDate: ") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert jobs(refusing) == b".\n"


LINES = [
    b"POST /f HTTP/1.1\nHost: localhost\n\n",
    b"POST  /f HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST\t/f\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /f HTTP/1.1 \r\nHost: localhost\r\n\r\n",
    b"POST /f\x0b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /f\xa0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"P@ST /f HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /f HTTP/1.+1\r\nHost: localhost\r\n\r\n",
    b"POST /f HTTP/2.0\r\nHost: localhost\r\n\r\n",
    b"POST /f http/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /f HTTP/1.1\r\n\r\n",
    b" POST /f HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\0REQ\0\0\0\x12\0\0\0\x04f\0\0w\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("line", LINES)
def test_a_request_line_that_is_none_is_refused(refusing: ServerProcess, line: bytes) -> None:
    answer = ask(refusing, line + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"\r\nDate: ") == 1
    assert jobs(refusing) == b".\n"


CHUNKS = {
    "no size": b"\r\nabcd\r\n0\r\n\r\n",
    "sign": b"+4\r\nabcd\r\n0\r\n\r\n",
    "prefix": b"0x4\r\nabcd\r\n0\r\n\r\n",
    "underscore": b"0_4\r\nabcd\r\n0\r\n\r\n",
    "too long": b"4" * 40 + b"\r\nabcd\r\n0\r\n\r\n",
    "negative": b"-1\r\nabcd\r\n0\r\n\r\n",
    "line feed alone": b"4\nabcd\n0\n\n",
    "more than its size": b"4\r\nabcdef\r\n0\r\n\r\n",
    "endless extension": b"4;" + b"a" * 70_000 + b"\r\nabcd\r\n0\r\n\r\n",
    "endless trailer": b"4\r\nabcd\r\n0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    "a trailer that is none": b"4\r\nabcd\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    "cut off": b"4\r\nab",
    "without an end": b"4\r\nabcd\r\n",
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
def test_malformed_chunks_are_refused(refusing: ServerProcess, chunks: bytes) -> None:
    answer = ask(refusing, CHUNKED + b"\r\n" + chunks + (SMUGGLED if chunks.endswith(b"\n\r\n") else b""))
    assert re.match(rb"HTTP/1\.1 (400|431) ", answer), answer
    assert answer.count(b"\r\nDate: ") == 1
    assert jobs(refusing) == b".\n"


def test_extensions_and_trailers_of_chunks_are_left_out_and_the_next_request_follows(web: ServerProcess) -> None:
    chunks = b'\r\n2;name="value"\r\nab\r\n002\r\ncd\r\n0;last\r\nX-Gearman-Unique: other\r\n\r\n'
    answer = ask(web, CHUNKED + chunks + POST.replace(b"/f", b"/g") + b"Content-Length: 0\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"\r\nDate: ") == 2
    worker = web.peer()
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.GRAB_JOB_UNIQ)[1].split(b"\0")[1:] == [b"f", b"-", b"abcd"]
    assert jobs(web).startswith(b"f\t1\t1\t1\ng\t1\t0\t0\n")


def test_a_header_in_quotes_is_left_out(web: ServerProcess) -> None:
    headers = b'"X-Gearman-Unique: a"\r\n"Transfer-Encoding: chunked"\r\nConnection: close\r\n"Content-Length: 9"\r\n'
    answer = ask(web, POST + headers + b"Content-Length: 4\r\n\r\nabcd")
    assert answer.startswith(b"HTTP/1.1 200 ")
    worker = web.peer()
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.GRAB_JOB_UNIQ)[1].split(b"\0")[1:] == [b"f", b"-", b"abcd"]


def test_http_1_0_has_no_chunks(refusing: ServerProcess) -> None:
    request = b"POST /f HTTP/1.0\r\n" + BACKGROUND + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
    assert ask(refusing, request + SMUGGLED).startswith(b"HTTP/1.0 400 ")
    assert jobs(refusing) == b".\n"


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n"], ids=["", "keep-alive"])
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"HEAD / HTTP/1.0\r\n%b\r\n", 200),
        (b"GET / HTTP/1.0\r\n%b\r\n", 404),
        (b"DELETE /f HTTP/1.0\r\n%b\r\n", 404),
        (b"PATCH /f HTTP/1.0\r\n%b\r\n", 405),
        (b"GET /f HTTP/1.0\r\nbad header\r\n%b\r\n", 400),
    ],
)
def test_http_1_0_is_answered_in_its_version_and_closed(
    refusing: ServerProcess, request_bytes: bytes, status: int, more: bytes
) -> None:
    with connect(refusing) as stream:
        stream.sendall(request_bytes % more)
        answer = b""
        while data := stream.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.0 %d " % status)
    assert b"\r\nConnection: close\r\n" in answer


# --- peers that don't end


def trickle(streams: list[socket.socket], piece: bytes, deadline_s: float) -> None:
    """Send a piece on each stream every half a second until the server has answered or closed it."""
    waiting, end = set(streams), time.monotonic() + deadline_s
    while waiting:
        assert time.monotonic() < end, f"{len(waiting)} connections are still open"
        ready = select.select(list(waiting), [], [], 0.5)[0]
        waiting -= set(ready)
        for stream in waiting:
            stream.sendall(piece)


def test_a_body_or_headers_that_trickle_are_ended_with_408_and_others_are_served_meanwhile(
    refusing: ServerProcess,
) -> None:
    bodies = [connect(refusing) for _ in range(20)]
    for stream in bodies[:10]:
        stream.sendall(POST + b"Content-Length: 1000\r\n\r\n")
    for stream in bodies[10:]:
        stream.sendall(CHUNKED + b"\r\nffff\r\n")
    heads = [connect(refusing) for _ in range(10)]
    for stream in heads:
        stream.sendall(POST + b"X: ")
    trickle([*bodies, *heads], b"x", 25)
    for stream in [*bodies, *heads]:
        assert stream.recv(65536).startswith(b"HTTP/1.1 408 ")
        stream.close()
    assert jobs(refusing) == b".\n"


def test_a_thousand_unfinished_requests_do_not_keep_others_out(web: ServerProcess) -> None:
    streams = []
    try:
        for number in range(1010):
            streams.append(connect(web))
            streams[-1].sendall(POST + b"Content-Length: 1000\r\n\r\nx" if number % 2 else POST)
        assert ask(web, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    finally:
        for stream in streams:
            stream.close()


def rss_bytes(server: ServerProcess) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def test_half_sent_bodies_of_all_connections_together_have_a_bound(web: ServerProcess) -> None:
    size = 100_000_000
    before, half = rss_bytes(web), bytes(size // 2)
    streams = [connect(web) for _ in range(8)]
    refused = 0
    for stream in streams:
        stream.sendall(POST + b"Content-Length: %d\r\n\r\n" % size)
        try:
            stream.sendall(half)
        except OSError:
            refused += 1
    # One body may be larger than the 64 MiB that all others share.
    assert rss_bytes(web) - before < 64 * 2**20 + size
    small = POST.replace(b"/f", b"/small") + b"Content-Length: 1000\r\n\r\n" + bytes(1000)
    assert ask(web, small).startswith(b"HTTP/1.1 200 ")
    answers = [stream for stream in streams if select.select([stream], [], [], 0)[0]]
    assert len(answers) >= 6
    for stream in streams:
        stream.close()
    assert jobs(web).startswith(b"small\t1\t")


def test_a_large_body_is_one_job(web: ServerProcess) -> None:
    workload = bytes(range(256)) * 400_000
    answer = ask(web, POST + b"Content-Length: %d\r\n\r\n" % len(workload) + workload)
    assert answer.startswith(b"HTTP/1.1 200 ")
    worker = web.peer()
    worker.send(PacketType.CAN_DO, b"f")
    assert worker.ask(PacketType.GRAB_JOB)[1].split(b"\0", 2)[2] == workload


def test_tiny_chunks_keep_nobody_waiting(web: ServerProcess) -> None:
    other, waited_s = web.peer(), []
    with connect(web) as stream:
        stream.sendall(CHUNKED + b"\r\n")
        stream.setblocking(False)
        flood, end = b"1\r\na\r\n" * 20_000, time.monotonic() + 1.5
        while time.monotonic() < end:
            if select.select([], [stream], [], 0)[1]:
                stream.send(flood)
            started = time.monotonic()
            other.text(b"version")
            waited_s.append(time.monotonic() - started)
    assert sorted(waited_s)[len(waited_s) // 2] < 0.015


# --- web pages


def page_request(method: bytes = b"POST", host: bytes = b"127.0.0.1:8080", **headers: bytes) -> bytes:
    lines = [b"%s /f HTTP/1.1" % method, b"Host: " + host, b"X-Gearman-Background: true", b"Content-Length: 0"]
    lines += [name.replace("_", "-").encode() + b": " + value for name, value in headers.items()]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


@pytest.mark.parametrize(
    "request_bytes",
    [
        page_request(Origin=b"http://evil.example"),
        page_request(Origin=b"http://evil.example", Content_Type=b"text/plain"),
        page_request(Origin=b"null"),
        page_request(Origin=b"http://localhost:3000"),
        page_request(Origin=b"http://127.0.0.1"),
        page_request(Origin=b"http://127.0.0.1:8080@evil.example"),
        page_request(Origin=b"http://127.0.0.1:8080.evil.example"),
        page_request(Origin=b"127.0.0.1:8080"),
        page_request(Origin=b""),
        page_request(b"GET", Referer=b"http://evil.example/page"),
        page_request(b"GET", Sec_Fetch_Site=b"cross-site"),
        page_request(b"GET", Sec_Fetch_Site=b"same-site"),
        page_request(host=b"evil.example"),
        page_request(host=b"evil.example:8080", Origin=b"http://evil.example:8080"),
        page_request(host=b"localhost.evil.example"),
        page_request(host=b"127.0.0.1.evil.example"),
        page_request(host=b"localhost@evil.example"),
        page_request(host=b"localhost:evil.example"),
        page_request(host=b"0x7f.1"),
        page_request(host=b""),
        b"POST http://evil.example/f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ],
)
def test_a_foreign_web_page_submits_no_job(refusing: ServerProcess, request_bytes: bytes) -> None:
    answer = ask(refusing, request_bytes)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"--http-allow-host NAME" in answer
    assert b"Access-Control" not in answer
    assert jobs(refusing) == b".\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        page_request(),
        page_request(host=b"localhost:8080"),
        page_request(host=b"LOCALHOST."),
        page_request(host=b"jobs.localhost"),
        page_request(host=b"[::1]:8080"),
        page_request(host=b"192.0.2.1"),
        page_request(host=socket.gethostname().encode()),
        page_request(host=b"localhost:8080", Origin=b"http://localhost:8080"),
        page_request(b"GET", Sec_Fetch_Site=b"none"),
        page_request(b"GET", Sec_Fetch_Site=b"same-origin"),
        b"GET /f HTTP/1.0\r\nX-Gearman-Background: true\r\n\r\n",
        page_request(b"GET").replace(b"/f", b"http://localhost/f"),
    ],
)
def test_other_programs_and_the_servers_own_names_may(web: ServerProcess, request_bytes: bytes) -> None:
    assert ask(web, request_bytes)[8:].startswith(b" 200 ")
    assert jobs(web) == b"f\t1\t0\t0\n.\n"


def test_names_can_be_allowed(start_server: Callable[..., ServerProcess]) -> None:
    names = ("--http-allow-host", "Jobs.example.com", "--http-allow-host", "app.example.com")
    server = start_server("-r", "http", "--http-port", "0", *names)
    for allowed in (
        page_request(host=b"jobs.example.com:8080"),
        page_request(Origin=b"https://app.example.com"),
        page_request(b"GET", Referer=b"https://app.example.com/page", Sec_Fetch_Site=b"cross-site"),
    ):
        assert ask(server, allowed).startswith(b"HTTP/1.1 200 ")
    for refused in (page_request(host=b"example.com"), page_request(Origin=b"https://evil.example.com")):
        assert ask(server, refused).startswith(b"HTTP/1.1 403 ")
    everybody = start_server("-r", "http", "--http-port", "0", "--http-allow-host", "*")
    assert ask(everybody, page_request(host=b"evil.example", Origin=b"null")).startswith(b"HTTP/1.1 200 ")


def test_a_page_cannot_read_results_under_a_name_of_its_own(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--metrics-listen", "127.0.0.1:0")
    for path in (b"/metrics", b"/jobs/H:x:1", b"/healthz"):
        request = b"GET %s HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n" % path
        assert ask(server, request, "metrics").startswith(b"HTTP/1.1 403 ")


def test_the_log_names_a_foreign_page_and_its_peer(web: ServerProcess) -> None:
    ask(web, page_request(Origin=b"http://evil.example"))
    line = web.wait_for_log("refused, pages of http://evil.example may not use this server")
    assert "WARNING" in line
    assert "HTTP connection 127.0.0.1:" in line


def test_the_option_takes_names_only(run_command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    refused = run_command("-p", "0", "--http-allow-host", "http://jobs.example.com")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "write only a name" in refused.stderr
