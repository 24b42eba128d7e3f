"""The control API on a TCP address: a request with the token may do everything, any other request nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import select
import socket
import time

import pytest

from .conftest import RunningManager, eventually

TOKEN = "0123456789abcdef"
CONTROL = "pools: {nap: {functions: [nap], min: 1, max: 1}}\ncontrol: {listen: 127.0.0.1:0, token_file: token}\n"


@pytest.fixture
def port(napping: RunningManager) -> int:
    """The port of a running manager that serves the API to requests with TOKEN."""
    (napping.folder / "token").write_text(TOKEN + "\n")
    napping.start(CONTROL)
    found = re.search(r"control API on 127.0.0.1:(\d+) too", napping.log())
    assert found is not None
    return int(found[1])


def ask(port: int, method: str, resource: str, token: str | None = TOKEN, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    connection.request(method, f"/api/v1{resource}", headers=headers)
    response = connection.getresponse()
    content = response.read()
    assert response.getheader("Access-Control-Allow-Origin") is None
    connection.close()
    return response.status, content


def test_with_the_token_the_port_serves_the_api_of_the_control_socket(napping: RunningManager, port: int) -> None:
    status, content = ask(port, "GET", "/status")
    assert (status, json.loads(content)["supervisor"]) == (200, napping.status()["supervisor"])
    assert ask(port, "POST", "/pools/nap/pause")[0] == 202
    assert napping.status()["pools"]["nap"]["paused"]


def test_without_the_token_every_request_is_refused(napping: RunningManager, port: int) -> None:
    for token in (None, "", "0123456789abcdeF", TOKEN + "0", TOKEN[:-1], "\xe9" * 16):
        assert ask(port, "GET", "/status", token)[0] == 401
        assert ask(port, "POST", "/stop", token)[0] == 401
    assert "token" in json.loads(ask(port, "GET", "/nope", None)[1])["detail"]
    assert ask(port, "GET", "/status")[0] == 200
    assert TOKEN not in napping.log()


def test_a_web_page_in_a_browser_is_refused_under_any_host_name(napping: RunningManager, port: int) -> None:
    page = {"Origin": "http://evil.example", "Host": f"evil.example:{port}", "Content-Type": "text/plain"}
    assert ask(port, "POST", "/stop", None, **page)[0] == 403
    preflight = {**page, "Access-Control-Request-Headers": "authorization", "Access-Control-Request-Method": "POST"}
    assert ask(port, "OPTIONS", "/stop", None, **preflight)[0] == 403
    assert napping.status()["pools"]["nap"]["workers"]


def test_silent_connections_without_the_token_are_limited_and_do_not_keep_the_operator_out(
    napping: RunningManager, port: int
) -> None:
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(50)]
    assert napping.status()["pools"]["nap"]["workers"]  # the Unix socket has a limit of its own
    for connection in silent:
        connection.close()
    assert ask(port, "GET", "/status")[0] == 200


def until_answered(streams: list[socket.socket], piece: bytes, deadline_s: float) -> list[bytes]:
    """Send a piece on each stream every half a second until the manager has answered it; the answers."""
    answers, waiting, end = [], set(streams), time.monotonic() + deadline_s
    while waiting:
        assert time.monotonic() < end, f"{len(waiting)} connections are still open"
        for stream in select.select(list(waiting), [], [], 0.5)[0]:
            waiting.discard(stream)
            with contextlib.suppress(ConnectionResetError):
                answers.append(stream.recv(65536))
        for stream in waiting:
            with contextlib.suppress(OSError):
                stream.sendall(piece)
    return answers


@pytest.mark.parametrize(
    ("start", "piece"),
    [(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"), (b"G", b"E")],
    ids=["headers", "request-line"],
)
def test_requests_that_trickle_neither_keep_the_operator_out_nor_stay(
    napping: RunningManager, port: int, start: bytes, piece: bytes
) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(40)]
    for stream in slow:
        stream.sendall(start)
    for _ in range(3):
        assert ask(port, "GET", "/status")[0] == 200
    answers = until_answered(slow, piece, 15)
    assert any(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    for stream in slow:
        stream.close()


def test_a_body_with_the_token_that_trickles_is_ended(napping: RunningManager, port: int) -> None:
    headers = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 99999\r\n"
    head = f"POST /api/v1/pools/nap/scale HTTP/1.1\r\n{headers}\r\n"
    slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(40)]
    for stream in slow:
        stream.sendall(head.encode())
    assert ask(port, "GET", "/status")[0] == 200
    answers = until_answered(slow, b" ", 25)
    assert any(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    for stream in slow:
        stream.close()


def test_peers_that_keep_their_connection_after_a_refusal_keep_nobody_out(napping: RunningManager, port: int) -> None:
    refused = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(40)]
    for stream in refused:
        stream.sendall(
            b"POST /api/v1/stop HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nContent-Length: 9999\r\n\r\n"
        )
    assert ask(port, "GET", "/status")[0] == 200
    for stream in refused:
        stream.close()


def test_wrong_tokens_are_logged_with_their_address_and_number_and_not_one_by_one(
    napping: RunningManager, port: int
) -> None:
    for _ in range(50):
        assert ask(port, "GET", "/status", "0123456789abcdeX")[0] == 401
    eventually(lambda: "49 more requests from 127.0.0.1 without the right token were refused" in napping.log(), "a sum")
    assert napping.log().count("a request from 127.0.0.1 with a wrong token was refused") == 1
    assert ask(port, "GET", "/status", None)[0] == 401
    eventually(lambda: "a request from 127.0.0.1 without a token was refused" in napping.log(), "the other kind")
    assert "0123456789abcdeX" not in napping.log()


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \x0bchunked",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: +4",
        "X: a\r\n b",
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(napping: RunningManager, port: int, framing: str) -> None:
    head = f"POST /api/v1/pools/nap/pause HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(f"{head}{framing}\r\n\r\n0\r\n\r\n{head}Content-Length: 0\r\n\r\n".encode("latin-1"))
        stream.shutdown(socket.SHUT_WR)
        answer = b""
        while data := stream.recv(65536):
            answer += data
    assert re.match(rb"HTTP/1\.1 (400|501) ", answer), answer
    assert answer.count(b"\r\nDate: ") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
    assert not napping.status()["pools"]["nap"]["paused"]


def test_http_1_0_is_answered_in_its_version_and_closed(napping: RunningManager, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(f"GET /api/v1/status HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        answer = b""
        while data := stream.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["supervisor"]


def test_connections_that_stay_silent_on_the_control_socket_keep_no_command_out(napping: RunningManager) -> None:
    napping.start("pools: {nap: {functions: [nap], min: 1, max: 1}}\n")
    silent = []
    for _ in range(300):
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(10)
        stream.connect(str(napping.folder / "run" / "control.sock"))
        stream.sendall(b"GET /api/v1/status HTTP/1.1\r\n")
        silent.append(stream)
    assert napping.status()["pools"]["nap"]["workers"]
    for stream in silent:
        stream.close()


def test_a_reload_applies_a_new_token_and_a_new_address_and_refuses_a_taken_one(
    napping: RunningManager, port: int
) -> None:
    (napping.folder / "token").write_text("fedcba9876543210")
    napping.command("reload")
    eventually(lambda: ask(port, "GET", "/status", "fedcba9876543210")[0] == 200, "the new token")
    assert ask(port, "GET", "/status")[0] == 401
    config = napping.config_file.read_text()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        napping.config_file.write_text(config.replace("127.0.0.1:0, token", f"{taken.getsockname()[1]}, token"))
        napping.command("reload")
        eventually(lambda: "can't listen on" in napping.log(), "the refusal")
    assert ask(port, "GET", "/status", "fedcba9876543210")[0] == 200
    napping.command("reload")  # the port is free now
    eventually(lambda: napping.log().count("control API on") == 2, "the other address")
    assert ask(taken_port(napping), "GET", "/status", "fedcba9876543210")[0] == 200
    with pytest.raises(OSError, match="refused"):
        ask(port, "GET", "/status", "fedcba9876543210")


def taken_port(manager: RunningManager) -> int:
    return int(re.findall(r"control API on 127.0.0.1:(\d+) too", manager.log())[-1])


def test_a_taken_address_ends_the_start_and_the_message_names_its_line_of_the_file(napping: RunningManager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        napping.config_file.write_text(
            f"run_dir: run\nserver: {{listen: 127.0.0.1:0}}\ncontrol: {{listen: {address}, token: {TOKEN}}}\n"
        )
        result = napping.command(check=False)
    assert result.returncode == 1
    assert f"can't listen on {address}" in result.stderr
    assert "config.yaml:3: control.listen" in result.stderr
