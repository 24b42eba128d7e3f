"""The core that runs here sends the replies that the pure one sends, to random peers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gearman_server.compiled.choosing import VARIABLE

HISTORIES = Path(__file__).with_name("histories.py")


def digests(environment: dict[str, str]) -> list[str]:
    command = [sys.executable, str(HISTORIES), "1", "60"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_random_histories_have_the_same_replies() -> None:
    replies = digests({})
    assert len(set(replies)) == 60
    assert replies == digests({VARIABLE: "0", "PYTHONHASHSEED": "7"})
