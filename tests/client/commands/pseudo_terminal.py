"""A program on a terminal of a given size, and what its user sees there."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence

DEADLINE_S = 60.0
_PIECE = re.compile(rb"\x1b\[([?\d;]*)([A-Za-z])|([\r\n\x08])|([^\x1b\r\n\x08]+)")


class Screen:
    """Understands the few sequences that our commands write; any other is an error."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.is_other = False
        self.shows_cursor = True
        self._saved: list[str] = []
        self._clear()

    def _clear(self) -> None:
        self.rows = [""] * self.lines
        self.row = self.column = 0

    def feed(self, data: bytes) -> None:
        for match in _PIECE.finditer(data):
            arguments, final, control, text = match.groups()
            if final:
                self._sequence(arguments, final)
            elif control == b"\r":
                self.column = 0
            elif control == b"\n":
                self.row += 1
                if self.row == self.lines:
                    self.rows = [*self.rows[1:], ""]
                    self.row -= 1
            else:
                self._write(text.decode())

    def _sequence(self, arguments: bytes, final: bytes) -> None:
        if final == b"K":
            self.rows[self.row] = self.rows[self.row][: self.column]
        elif final == b"J":
            self.rows[self.row] = self.rows[self.row][: self.column]
            self.rows[self.row + 1 :] = [""] * (self.lines - self.row - 1)
        elif final == b"H" and not arguments:
            self.row = self.column = 0
        elif arguments == b"?25":
            self.shows_cursor = final == b"h"
        elif arguments == b"?1049":
            self.is_other = final == b"h"
            if self.is_other:
                self._saved = self.rows
                self._clear()
            else:
                self.rows = self._saved
        else:
            raise AssertionError(f"an unknown sequence: {arguments!r} {final!r}")

    def _write(self, text: str) -> None:
        row = self.rows[self.row].ljust(self.column)
        assert self.column + len(text) <= self.columns, f"longer than the line: {text!r}"
        self.rows[self.row] = row[: self.column] + text + row[self.column + len(text) :]
        self.column += len(text)


class OnTerminal:
    """A running program. Its standard streams are the terminal, but for those that are given."""

    def __init__(self, command: Sequence[str], columns: int = 80, lines: int = 24, **streams: object) -> None:
        self.file, theirs = os.openpty()
        self.resize(columns, lines)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GEARMAN")}
        options = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "env": environment | {"TERM": "xterm"}}
        self.process = subprocess.Popen(command, start_new_session=True, **(options | streams))  # type: ignore[call-overload]
        os.close(theirs)
        self.written = b""
        self.screen = Screen(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        """Tell the terminal's new size to whoever asks; the signal is `process.send_signal`."""
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen = Screen(columns, lines)

    def type(self, keys: bytes) -> None:
        os.write(self.file, keys)

    def wait_for(self, condition: Callable[[Screen], object], what: str) -> None:
        """Read until the screen fulfils the condition."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition(self.screen):
            assert self._read(deadline), f"{what}: {self.screen.rows}"

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(deadline):
            pass
        code: int = self.process.wait(DEADLINE_S)
        return code

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.file)

    def _read(self, deadline: float) -> bytes:
        ready, _, _ = select.select([self.file], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"nothing came: {self.screen.rows}"
        try:
            data = os.read(self.file, 65536)
        except OSError:  # the program has closed its end
            return b""
        self.written += data
        self.screen.feed(data)
        return data
