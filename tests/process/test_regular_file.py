"""Only regular files are read, and what is none is refused at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gearman_process.regular_file import read_regular_file


def test_a_file_is_read_up_to_the_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular_file(tmp_path / "file", 10) == b"12345"
    assert read_regular_file(tmp_path / "link", 3) == b"123"
    assert read_regular_file("/dev/null", 3) == b""


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pipe", "it is a named pipe, not a file"),
        ("folder", "Is a directory"),
        ("gone", "No such file"),
        ("/dev/zero", "it is a device, not a file"),
        ("socket", "No such device or address"),
    ],
)
def test_anything_else_is_refused_at_once(tmp_path: Path, kind: str, reason: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    open_files = set(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match=reason):
            read_regular_file(tmp_path / kind, 10)
    assert set(os.listdir("/proc/self/fd")) <= open_files  # fewer if the collector has closed somebody else's


def test_a_pipe_that_a_shell_hands_over_is_read() -> None:
    read, write = os.pipe()
    os.write(write, b"text")
    os.close(write)
    assert read_regular_file(f"/dev/fd/{read}", 10) == b"text"
    os.close(read)
