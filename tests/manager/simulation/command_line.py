"""The command line of the simulator's tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def command(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `gearman-manager` to its end, with lines of 120 characters."""
    return subprocess.run(
        [BIN / "gearman-manager", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={"COLUMNS": "120", "PATH": "/usr/bin:/bin"},
    )
