"""Logging of the manager's Python children: a line for each record on standard error, which the supervisor reads.

A record's line starts with the record separator of RFC 7464 and holds a JSON object; all other output was printed by
user code. Writing never fails: once the supervisor is gone the lines are dropped, and the job goes on.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from contextlib import suppress
from typing import Any, Final

RECORD_MARK: Final = "\x1e"
MAX_TEXT_CHARACTERS: Final = 16_000
STREAMS: Final = (("stdout", 1), ("stderr", 2))
FIELDS: Final = ("function", "handle")

_streams: dict[str, io.TextIOWrapper] = {}


class _Pipe(io.FileIO):
    """The pipe to the supervisor; it becomes /dev/null once it has no reader."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, self.fileno(), inheritable=True)
            os.close(null)
            return len(data)


class RecordHandler(logging.Handler):
    """Writes each record as one marked JSON line."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(RECORD_MARK + json.dumps(self._fields(record), ensure_ascii=False) + "\n")
        except Exception:  # noqa: BLE001 (user code may have closed sys.stderr, or put anything in its place)
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Drop a line that can't be written; the job must go on."""

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        fields: dict[str, object] = {"level": record.levelname, "message": text[:MAX_TEXT_CHARACTERS]}
        return fields | {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}


def redirect_output(descriptor: int) -> None:
    """Send standard output and standard error to this descriptor, line by line.

    The streams of an earlier call are kept, unless user code has replaced them: new ones would cost every worker half a
    megabyte of private memory.
    """
    os.dup2(descriptor, 1, inheritable=True)
    os.dup2(descriptor, 2, inheritable=True)
    for name, number in STREAMS:
        if _streams.get(name) is getattr(sys, name) and not _streams[name].closed:
            continue
        open_stream(name, number)


def open_stream(name: str, number: int) -> None:
    """Replace `sys.stdout` or `sys.stderr` by a new stream on this descriptor, the pipe to the supervisor."""
    raw = io.BufferedWriter(_Pipe(number, "w", closefd=False))
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
    setattr(sys, name, stream)
    _streams[name] = stream


def set_up(level: str) -> None:
    """Send every logger's records to the supervisor."""
    logging.root.handlers[:] = [RecordHandler()]
    logging.root.setLevel(level)


def flush_output() -> None:
    """Flush the last output of user code."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
