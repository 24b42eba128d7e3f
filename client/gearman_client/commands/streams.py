"""Standard output and standard error as the bytes that others read: whole, in order, and never into a foreign file."""

from __future__ import annotations

import os
import select
from typing import Final

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
_NAMES: Final = {STDOUT: "standard output", STDERR: "standard error"}
#: The C library writes a pipe or a file in blocks of this size, in bytes.
BLOCK_BYTES: Final = 4096


def open_missing_streams() -> None:
    """Give a number below 3 that the caller has closed to the null device, so that no socket gets it.

    Writing there fails, so a result is not lost without a word.
    """
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR if number == STDERR else os.O_RDONLY)


def write_all(number: int, data: bytes | bytearray | memoryview) -> None:
    """Write all bytes, also to a stream that somebody has made non-blocking.

    Raises:
        OSError: it can't be written; `filename` names the stream.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(number, rest) :]
        except BlockingIOError:
            select.select([], [number], [])
        except OSError as error:
            error.filename = _NAMES.get(number)
            raise


class BlockedLines:
    """Lines that the C library's stdio would hold back: they leave in whole blocks, and at the end.

    Debian's tool writes its results at once and its other lines so, in a pipe after the results. Programs that compare
    or split its output know that order.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._held = bytearray()

    def write(self, line: bytes) -> None:
        """Add a line."""
        self._held += line
        # A block leaves when the next byte does not fit.
        while len(self._held) > BLOCK_BYTES:
            write_all(self._number, self._held[:BLOCK_BYTES])
            del self._held[:BLOCK_BYTES]

    def flush(self) -> None:
        """Write what is held back."""
        held, self._held = self._held, bytearray()
        write_all(self._number, held)
