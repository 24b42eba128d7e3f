"""The progress of `gearman --map` on a terminal, which makes room for results and warnings."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Final

from gearman_client.commands.progress_bar import ProgressBar, bar
from gearman_client.commands.streams import STDERR, STDOUT, write_all
from gearman_client.commands.terminal import is_terminal

#: No new picture before so much time has passed, in seconds.
_PAUSE_S: Final = 0.1
_COLUMNS: Final = 32


class MapProgress:
    """Counts lines, and draws on standard error if that is a terminal; a context manager that takes the bar away.

    size: the bytes of the input; 0: not known. skipped, done, failed: the numbers of lines; skipped are those of
        earlier runs.
    """

    def __init__(self, size: int) -> None:
        self.skipped = 0
        self.done = 0
        self.failed = 0
        self._size = size
        self._began = self._drawn = monotonic()
        self._bar = ProgressBar(STDERR) if is_terminal(STDERR) else None
        self._results_are_seen = is_terminal(STDOUT)

    def __enter__(self) -> MapProgress:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.make_room()

    def write_result(self, data: bytes) -> None:
        """Write to standard output."""
        self._write(STDOUT, data, is_seen=self._results_are_seen)

    def write_warning(self, data: bytes) -> None:
        """Write to standard error."""
        self._write(STDERR, data, is_seen=True)

    def show(self, position: int) -> None:
        """Draw anew, if it is time; `position` is the end of the last line in the input."""
        now = monotonic()
        if self._bar is None or (now < self._drawn + _PAUSE_S and not self._results_are_seen):
            return
        self._drawn = now
        self._bar.draw(self._text(position, now - self._began))

    def _text(self, position: int, seconds: float) -> str:
        parts = [f"{self.skipped + self.done} done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        rate = (self.done + self.failed) / seconds if seconds > 0 else 0
        parts.append(f"{rate:.0f}/s")
        share = f"{bar(position * 100 // self._size, _COLUMNS)}  " if self._size else ""
        return share + ", ".join(parts)

    def _write(self, number: int, data: bytes, *, is_seen: bool) -> None:
        if self._bar is not None and is_seen:
            self._bar.make_room()
            self._bar.wrote(data)
        write_all(number, data)
