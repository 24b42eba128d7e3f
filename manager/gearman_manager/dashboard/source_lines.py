"""The lines of a worker module around the one that is broken.

Only modules are shown: user code tells the place, and could name any file of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gearman_process.regular_file import read_regular_file

#: Before and after the line.
AROUND: Final = 4
_MAX_BYTES: Final = 1 << 20
_MAX_CHARACTERS: Final = 400
_MODULES: Final = frozenset({".py", ".php"})


class SourceLine(NamedTuple):
    """One line of a file."""

    number: int
    text: str
    is_it: bool  #: the one that is broken


def lines_around(file: str, line: int, folders: Sequence[str]) -> list[SourceLine]:
    """The lines; none if the file is no module in these folders, can't be read, or has no such line."""
    try:
        path = Path(file).resolve(strict=True)
        is_module = path.suffix in _MODULES and any(path.is_relative_to(Path(folder).resolve()) for folder in folders)
        if line < 1 or not is_module:
            return []
        content = read_regular_file(path, _MAX_BYTES).decode(errors="replace").splitlines()
    except (OSError, ValueError, RuntimeError):  # a loop of links is a RuntimeError
        return []
    if line > len(content):
        return []
    first = max(1, line - AROUND)
    shown = content[first - 1 : line + AROUND]
    return [SourceLine(number, text[:_MAX_CHARACTERS], number == line) for number, text in enumerate(shown, first)]
