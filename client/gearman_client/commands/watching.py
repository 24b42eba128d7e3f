"""`gearadmin --watch`: asks again and again. A terminal is drawn anew each time; a pipe gets a block each time."""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Final

from gearman_client.commands.admin_asking import ServerAnswers
from gearman_client.commands.admin_views import tables
from gearman_client.commands.command_line import ExitCode, end_by_unwinding
from gearman_client.commands.options import UsageError
from gearman_client.commands.streams import STDIN, STDOUT, write_all
from gearman_client.commands.terminal import cut, size_of

DEFAULT_S: Final = 2.0
SHORTEST_S: Final = 0.1
LONGEST_S: Final = 86_400.0

# The sequences of xterm, which other terminals know too.
_ENTER: Final = b"\x1b[?1049h\x1b[?25l"
_LEAVE: Final = b"\x1b[?25h\x1b[?1049l"
_HOME: Final = b"\x1b[H"
_END_OF_LINE: Final = b"\x1b[K"
_REST_OF_SCREEN: Final = b"\x1b[J"

Ask = Callable[[], list[ServerAnswers]]


def interval_of(words: Sequence[str]) -> float:
    """The seconds from one question to the next.

    Raises:
        UsageError: it is no such number, or there is more than that.
    """
    if not words:
        return DEFAULT_S
    try:
        seconds = float(words[0])
    except ValueError:
        seconds = 0.0
    if len(words) > 1 or not SHORTEST_S <= seconds <= LONGEST_S:
        raise UsageError(f"--watch {' '.join(words)}: expected seconds from {SHORTEST_S:g} to {LONGEST_S:g}")
    return seconds


def watch_in_blocks(ask: Ask, interval_s: float, write: Callable[[list[ServerAnswers], str], None]) -> int:
    """Call `write` with the answers and the time of each round, until a signal ends the process."""
    with _Bell() as bell:
        while True:
            began = monotonic()
            write(ask(), datetime.now().astimezone().isoformat(timespec="seconds"))
            bell.wait_until(began + interval_s)


def watch_on_terminal(ask: Ask, interval_s: float, title: str) -> int:
    """Show the answers until the user presses q, and leave the terminal as it was; returns the exit code."""
    with _Bell() as bell, _whole_screen():
        while True:
            began = monotonic()
            found = ask()
            clock = datetime.now().strftime("%H:%M:%S")
            while True:
                write_all(STDOUT, _screen(f"{clock}  {title}", found))
                woken = bell.wait_until(began + interval_s)
                if woken == b"q":
                    return ExitCode.SUCCESS
                if not woken:
                    break


def _screen(heading: str, found: Sequence[ServerAnswers]) -> bytes:
    """The whole screen. What does not fit on it is left out, with the number of lines."""
    size = size_of(STDOUT)
    lines, errors = tables(found)
    lines = [heading, "", *lines, *errors.decode("utf-8", "replace").splitlines()]
    if len(lines) > size.lines:
        lines[size.lines - 1 :] = [f"({len(lines) - size.lines + 1} more lines)"]
    *before, last = (cut(line, size.columns).encode("utf-8", "replace") for line in lines)
    # Erased first: behind a line that is full the cursor still stands on its last column. And no line break follows the
    # last line, since it would move the screen up.
    return _HOME + b"".join(_END_OF_LINE + line + b"\r\n" for line in before) + _REST_OF_SCREEN + last


class _Bell:
    """Wakes the wait between two rounds: at a change of the terminal's size, and when a key is pressed."""

    def __init__(self) -> None:
        self._woken, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._keys = [STDIN] if os.isatty(STDIN) and os.isatty(STDOUT) else []

    def __enter__(self) -> _Bell:
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGWINCH, lambda _number, _frame: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._woken)
        os.close(self._wakes)

    def wait_until(self, deadline: float) -> bytes:
        """Wait, at most until this time; returns the key, something else if the size changed, or nothing."""
        ready, _, _ = select.select([self._woken, *self._keys], [], [], max(0.0, deadline - monotonic()))
        if self._woken in ready:
            os.read(self._woken, 4096)
            return b"size"
        if ready:
            key = os.read(STDIN, 1)
            self._keys = self._keys if key else []
            return key or b"end"
        return b""


@contextmanager
def _whole_screen() -> Iterator[None]:
    """Show another screen, without a cursor, and no keys; give back the terminal at the end, also of SIGTERM."""
    end_by_unwinding(signal.SIGTERM)
    before = termios.tcgetattr(STDIN) if os.isatty(STDIN) else None
    try:
        if before is not None:
            tty.setcbreak(STDIN)
        write_all(STDOUT, _ENTER)
        yield
    finally:
        write_all(STDOUT, _LEAVE)
        if before is not None:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
