"""Compiles the load generator if necessary, runs it and reads its figures. It knows only the port of a server."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
BUILD: Final = FOLDER / "build"
#: gearmand needs more than two minutes to drain a million jobs.
STALLED_AFTER_S: Final = 600


def build(name: str, *libraries: str) -> Path:
    """The program compiled from `name`.c and linked with these options; again when the source is newer."""
    source, program = FOLDER / f"{name}.c", BUILD / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(exist_ok=True)
        subprocess.run(["cc", "-O2", "-o", str(program), str(source), *libraries], check=True)
    return program


def gearload(port: int, arguments: str) -> dict[str, float]:
    """Run `gearload 127.0.0.1 PORT ARGUMENTS`, and return its figures by name."""
    command = [str(build("gearload")), "127.0.0.1", str(port), *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STALLED_AFTER_S, check=True)
    figures = dict(word.split("=", 1) for word in done.stdout.split())
    return {name: float(value) for name, value in figures.items() if name != "mode"}
