"""Runs a program as long as the process that started it keeps our standard input open: a killed test leaves nothing.

`python -m gearman_client.testing.keeper PROGRAM ARGUMENT…`; it ends with the program's exit code.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

#: How long the program may take to end after SIGTERM.
PATIENCE_S: Final = 60.0


def keep(command: Sequence[str]) -> int:
    """Run the program until it ends, or until the end of our input; returns its exit code."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    ended = os.pidfd_open(program.pid)
    if not _ends_before_input(ended):
        program.send_signal(signal.SIGTERM)
        select.select([ended], [], [], PATIENCE_S)
        program.kill()
    return program.wait()


def _ends_before_input(ended: int) -> bool:
    """Wait for the program's end, or for the end of our input."""
    while True:
        ready, _, _ = select.select([ended, 0], [], [])
        if ended in ready:
            return True
        if not os.read(0, 4096):
            return False


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
