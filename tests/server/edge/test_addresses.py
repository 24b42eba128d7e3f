"""The server's addresses and access list: Unix sockets, several addresses, `--allow`, the warning about open ports."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_client.packet import PacketType
from gearman_server import Server
from gearman_server.edge.sockets import split_address
from gearman_server.errors import StartError

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1", ("127.0.0.1", None)),
        ("127.0.0.1:4731", ("127.0.0.1", 4731)),
        ("localhost", ("localhost", None)),
        ("::1", ("::1", None)),
        ("[::1]", ("::1", None)),
        ("[::1]:80", ("::1", 80)),
        ("host:0", ("host", 0)),
    ],
)
def test_an_address_is_a_host_and_optionally_a_port(address: str, parts: tuple[int | str | None, ...]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["-L", "127.0.0.1:port"], "127.0.0.1:port"),
        (["-L", "127.0.0.1:65536"], "65535"),
        (["-L", "unix:/nonexistent/socket"], "-L unix:PATH"),
        (["-L", "unix:" + "x" * 200], "AF_UNIX path too long"),
        (["--socket-mode", "rw"], "--socket-mode"),
        (["--socket-mode", "7777"], "--socket-mode"),
        (["--allow", "everybody"], "--allow"),
        (["--keepalive-idle", "-2"], "--keepalive-idle"),
    ],
)
def test_a_bad_address_gives_one_line_and_exit_code_1(
    run_command: Callable[..., subprocess.CompletedProcess[str]], options: list[str], named: str
) -> None:
    refused = run_command("-p", "0", *options)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert named in refused.stderr


def test_an_address_can_have_a_port_of_its_own(start_server: Callable[..., ServerProcess], free_port: int) -> None:
    server = start_server("-L", "127.0.0.1", "-L", f"127.0.0.1:{free_port}")
    assert server.announced["listening"] == [f"127.0.0.1:{server.port}", f"127.0.0.1:{free_port}"]
    assert server.port != free_port


# --- Unix sockets


def test_a_unix_socket_is_served_beside_tcp_and_its_file_is_removed_at_the_end(
    start_server: Callable[..., ServerProcess], connect_unix: Callable[[str], StreamPeer], tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    server = start_server("-L", "127.0.0.1", "-L", f"unix:{path}")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    local, remote = connect_unix(path), server.peer()
    remote.send(PacketType.CAN_DO, b"f")
    handle = local.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    assert remote.ask(PacketType.GRAB_JOB) == (PacketType.JOB_ASSIGN, handle + b"\0f\0w")
    remote.send(PacketType.WORK_COMPLETE, handle, b"r")
    assert local.receive() == (PacketType.WORK_COMPLETE, handle + b"\0r")
    assert b" unix - :" in local.text(b"workers")
    server.process.terminate()
    server.wait()
    assert not os.path.exists(path)


def test_a_unix_socket_alone_opens_no_tcp_port(tmp_path: Path) -> None:
    with Server(f"unix:{tmp_path}/socket") as server:
        assert server.addresses == (f"unix:{tmp_path}/socket",)
        with pytest.raises(StartError, match="no TCP port"):
            _ = server.port


def test_the_mode_of_a_unix_socket_can_be_chosen(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    start_server("-L", "127.0.0.1", "-L", f"unix:{path}", "--socket-mode", "600")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_the_socket_file_of_a_killed_server_is_replaced(
    start_server: Callable[..., ServerProcess], connect_unix: Callable[[str], StreamPeer], tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    killed = start_server("-L", "127.0.0.1", "-L", f"unix:{path}")
    killed.stop()
    assert os.path.exists(path)
    successor = start_server("-L", "127.0.0.1", "-L", f"unix:{path}")
    assert connect_unix(path).text(b"getpid") == b"OK %d\n" % successor.pid


def test_the_socket_file_of_a_living_server_is_left_alone(
    start_server: Callable[..., ServerProcess],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    connect_unix: Callable[[str], StreamPeer],
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "socket")
    living = start_server("-L", "127.0.0.1", "-L", f"unix:{path}")
    refused = run_command("-L", f"unix:{path}")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "another server listens" in refused.stderr
    assert connect_unix(path).text(b"getpid") == b"OK %d\n" % living.pid


def test_a_file_that_is_no_socket_is_not_touched(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    refused = run_command("-L", f"unix:{path}")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert path.read_text() == "data"


# --- who may connect


def test_allow_admits_the_named_networks_and_the_log_names_refused_peers(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("-L", "127.0.0.1", "-L", "::1", "--allow", "127.0.0.0/8", "--verbose", "WARNING")
    server.peer().sync()
    port = int(server.announced["listening"][1].rpartition(":")[2])
    with socket.create_connection(("::1", port), timeout=20) as refused:
        assert refused.recv(1) == b""
    assert "--allow" in server.wait_for_log("connection ::1:")


def test_allow_does_not_keep_unix_peers_out(
    start_server: Callable[..., ServerProcess], connect_unix: Callable[[str], StreamPeer], tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    server = start_server("-L", "127.0.0.1", "-L", f"unix:{path}", "--allow", "192.0.2.0/24")
    assert connect_unix(path).text(b"getpid") == b"OK %d\n" % server.pid


@pytest.mark.parametrize(
    ("options", "warnings"),
    [
        (["-L", "0.0.0.0"], 1),
        (["-L", "0.0.0.0", "-L", "::"], 1),
        (["-L", "0.0.0.0", "--allow", "10.0.0.0/8"], 0),
        (["-L", "127.0.0.1"], 0),
    ],
)
def test_listening_for_other_machines_without_protection_is_warned_about_once(
    start_server: Callable[..., ServerProcess], options: list[str], warnings: int
) -> None:
    server = start_server(*options, "--verbose", "NOTICE")
    server.process.terminate()
    server.wait_for_log("ended: signal")
    assert "\n".join(server.passed).count("say who may connect with --allow") == warnings
