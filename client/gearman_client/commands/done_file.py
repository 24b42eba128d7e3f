"""`gearman --map FILE --done FILE`: which lines are done, on disk, so that a run that was killed can be continued.

A record is a line `NUMBER CHECKSUM`, written at once when the line's result has been written. What a kill cut off is
ignored; anything else that is no record is an error, so that no other file is taken for this one.
"""

from __future__ import annotations

import fcntl
import os
import re
import zlib
from array import array
from types import TracebackType
from typing import Final

from gearman_client.commands.options import UsageError
from gearman_client.commands.streams import write_all

_RECORD: Final = re.compile(rb"([1-9]\d{0,9}) ([0-9a-f]{8})\n")
#: What there can be of a record whose writing was cut off.
_BEGINNING: Final = re.compile(rb"[1-9]?\d{0,9} ?[0-9a-f]{0,8}")
_LONGEST: Final = 20
_MOST_LINES: Final = 0xFFFFFFFF


class DoneFile:
    """The records of one file, a context manager; without a path, nothing is done and nothing is kept."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._file = -1
        #: Sorted; each is a line's number, shifted by 32 bits, and its checksum.
        self._records = array("Q")
        self._next = 0

    def __enter__(self) -> DoneFile:
        """Read the file, and keep others from using it.

        Raises:
            UsageError: it is no such file, or another process uses it.
            OSError: it can't be opened.
        """
        if self._path is not None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                self._lock_and_read(self._path)
            except BaseException:
                os.close(self._file)
                raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __len__(self) -> int:
        return len(self._records)

    def has(self, number: int, line: bytes) -> bool:
        """Whether a line is done. The numbers of successive calls must rise.

        Raises:
            UsageError: it is, but had other contents then.
        """
        records = self._records
        while self._next < len(records) and records[self._next] >> 32 < number:
            self._next += 1
        if self._next == len(records) or records[self._next] >> 32 != number:
            return False
        if records[self._next] & _MOST_LINES != zlib.crc32(line):
            raise UsageError(
                f"line {number} is not the one that {self._path} has as done: the input has changed; "
                f"to begin anew, remove {self._path}"
            )
        return True

    def add(self, number: int, line: bytes) -> None:
        """Keep that a line is done."""
        if self._file >= 0:
            write_all(self._file, b"%d %08x\n" % (number, zlib.crc32(line)))

    def _lock_and_read(self, path: str) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"--done {path}: another run uses it") from None
        whole = highest = 0
        is_sorted = True
        with open(self._file, "rb", closefd=False) as stream:
            while record := stream.readline(_LONGEST + 1):
                match = _RECORD.fullmatch(record)
                if match is not None:
                    whole += len(record)
                    self._records.append(int(match[1]) << 32 | int(match[2], 16))
                    is_sorted = is_sorted and self._records[-1] >= highest
                    highest = self._records[-1]
                elif record.endswith(b"\n") or stream.read(1) or not _BEGINNING.fullmatch(record):
                    raise UsageError(f"--done {path}: line {len(self._records) + 1} is no record of --map: {record!r}")
        os.ftruncate(self._file, whole)
        if not is_sorted:  # a later run has filled the gaps of failures
            self._records = array("Q", sorted(self._records))
