"""The last lines that a pool or a worker has logged, as a text for the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from gearman_manager.top.desk import Desk
from gearman_manager.top.wording import shown, shown_lines

MOST_LINES: Final = 300


class LogText:
    """Each look gets the lines that the look before has asked for."""

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._name = name
        self._text = "…"
        self._is_asked = False

    def look(self) -> str:
        """The text as it was lately."""
        if not self._is_asked:
            self._is_asked = True
            self._desk.ask(f"/logs?of={quote(self._name, safe='')}", self._answered, self._refused)
        return self._text

    def _answered(self, lines: Sequence[str]) -> None:
        self._is_asked = False
        self._text = "\n".join(shown_lines(line) for line in lines[-MOST_LINES:]) or "It has logged nothing of late."

    def _refused(self, reason: str) -> None:
        self._is_asked = False
        self._text = shown(reason)
