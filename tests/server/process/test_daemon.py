"""The server as a Unix daemon: background, pid file, user, service manager, descriptor limit."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gearman_client.packet import PacketType

from ..server_process import ServerProcess

DEADLINE_S = 25


# --- the background


def test_a_daemon_is_ready_when_its_command_ends(
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    free_port: int,
    tmp_path: Path,
    until: Callable[[Callable[[], bool]], None],
) -> None:
    pid_file = tmp_path / "pid"
    started = run_command("-d", "-p", str(free_port), "-P", str(pid_file), "-l", str(tmp_path / "log"), "-v")
    daemon = psutil.Process(int(pid_file.read_text()))
    try:
        assert (started.returncode, started.stderr) == (0, "")
        with socket.create_connection(("127.0.0.1", free_port), timeout=DEADLINE_S) as peer:
            peer.sendall(b"getpid\n")
            assert peer.recv(100) == b"OK %d\n" % daemon.pid
        assert os.getsid(daemon.pid) == daemon.pid
        assert {os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
    finally:
        daemon.terminate()
    until(lambda: not pid_file.exists())
    assert "ended: signal" in (tmp_path / "log").read_text()


def test_a_daemon_that_cannot_start_reports_the_reason_and_its_command_fails(
    run_command: Callable[..., subprocess.CompletedProcess[str]], server: ServerProcess
) -> None:
    refused = run_command("-d", "-p", str(server.port))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"port {server.port}" in refused.stderr


# --- the pid file


def test_the_pid_file_of_a_living_server_is_respected(
    start_server: Callable[..., ServerProcess],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    pid_file = tmp_path / "pid"
    living = start_server("-P", str(pid_file))
    refused = run_command("-p", "0", "-P", str(pid_file))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"running, pid {living.pid}" in refused.stderr
    assert pid_file.read_text() == f"{living.pid}\n"


def test_a_stale_pid_file_is_replaced(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text(f"{os.getpid()}\n and some more lines\n")  # a pid that is in use
    successor = start_server("-P", str(pid_file))
    assert pid_file.read_text() == f"{successor.pid}\n"


# --- connections


def test_keepalive_options_reach_accepted_connections(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--keepalive-idle", "77", "--keepalive-count", "3")
    peer = server.peer()
    peer.sync()
    shown = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
    local = f"{server.port:04X}"
    [timer] = [
        line.split()[5]
        for line in shown.splitlines()[1:]
        if line.split()[1].endswith(local) and line.split()[3] == "01"
    ]
    assert timer.startswith("02:")  # the keepalive timer runs
    assert int(timer[3:], 16) <= 77 * os.sysconf("SC_CLK_TCK")


# --- the user


def test_root_becomes_the_user_after_the_ports_are_taken_and_other_users_are_refused(
    start_server: Callable[..., ServerProcess],
    run_command: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    if os.geteuid() != 0:
        refused = run_command("-p", "0", "-u", "nobody")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "needs root" in refused.stderr
        return
    tmp_path.chmod(0o777)
    path = tmp_path / "socket"
    server = start_server("-u", "nobody", "-L", "127.0.0.1", "-L", f"unix:{path}")
    nobody = psutil.Process(server.pid).uids().real
    assert nobody != 0
    assert psutil.Process(server.pid).gids().real != 0
    assert path.stat().st_uid == nobody
    server.peer().sync()


def test_an_unknown_user_gives_one_line_and_exit_code_1(
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    refused = run_command("-p", "0", "-u", "no-such-user")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "-u no-such-user" in refused.stderr


# --- the service manager


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The socket on which a service manager listens, and its address."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.settimeout(DEADLINE_S)
        told.bind(path)
        yield told, path


def test_the_service_manager_is_told_of_ready_reloading_and_stopping(
    service_manager: tuple[socket.socket, str],
) -> None:
    told, path = service_manager
    process = subprocess.Popen(
        [sys.executable, "-m", "gearman_server", "-p", "0"], env={**os.environ, "NOTIFY_SOCKET": path}
    )
    try:
        assert told.recv(1000) == b"READY=1"
        process.send_signal(signal.SIGHUP)
        assert told.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert told.recv(1000) == b"READY=1"
        process.terminate()
        assert told.recv(1000) == b"STOPPING=1"
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()


def test_the_watchdog_is_fed_as_long_as_the_loop_runs(
    service_manager: tuple[socket.socket, str],
) -> None:
    told, path = service_manager
    process = subprocess.Popen(
        [sys.executable, "-m", "gearman_server", "-p", "0"],
        env={**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"},
    )
    try:
        assert told.recv(1000) == b"READY=1"
        for _ in range(2):
            assert told.recv(1000) == b"WATCHDOG=1"
        process.send_signal(signal.SIGSTOP)  # a loop that hangs
        told.settimeout(0.4)
        with pytest.raises(TimeoutError):
            list(iter(lambda: told.recv(1000), b""))
    finally:
        process.kill()
        process.wait()


def activated(
    sockets: list[socket.socket], names: str, *options: str
) -> tuple[subprocess.Popen[bytes], socket.socket, str]:
    """A server started as systemd starts one: sockets from descriptor 3 on, and the variables about them."""
    ours, theirs = socket.socketpair()
    program = """
import fcntl, os, sys
count = int(sys.argv[1])
given = [int(number) for number in sys.argv[2].split(",")]
high = [fcntl.fcntl(number, fcntl.F_DUPFD, 50) for number in given]
for index, number in enumerate(high):
    os.dup2(number, 3 + index)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=sys.argv[3])
os.dup2(high[-1], 3 + count)
os.execv(sys.executable, [sys.executable, "-m", "gearman_server", "--supervised-fd", str(3 + count), *sys.argv[4:]])
"""
    descriptors = [one.fileno() for one in (*sockets, theirs)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(len(sockets)), ",".join(map(str, descriptors)), names, *options],
        pass_fds=descriptors,
        stderr=subprocess.PIPE,
    )
    theirs.close()
    ours.settimeout(DEADLINE_S)
    line = ours.makefile("r").readline()
    return process, ours, line


def test_sockets_of_the_service_manager_are_served() -> None:
    jobs, metrics = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    process, lifeline, line = activated([jobs, metrics], "gearman.socket:metrics")
    try:
        port, metrics_port = jobs.getsockname()[1], metrics.getsockname()[1]
        assert f'"listening": ["127.0.0.1:{port}"]' in line
        assert f'"metrics": ["127.0.0.1:{metrics_port}"]' in line
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as peer:
            peer.sendall(b"getpid\n")
            assert peer.recv(100) == b"OK %d\n" % process.pid
    finally:
        lifeline.close()
        assert process.wait(DEADLINE_S) == 0
        if process.stderr is not None:
            process.stderr.close()
        jobs.close()
        metrics.close()


def test_a_descriptor_that_is_no_listening_socket_is_refused() -> None:
    one, other = socket.socketpair()
    process, lifeline, line = activated([one], "")
    said = process.communicate(timeout=DEADLINE_S)[1]
    assert (process.returncode, line, said.count(b"\n")) == (1, "", 1)
    assert b"LISTEN_FDS" in said
    for end in (one, other, lifeline):
        end.close()


# --- descriptors


def test_at_the_descriptor_limit_new_connections_wait_and_the_log_says_so_once(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("-f", "64", "--verbose", "ERROR")
    peers = [server.peer() for _ in range(80)]  # some of them only in the kernel's backlog
    assert "allow more with -f" in server.wait_for_log("no more connections can be accepted")
    peers[0].sync()
    for _ in range(2):  # room, and again none
        for peer in peers[:30]:
            peer.close()
        peers = peers[30:]
        peers[-1].sync()
        peers += [server.peer() for _ in range(30)]
    server.process.terminate()
    log = server.process.communicate(timeout=DEADLINE_S)[1].decode()
    assert "no more connections" not in log
    for peer in peers:
        peer.close()


def test_the_soft_descriptor_limit_is_raised_to_the_hard_one(server: ServerProcess) -> None:
    soft, hard = psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard


def test_an_idle_connection_costs_less_than_10_kb(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    process = psutil.Process(server.pid)
    connections = min(2000, psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[0] // 2 - 100)
    warm = [server.peer() for _ in range(100)]
    for peer in warm:
        peer.sync()
    before = process.memory_info().rss
    with contextlib.ExitStack() as stack:
        for number in range(connections):
            peer = stack.enter_context(contextlib.closing(server.peer()))
            if number % 2:
                peer.send(PacketType.CAN_DO, b"f")
                peer.send(PacketType.PRE_SLEEP)
            peer.sync()
        per_connection = (process.memory_info().rss - before) / connections
    assert per_connection < 10_000
