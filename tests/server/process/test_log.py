"""The log's destination: a pipe that nobody reads, a pipe that is read again, the system's log."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from logging import LogRecord
from pathlib import Path

import pytest

from gearman_client.packet import PacketType
from gearman_process.logs.patient_stream import PIPE_BYTES, PatientStream
from gearman_server.process.log_handlers import FileHandler, LineHandler, SyslogHandler

from ..server_process import ServerProcess
from ..stream_peer import StreamPeer

DEADLINE_S = 25


def record(text: str) -> LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, text, (), None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, LineHandler]]:
    """The read end of a pipe and a handler on its write end."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    os.set_blocking(read_end, False)
    handler = LineHandler(PatientStream(write_end))
    yield read_end, handler
    handler.close()
    os.close(read_end)


def read_all(read_end: int) -> bytes:
    data = b""
    while True:
        try:
            piece = os.read(read_end, 1 << 20)
        except BlockingIOError:
            return data
        if not piece:
            return data
        data += piece


def test_lines_that_nobody_reads_are_dropped_and_their_number_is_logged_once_the_reader_is_back(
    pipe: tuple[int, LineHandler],
) -> None:
    read_end, handler = pipe
    line = "x" * 999
    for _ in range(PIPE_BYTES // 1000 + 500):
        handler.emit(record(line))
    lines = read_all(read_end).decode().split("\n")
    handler.emit(record("again"))
    lines += read_all(read_end).decode().split("\n")
    told = [int(text.split()[0]) for text in lines if text.endswith("log lines were dropped: nobody read them in time")]
    assert lines[-2] == "again"
    assert told
    assert sum(told) + lines.count(line) == PIPE_BYTES // 1000 + 500


def test_a_truncated_line_does_not_run_into_the_next(pipe: tuple[int, LineHandler]) -> None:
    read_end, handler = pipe
    handler.emit(record("y" * (2 * PIPE_BYTES)))
    torn = read_all(read_end)
    handler.emit(record("next"))
    assert set(torn) == {ord("y")}
    assert read_all(read_end).decode().split("\n") == [
        "",
        "1 log lines were dropped: nobody read them in time",
        "next",
        "",
    ]


def test_a_server_whose_log_nobody_reads_goes_on_serving(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("-vvv")
    peer = server.peer()
    for _ in range(6):  # several times what the pipe holds
        for _ in range(5000):
            peer.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
        for _ in range(5000):
            peer.receive()
    assert peer.text(b"prioritystatus") == b"f\t0\t30000\t0\t0\n.\n"
    assert "log lines were dropped" in _after_reading(server, peer)


def _after_reading(server: ServerProcess, peer: StreamPeer) -> str:
    """The log's text when it is read again and one more event happens."""
    os.set_blocking(server.stderr.fileno(), False)
    read_all(server.stderr.fileno())
    peer.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    peer.sync()
    return read_all(server.stderr.fileno()).decode()


def test_a_fifo_without_a_reader_is_refused_as_a_log(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    server = start_server("-v", "-l", str(path))
    assert "can't be opened" in server.wait_for_log("the log goes to stderr")


def test_a_full_disk_stops_only_the_log() -> None:
    handler = FileHandler("/dev/full")
    handler.emit(record("lost"))
    handler.emit(record("lost too"))
    handler.close()


def test_syslog_gets_priority_program_and_message_and_a_restarted_one_is_found_again(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.bind(path)
        handler = SyslogHandler(path)
        handler.emit(record("hello"))
        assert system.recv(1000) == f"<30>gearman-server[{os.getpid()}]: hello".encode()
    os.unlink(path)
    handler.emit(record("lost"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.bind(path)
        system.settimeout(DEADLINE_S)
        handler.emit(record("back"))
        assert system.recv(1000).endswith(b": back")
    handler.close()


def test_a_system_log_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.bind(path)
        handler = SyslogHandler(path)
        for _ in range(5000):
            handler.emit(record("x" * 200))
        assert b"xxx" in system.recv(1000)
        handler.close()
