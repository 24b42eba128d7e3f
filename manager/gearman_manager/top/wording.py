"""Numbers, sizes and foreign texts as they fit into columns. Pure."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len, set_cell_size

from gearman_process.values.escaping import escape_line, escape_text

#: Characters of a name or an error that are looked at, and of a line of the log.
LINE_CHARACTERS: Final = 1000
LOG_CHARACTERS: Final = 4000
_FACTORS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(number: float | None) -> str:
    """A number in at most five characters: `950`, `12.3k`, `123k`, `4.5M`; a dash if it is unknown."""
    if number is None:
        return "-"
    if abs(number) < 10_000:
        return f"{number:.0f}"
    for factor, letter in _FACTORS:
        if abs(number) >= factor:
            return f"{number / factor:.{int(abs(number) < 99.95 * factor)}f}{letter}"
    return f"{number:.0f}"


def short_size(size_bytes: float | None) -> str:
    """A number of bytes: `512B`, `45.1M`, `1.2G`; a dash if it is unknown."""
    if size_bytes is None:
        return "-"
    return f"{size_bytes / 1e3:.1f}k" if 1e3 <= size_bytes < 1e4 else short(size_bytes) + "B" * (size_bytes < 1e3)


def shown(text: object, most: int = LINE_CHARACTERS) -> str:
    """A text that others wrote, on one line: nothing in it acts on a terminal."""
    whole = str(text)
    return escape_line(whole[:most].replace("\t", " ")) + ("…" if len(whole) > most else "")


def shown_lines(text: str) -> str:
    """The same for a line of the log, which may have further lines."""
    cut = text[:LOG_CHARACTERS].replace("\t", "    ")
    return escape_text(cut) + ("…" if len(text) > LOG_CHARACTERS else "")


def fitted(text: str, width: int, *, is_right: bool = False) -> str:
    """A text in exactly so many cells of the terminal; one that is too long is cut, and says so."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - length) + text if is_right else text + " " * (width - length)
