"""The server as a process: port, signals, supervisor, log."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer

DEADLINE_S = 20


def test_a_privileged_port_gives_one_line_with_the_remedy() -> None:
    without_the_right = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    command = [*(without_the_right if os.geteuid() == 0 else []), sys.executable, "-m", "gearman_server", "-p", "1"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "gearman-server: port 1 on 127.0.0.1 needs more rights than this user has; choose one above 1023 with -p PORT\n"
    )


def test_the_supervisor_is_told_where_the_server_listens(server: ServerProcess) -> None:
    assert server.announced == {"listening": [f"127.0.0.1:{server.port}"], "pid": server.pid}


def test_the_server_can_listen_on_several_addresses(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("-L", "127.0.0.1", "-L", "::1")
    assert [address.rpartition(":")[0] for address in server.announced["listening"]] == ["127.0.0.1", "[::1]"]
    port = int(server.announced["listening"][1].rpartition(":")[2])
    with socket.create_connection(("::1", port)) as peer:
        peer.sendall(b"getpid\n")
        assert peer.recv(100) == b"OK %d\n" % server.pid


@pytest.mark.parametrize("options", [["-L", "-vvv"], ["-vvv", "-L"], []])
def test_listen_without_an_address_means_this_machine_alone(
    start_server: Callable[..., ServerProcess], options: list[str]
) -> None:
    assert start_server(*options).announced["listening"][0].startswith("127.0.0.1:")


def test_the_process_title_names_host_and_port(server: ServerProcess) -> None:
    [title] = [part for part in psutil.Process(server.pid).cmdline() if part]
    assert title == f"gearman-server: 127.0.0.1:{server.port}"


def test_a_taken_port_gives_one_line_that_names_its_user_and_the_way_to_choose_another(
    run_command: Callable[..., subprocess.CompletedProcess[str]], server: ServerProcess
) -> None:
    refused = run_command("-p", str(server.port))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"pid {server.pid}" in refused.stderr
    assert f"port {server.port}" in refused.stderr
    assert "-p PORT" in refused.stderr


def test_the_start_waits_for_a_port_that_is_being_closed(
    start_server: Callable[..., ServerProcess], server: ServerProcess
) -> None:
    port = server.port
    command = [sys.executable, "-m", "gearman_server", "-p", str(port), "-v"]
    successor = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert successor.stderr is not None
        assert "listens on" in successor.stderr.readline()
    finally:
        successor.kill()
        successor.communicate()


def test_a_killed_server_leaves_its_port_free_even_with_open_connections(
    start_server: Callable[..., ServerProcess], server: ServerProcess
) -> None:
    peer = server.peer()
    peer.sync()
    server.signal(signal.SIGKILL)
    server.wait()
    successor = start_server("-p", str(server.port))
    assert successor.port == server.port
    successor.peer().sync()


def test_handles_do_not_repeat_after_a_restart(start_server: Callable[..., ServerProcess]) -> None:
    handles = []
    for _ in range(2):
        server = start_server()
        handles += [server.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"")[1] for _ in range(3)]
        server.stop()
    assert len(set(handles)) == 6
    assert all(len(handle) < 64 and handle.startswith(b"H:") for handle in handles)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_term_int_and_quit_end_the_server_at_once_with_exit_code_0(
    start_server: Callable[..., ServerProcess], tmp_path: Path, number: signal.Signals
) -> None:
    pid_file = tmp_path / "pid"
    server = start_server("-P", str(pid_file))
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    worker.ask(PacketType.SUBMIT_JOB, b"f", b"", b"")
    worker.ask(PacketType.GRAB_JOB)
    assert pid_file.read_text() == f"{server.pid}\n"
    server.signal(number)
    assert server.wait() == 0
    assert worker.read_to_end() == b""
    assert not pid_file.exists()


def running_job(server: ServerProcess) -> tuple[StreamPeer, StreamPeer, bytes]:
    """A client, the worker that runs its job, and the handle."""
    client, worker = server.peer(), server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    handle = client.ask(PacketType.SUBMIT_JOB, b"f", b"", b"w")[1]
    worker.ask(PacketType.GRAB_JOB)
    return client, worker, handle


def end_by_usr1(server: ServerProcess) -> None:
    server.signal(signal.SIGUSR1)


def end_by_loss_of_the_supervisor(server: ServerProcess) -> None:
    server.supervisor.close()


def test_usr2_means_nothing_to_a_server(server: ServerProcess) -> None:
    server.peer().sync()
    server.signal(signal.SIGUSR2)
    server.peer().sync()


@pytest.mark.parametrize("end", [end_by_usr1, end_by_loss_of_the_supervisor])
def test_an_ending_server_finishes_running_jobs_starts_no_other_and_exits_with_0(
    server: ServerProcess, end: Callable[[ServerProcess], None]
) -> None:
    client, worker, handle = running_job(server)
    bystander = server.peer()
    bystander.ask(PacketType.SUBMIT_JOB, b"f", b"", b"never run")
    end(server)
    assert bystander.read_to_end() == b""
    with pytest.raises(ConnectionRefusedError):
        server.peer()
    assert worker.ask(PacketType.GRAB_JOB) == (PacketType.NO_JOB, b"")
    worker.send(PacketType.WORK_COMPLETE, handle, b"r" * 1_000_000)
    assert client.receive() == (PacketType.WORK_COMPLETE, handle + b"\0" + b"r" * 1_000_000)
    assert server.wait() == 0


@pytest.mark.parametrize("end", [end_by_usr1, end_by_loss_of_the_supervisor])
def test_an_ending_server_without_running_jobs_exits_at_once(
    server: ServerProcess, end: Callable[[ServerProcess], None]
) -> None:
    server.peer().sync()
    end(server)
    assert server.wait() == 0


def test_an_ending_server_ends_when_the_worker_of_its_last_job_is_lost(server: ServerProcess) -> None:
    _client, worker, _handle = running_job(server)
    server.signal(signal.SIGUSR1)
    worker.close()
    assert server.wait() == 0


def test_no_descriptor_of_the_server_can_be_inherited_by_a_program_that_it_starts(server: ServerProcess) -> None:
    server.peer().sync()
    folder = f"/proc/{server.pid}/fdinfo"
    inheritable = []
    for name in os.listdir(folder):
        with open(f"{folder}/{name}", encoding="ascii") as file:
            flags = next(line for line in file if line.startswith("flags:"))
        if not int(flags.split()[1], 8) & os.O_CLOEXEC and int(name) > 2:
            inheritable.append(os.readlink(f"/proc/{server.pid}/fd/{name}"))
    assert inheritable == []


# --- the log


def test_the_log_shows_connections_registrations_and_disconnections(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("-vvv")
    peer = server.peer()
    peer.send(PacketType.SET_CLIENT_ID, b"me")
    peer.send(PacketType.CAN_DO, b"f")
    peer.close()
    assert " INFO connection 127.0.0.1:" in server.wait_for_log("opened")
    assert "(me)" in server.wait_for_log("registered for f")
    assert "(me)" in server.wait_for_log("ended, closed by the peer")


def test_the_json_log_has_one_object_per_line(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--verbose", "INFO", "--log-format", "json")
    peer = server.peer()
    peer.send(PacketType.CAN_DO, "fü".encode())
    entry = json.loads(server.wait_for_log("registered"))
    assert {"time", "level", "message"} <= entry.keys()
    assert (entry["level"], entry["event"], entry["function"]) == ("INFO", "FunctionRegistered", "fü")


def test_a_job_that_failed_for_good_is_logged_as_an_error(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--job-retries", "1")
    _client, worker, handle = running_job(server)
    worker.close()
    line = server.wait_for_log("failed for good, attempts: 1")
    assert " ERROR " in line
    assert handle.decode() in line


def test_sighup_reopens_the_log(
    start_server: Callable[..., ServerProcess], tmp_path: Path, until: Callable[[Callable[[], bool]], None]
) -> None:
    log = tmp_path / "log"
    server = start_server("-v", "-l", str(log))
    until(lambda: "listens on" in log.read_text())
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    log.chmod(0o600)
    log.rename(tmp_path / "log.1")
    server.signal(signal.SIGHUP)
    until(log.exists)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    server.signal(signal.SIGTERM)
    server.wait()
    assert "ended" in log.read_text()


def test_a_log_file_that_cannot_be_opened_is_replaced_by_stderr(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("-l", "/nonexistent/log")
    assert " ERROR " in server.wait_for_log("/nonexistent/log can't be opened")


def test_unique_keys_and_client_ids_forge_no_line(server: ServerProcess) -> None:
    peer = server.peer()
    peer.send(PacketType.SET_CLIENT_ID, b"me\x1b[2J\t\xe2\x80\xae")
    peer.send(PacketType.CAN_DO, b"f")
    peer.ask(PacketType.SUBMIT_JOB_BG, b"f", b"a\n.\nforged\t1", b"")
    assert server.text(b"show unique jobs") == b"a\\x0a.\\x0aforged\\x091\n.\n"
    assert b" me\\x1b[2J\\x09\\xe2\\x80\\xae : f\n" in server.text(b"workers")
