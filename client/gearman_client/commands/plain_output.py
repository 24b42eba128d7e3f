"""The output of Debian's tool, byte for byte: results raw, progress as lines. On a terminal progress is a bar.

Debian's tool writes results at once, and its lines through a buffer: in a pipe they come after the results, but with
`-P`, where it empties that buffer before each piece of a result, all is in order.
"""

from __future__ import annotations

import os
import threading

from gearman_client.client.job_status import JobHandle
from gearman_client.commands.progress_bar import ProgressBar, bars
from gearman_client.commands.streams import STDERR, STDOUT, BlockedLines, write_all
from gearman_client.commands.terminal import is_terminal, size_of
from gearman_client.errors import JobException, JobFailed
from gearman_client.text import to_body


class PlainOutput:
    """Standard output and error, locked for each chunk, because several functions may answer at once.

    prefix: write the function's name before each chunk. handles: write each job's handle. in_order: hold no line back.
    """

    def __init__(self, *, prefix: bool = False, handles: bool = False, in_order: bool = False) -> None:
        self._prefix = prefix
        self.shows_handles = handles
        # `stdbuf -oL` asks programs that use stdio for lines at once.
        in_order = in_order or os.environ.get("_STDBUF_O") in ("L", "0")
        self._holds_lines = not (prefix or in_order or os.isatty(STDOUT))
        self._lines = BlockedLines(STDOUT)
        self._bar = ProgressBar(STDOUT) if is_terminal(STDOUT) else None
        self._percents: dict[str, int] = {}
        self._lock = threading.Lock()

    def job(self, function: str, unique: str | None = None, handle: str | None = None) -> PlainJob:
        """The part of one job; an empty name has no prefix. Neither id nor handle is printed."""
        return PlainJob(self, function)

    def piece(self, number: int, function: str, data: bytes) -> None:
        """Write a piece of a result to standard output, or a warning to standard error."""
        with self._lock:
            self._write(number, self._prefix_of(function) + data)

    def line(self, data: bytes) -> None:
        """Write a line to standard output when the C library would."""
        with self._lock:
            if self._holds_lines:
                self._lines.write(data)
            else:
                self._write(STDOUT, data)

    def progress(self, function: str, numerator: int, denominator: int) -> None:
        """Show the progress of a job."""
        percent = numerator * 100 // denominator if denominator else 0
        if self._bar is None:
            self.line(self._prefix_of(function) + b"%d%% Complete\n" % percent)
            return
        with self._lock:
            self._percents[function] = percent
            self._bar.draw(bars(self._percents, size_of(STDOUT).columns))

    def ended(self, function: str) -> None:
        """Show no progress of this function's job any more."""
        with self._lock:
            self._percents.pop(function, None)
            if self._bar is not None and not self._percents:
                self._bar.make_room()

    def close(self) -> None:
        """Write the lines that were held back."""
        with self._lock:
            if self._bar is not None:
                self._bar.make_room()
            self._lines.flush()

    def _prefix_of(self, function: str) -> bytes:
        return to_body(f"{function}: ") if self._prefix and function else b""

    def _write(self, number: int, data: bytes) -> None:
        if self._bar is None:
            write_all(number, data)
            return
        self._bar.make_room()
        write_all(number, data)
        if number == STDOUT or is_terminal(number):
            self._bar.wrote(data)


class PlainJob:
    """One job's part of the output."""

    def __init__(self, output: PlainOutput, function: str) -> None:
        self._output = output
        self._function = function

    def created(self, handle: JobHandle) -> None:
        """Print the handle, if they are wanted."""
        if self._output.shows_handles:
            self._output.line(b"Task created: %s\n" % to_body(handle))

    def data(self, data: bytes) -> None:
        """Print a piece of the result."""
        self._output.piece(STDOUT, self._function, data)

    def warning(self, data: bytes) -> None:
        """Print a warning."""
        self._output.piece(STDERR, self._function, data)

    def status(self, numerator: int, denominator: int) -> None:
        """Print the progress in percent."""
        self._output.progress(self._function, numerator, denominator)

    def ended(self) -> None:
        """Nothing has to wait."""

    def complete(self, result: bytes) -> None:
        """Print the result."""
        self._output.ended(self._function)
        self._output.piece(STDOUT, self._function, result)

    def accepted(self) -> None:
        """A background job prints nothing but its handle."""

    def failed(self, error: Exception) -> None:
        """Print that the job failed, with the worker's reason if it gave one. Other errors end the command."""
        self._output.ended(self._function)
        if isinstance(error, JobException):
            self._output.piece(STDERR, self._function, error.data.removesuffix(b"\n") + b"\n")
        if isinstance(error, JobException | JobFailed):
            self._output.piece(STDERR, self._function, b"Job failed\n")
