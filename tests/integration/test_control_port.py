"""The control API on a TCP address: a request with the token may do everything, any other request nothing."""

from __future__ import annotations

import http.client
import json
import re
import socket

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
    connection.request(method, resource, headers=headers)
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
    assert "token" in json.loads(ask(port, "GET", "/nope", None)[1])["error"]
    assert ask(port, "GET", "/status")[0] == 200
    assert TOKEN not in napping.log()


def test_a_web_page_in_a_browser_is_refused_under_any_host_name(napping: RunningManager, port: int) -> None:
    page = {"Origin": "http://evil.example", "Host": f"evil.example:{port}", "Content-Type": "text/plain"}
    assert ask(port, "POST", "/stop", None, **page)[0] == 401
    preflight = {**page, "Access-Control-Request-Headers": "authorization", "Access-Control-Request-Method": "POST"}
    assert ask(port, "OPTIONS", "/stop", None, **preflight)[0] == 401
    assert napping.status()["pools"]["nap"]["workers"]


def test_silent_connections_without_the_token_are_limited_and_do_not_keep_the_operator_out(
    napping: RunningManager, port: int
) -> None:
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(50)]
    assert napping.status()["pools"]["nap"]["workers"]  # the Unix socket has a limit of its own
    for connection in silent:
        connection.close()
    assert ask(port, "GET", "/status")[0] == 200


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
