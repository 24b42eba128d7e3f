"""One line of a terminal that is drawn anew while work goes on, and makes room for all other output."""

from __future__ import annotations

from collections.abc import Mapping

from gearman_client.commands.streams import write_all
from gearman_client.commands.terminal import cut, printable, size_of, width_of

_LONGEST_BAR = 40
_CLEAR = b"\r\x1b[K"


class ProgressBar:
    """Draws on one stream. Call `make_room` before anything else is written to that terminal."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._drawn = ""
        self._is_in_line = False

    def draw(self, text: str) -> None:
        """Show this line instead of the one before."""
        text = cut(text, size_of(self._number).columns - 1)
        if text == self._drawn:
            return
        start = b"\n" if self._is_in_line else _CLEAR
        self._is_in_line = False
        self._drawn = text
        write_all(self._number, start + text.encode("utf-8", "replace"))

    def make_room(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._drawn = ""
            write_all(self._number, _CLEAR)

    def wrote(self, data: bytes) -> None:
        """Note what has been written to the terminal since: a line that is not at its end must not be overwritten."""
        if data:
            self._is_in_line = not data.endswith(b"\n")


def bars(percents: Mapping[str, int], columns: int) -> str:
    """A bar for each named share, side by side in so many columns."""
    room = columns // max(1, len(percents))
    return "  ".join(bar(percent, room, name) for name, percent in percents.items())


def bar(percent: int, columns: int, name: str = "") -> str:
    """`name [#####.....]  50%`"""
    label = f"{printable(name)} " if name else ""
    length = max(4, min(_LONGEST_BAR, columns - width_of(label) - len("[]  100%  ")))
    full = length * min(100, max(0, percent)) // 100
    return f"{label}[{'#' * full}{'.' * (length - full)}] {percent:3d}%"
