"""The client library and the `gearman` command ask a real server for results, and submit delayed jobs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearman_client import Client, JobException, JobFailed, ResultExpired, ResultNotKept, ResultUnknown, Timeout, Worker
from gearman_client.packet import PacketType

from .server_process import ServerProcess
from .stream_peer import StreamPeer

POLICIES = "functions:\n  f: {keep_result: 1h}\n  brief: {keep_result: 50ms}\n"
#: A job may start late by this much.
EXACT_S = 0.05


@pytest.fixture
def keeping(start_server: Callable[..., ServerProcess], tmp_path: Path) -> ServerProcess:
    """A server that keeps the results of `f`, for a short time those of `brief`, and no others."""
    path = tmp_path / "policies.yaml"
    path.write_text(POLICIES)
    return start_server("--policies", str(path))


@pytest.fixture
def client(keeping: ServerProcess) -> Iterator[Client]:
    """A client of that server with a timeout of ten seconds."""
    with Client(f"127.0.0.1:{keeping.port}", timeout_s=10) as client:
        yield client


@pytest.fixture
def worker(keeping: ServerProcess) -> StreamPeer:
    """A raw worker for all functions."""
    peer = keeping.peer()
    for function in (b"f", b"brief", b"plain"):
        peer.send(PacketType.CAN_DO, function)
    peer.sync()
    return peer


def grab(worker: StreamPeer) -> bytes:
    packet_type, body = worker.ask(PacketType.GRAB_JOB)
    assert packet_type == PacketType.JOB_ASSIGN
    return body.split(b"\0")[0]


def command(server: ServerProcess, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "gearman_client.commands.gearman", "-p", str(server.port), *arguments]


def run(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(server, *arguments), capture_output=True, timeout=20, check=False)


def test_a_kept_result_comes_at_once_with_the_data_sent_before_it(client: Client, worker: StreamPeer) -> None:
    handle = client.submit_background("f", b"w")
    name = grab(worker)
    worker.send(PacketType.WORK_DATA, name, b"part")
    worker.send(PacketType.WORK_WARNING, name, b"careful")
    worker.send(PacketType.WORK_STATUS, name, b"3", b"4")
    worker.send(PacketType.WORK_COMPLETE, name, b"done\0\0")
    worker.sync()
    heard: list[object] = []
    result = client.result(
        str(handle),
        timeout_s=0,
        on_data=heard.append,
        on_warning=heard.append,
        on_status=lambda done, of: heard.append((done, of)),
    )
    assert result == b"done\0\0"
    assert heard == [b"part", b"careful", (3, 4)]
    assert client.result(handle) == b"done\0\0"
    assert client.echo(b"still in step") == b"still in step"


def test_a_client_waits_for_the_result_and_gets_each_progress_report_once(client: Client, worker: StreamPeer) -> None:
    handle = client.submit_background("f", b"w")
    name = grab(worker)
    heard: list[object] = []

    def report(done: int, of: int) -> None:
        heard.append((done, of))
        if done == 1:
            worker.send(PacketType.WORK_STATUS, name, b"2", b"2")
            worker.send(PacketType.WORK_COMPLETE, name, b"done")

    worker.send(PacketType.WORK_STATUS, name, b"1", b"2")
    assert client.result(handle, on_status=report) == b"done"
    assert heard == [(1, 2), (2, 2)]


def test_a_wait_that_was_too_short_leaves_the_connection_usable(client: Client, worker: StreamPeer) -> None:
    handle = client.submit_background("f", b"w")
    for timeout_s in (0, 0.05):
        with pytest.raises(Timeout, match="it is waiting"):
            client.result(handle, timeout_s=timeout_s)
    worker.send(PacketType.WORK_COMPLETE, grab(worker), b"done")
    assert client.result(handle) == b"done"


def test_each_reason_for_a_missing_result_is_an_error_of_its_own(client: Client, worker: StreamPeer) -> None:
    with pytest.raises(ResultUnknown, match="there was no such job") as unknown:
        client.result("H:nowhere:1")
    assert not isinstance(unknown.value, ResultExpired)
    plain = client.submit_background("plain", b"w")
    with pytest.raises(ResultNotKept, match="keep_result"):
        client.result(plain)
    worker.send(PacketType.WORK_COMPLETE, grab(worker), b"")
    failed = client.submit_background("f", b"w")
    worker.send(PacketType.WORK_FAIL, grab(worker))
    with pytest.raises(JobFailed, match=f"{failed} failed"):
        client.result(failed)
    raised = client.submit_background("f", b"w")
    worker.send(PacketType.WORK_EXCEPTION, grab(worker), b"boom")
    with pytest.raises(JobException, match="boom"):
        client.result(raised)


def test_a_result_is_gone_when_its_time_is_over(
    client: Client, worker: StreamPeer, until: Callable[[Callable[[], bool]], None]
) -> None:
    handle = client.submit_background("brief", b"w")
    worker.send(PacketType.WORK_COMPLETE, grab(worker), b"done")
    worker.sync()

    def is_gone() -> bool:
        try:
            client.result(handle, timeout_s=0)
        except ResultExpired as expired:
            return "its result has expired" in str(expired)
        return False

    until(is_gone)


def test_the_option_limits_the_data_kept_of_a_job(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    (tmp_path / "policies.yaml").write_text(POLICIES)
    server = start_server("--policies", str(tmp_path / "policies.yaml"), "--result-data", "100")
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"f")
    with Client(f"127.0.0.1:{server.port}") as client:
        handle = client.submit_background("f", b"w")
        name = grab(worker)
        for number in range(3):
            worker.send(PacketType.WORK_DATA, name, b"%d" % number * 60)
        worker.send(PacketType.WORK_COMPLETE, name, b"done")
        worker.sync()
        heard: list[object] = []
        assert client.result(handle, timeout_s=10, on_data=heard.append) == b"done"
        assert heard == [b"0" * 60]


def test_an_unknown_handle_is_looked_up_at_every_server(
    keeping: ServerProcess, start_server: Callable[..., ServerProcess], client: Client, worker: StreamPeer
) -> None:
    other = start_server()
    handle = client.submit_background("f", b"w")
    worker.send(PacketType.WORK_COMPLETE, grab(worker), b"done")
    worker.sync()
    with Client([f"127.0.0.1:{other.port}", f"127.0.0.1:{keeping.port}"]) as both:
        assert both.result(str(handle), timeout_s=5) == b"done"
        with pytest.raises(ResultUnknown, match="no server has a result"):
            both.result("H:nowhere:1")


def test_the_command_prints_a_result_like_that_of_a_foreground_job(
    keeping: ServerProcess, client: Client, worker: StreamPeer
) -> None:
    handle = client.submit_background("f", b"w")
    name = grab(worker)
    worker.send(PacketType.WORK_DATA, name, b"part\n")
    worker.send(PacketType.WORK_STATUS, name, b"1", b"2")
    worker.sync()
    early = run(keeping, "--result", handle, "-t", "0")
    assert (early.returncode, early.stderr.count(b"it is running")) == (1, 1)
    with subprocess.Popen(command(keeping, "--result", handle), stdout=subprocess.PIPE) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"part\n"
        assert waiting.stdout.readline() == b"50% Complete\n"
        worker.send(PacketType.WORK_COMPLETE, name, b"done")
        assert waiting.stdout.read() == b"done"
    assert waiting.returncode == 0
    assert run(keeping, "--result", "H:nowhere:1").returncode == 1
    usage = run(keeping, "--result", handle, "-f", "f")
    assert (usage.returncode, usage.stdout) == (1, b"")


def test_a_delayed_job_starts_at_its_second(keeping: ServerProcess, client: Client) -> None:
    with Worker(f"127.0.0.1:{keeping.port}") as worker:
        worker.register("f")
        assert worker.grab(timeout_s=0.01) is None
        due = int(time.time()) + 1
        client.submit_background("f", b"w", at=due)
        assert worker.grab(timeout_s=10) is not None
        assert due <= time.time() < due + EXACT_S


def test_the_command_submits_a_delayed_job_which_is_listed_and_cancelled(keeping: ServerProcess) -> None:
    answer = run(keeping, "-b", "-v", "-f", "f", "--delay", "3600", "later")
    created = re.fullmatch(rb"Task created: (\S+)\n", answer.stdout)
    assert created is not None
    handle = created[1]
    assert keeping.text(b"jobs list state=delayed").startswith(handle + b"\tf\tdelayed\t")
    assert keeping.text(b"cancel job " + handle) == b"OK\r\n"
    assert keeping.text(b"jobs list") == b".\n"
    assert run(keeping, "-b", "-f", "f", "--at", "2100-01-01T12:00", "w").returncode == 0
    assert keeping.text(b"jobs list").count(b"\tdelayed\t") == 1
