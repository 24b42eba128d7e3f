"""A named pipe in the place of a file that the server is told to read ends the start with a message, not in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SERVER = Path(sys.executable).parent / "gearman-server"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--config-file", "pipe"], 1),
        (["--policies", "pipe"], 1),
        (["--store-url-file", "pipe"], 1),
        (["--ssl", "--ssl-certificate", "pipe", "--ssl-key", "pipe"], 1),
    ],
)
def test_a_pipe_is_refused_at_once(tmp_path: Path, options: list[str], code: int) -> None:
    os.mkfifo(tmp_path / "pipe")
    command: list[str | Path] = [SERVER, "-p", "0", *options]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == code
    assert "can't be read: it is a named pipe, not a file" in ended.stderr
    assert "Traceback" not in ended.stderr
