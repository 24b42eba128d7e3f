"""A program in a real pseudo-terminal, whose screen pyte draws; the test presses keys, and looks."""

from __future__ import annotations

import os
import select
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest

DEADLINE_S = 20.0
ESCAPE, ENTER, DOWN, CTRL_C = "\x1b", "\r", "\x1b[B", "\x03"


class Terminal:
    """The screen of a program."""

    def __init__(self, command: Sequence[str | Path], variables: dict[str, str], columns: int, lines: int) -> None:
        self._main, self._end = os.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        #: Everything that it has written.
        self.written = b""
        termios.tcsetwinsize(self._end, (lines, columns))
        self.modes = termios.tcgetattr(self._end)
        # The variables tell of the terminal of those who run the tests.
        outer = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment = outer | {"TERM": "xterm-256color"} | variables
        # With a controlling terminal, as in a shell: so it hears of another size.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=self._end, stdout=self._end, stderr=self._end, env=environment
        )

    @property
    def lines(self) -> list[str]:
        """What stands on the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The same, as one text."""
        return "\n".join(self.lines)

    def press(self, *keys: str) -> None:
        """Press these keys, one after the other."""
        for key in keys:
            os.write(self._main, key.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size."""
        self._screen.resize(lines, columns)
        termios.tcsetwinsize(self._end, (lines, columns))

    def until(self, condition: Callable[[], object] | str, within_s: float = DEADLINE_S) -> None:
        """Draw until the condition holds, or the text is on the screen."""
        deadline = time.monotonic() + within_s
        while not (condition in self.text if isinstance(condition, str) else condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"not within {within_s} s: {condition}; the screen shows\n{self.text}")
            self._draw(0.05)

    def until_gone(self, text: str) -> None:
        """Draw until the text is not on the screen any more."""
        self.until(lambda: text not in self.text)

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        self.until(lambda: self.process.poll() is not None)
        self._draw(0)
        return self.process.returncode

    @property
    def is_restored(self) -> bool:
        """Whether the modes are those from before, the alternate screen is left, and the cursor is shown."""
        has_left = self.written.rfind(b"\x1b[?1049l") > self.written.rfind(b"\x1b[?1049h")
        has_cursor = self.written.rfind(b"\x1b[?25h") > self.written.rfind(b"\x1b[?25l")
        return termios.tcgetattr(self._end) == self.modes and has_left and has_cursor

    def close(self) -> None:
        """End the program, if it still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._main)
        os.close(self._end)

    def _draw(self, within_s: float) -> None:
        while select.select([self._main], [], [], within_s)[0]:
            piece = os.read(self._main, 65536)
            self.written += piece
            self._stream.feed(piece)
            within_s = 0


@contextmanager
def running(command: Sequence[str | Path], columns: int = 80, lines: int = 24, **variables: str) -> Iterator[Terminal]:
    """A program in a terminal, which has ended at the end."""
    terminal = Terminal(command, variables, columns, lines)
    try:
        yield terminal
    finally:
        terminal.close()
