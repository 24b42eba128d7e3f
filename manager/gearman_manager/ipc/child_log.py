"""Logging of the manager's Python children: a line for each record on standard error, which the supervisor reads.

A record's line starts with the record separator of RFC 7464 and holds a JSON object; all other output was printed by
user code. Writing never fails: once the supervisor is gone the lines are dropped, and the job goes on.
"""

from __future__ import annotations

import copy
import fcntl
import io
import json
import logging
import os
import sys
from contextlib import suppress
from typing import Any, Final

from gearman_manager.ipc import logging_guard

RECORD_MARK: Final = "\x1e"
MAX_TEXT_CHARACTERS: Final = 16_000
STREAMS: Final = (("stdout", 1), ("stderr", 2))
FIELDS: Final = ("function", "handle")
#: Loggers of a library that is called while an error of user code is handled: its own errors have that one as context,
#: and no rules of a function have cleaned it.
_BESIDE_ERRORS: Final = "opentelemetry."

_LEVELS: Final = ((50, "CRITICAL"), (40, "ERROR"), (30, "WARNING"), (20, "INFO"))
_PLAIN: Final = logging.Formatter()
#: High, because some code counts on small numbers; a process that may have few descriptors has no such number.
_SPARE_FROM: Final = (100, 3)

_streams: dict[str, io.TextIOWrapper] = {}
_records: RecordHandler | None = None


def spare_copy(descriptor: int) -> int:
    """Another descriptor of the open file, out of the way of user code.

    Raises:
        OSError: there is no such file, or no descriptor left.
    """
    high, low = _SPARE_FROM
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, high)
    except OSError:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, low)


class _Pipe(io.FileIO):
    """The pipe to the supervisor; it becomes /dev/null once it has no reader."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, self.fileno(), inheritable=self.fileno() <= 2)
            os.close(null)
            return len(data)


class RecordHandler(logging_guard.Sink):
    """Writes each record as one marked JSON line, to a descriptor of its own: user code may close or replace others.

    It is the root's handler, too, so that a plain `basicConfig` finds one there and adds none.
    """

    def __init__(self, level: str) -> None:
        super().__init__(level)
        self._pipe = _Pipe(spare_copy(2), "w")

    def take(self, record: logging.LogRecord, printer: logging.Handler | None) -> None:
        """Write a record, in the format of `printer` if there is one. A line that can't be written is dropped."""
        with suppress(Exception):
            record = _without_context(record)
            line = RECORD_MARK + json.dumps(_fields(record, printer), ensure_ascii=False) + "\n"
            self._write(line.encode(errors="backslashreplace"))

    def emit(self, record: logging.LogRecord) -> None:
        self.take(record, None)

    def lead_to(self, descriptor: int) -> None:
        """Write to this descriptor's pipe from now on."""
        os.dup2(descriptor, self._pipe.fileno(), inheritable=False)

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._pipe.write(data) :]
        except OSError:  # user code has closed all descriptors that it does not know
            os.write(2, data)


def _without_context(record: logging.LogRecord) -> logging.LogRecord:
    """A record, of some loggers without all but the type of its error."""
    if not record.name.startswith(_BESIDE_ERRORS) or not record.exc_info:
        return record
    bare = copy.copy(record)
    kind = record.exc_info[0]
    bare.msg, bare.args = f"{record.getMessage()} ({kind.__name__ if kind else 'no error'})", None
    bare.exc_info = bare.exc_text = None
    return bare


def _fields(record: logging.LogRecord, printer: logging.Handler | None) -> dict[str, object]:
    fields: dict[str, object] = {"level": _level_name(record.levelno)}
    fields["message"] = _text(record, printer)[:MAX_TEXT_CHARACTERS]
    return fields | {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}


def _text(record: logging.LogRecord, printer: logging.Handler | None) -> str:
    if printer is not None:
        with suppress(Exception):
            return printer.format(record)
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001 (a call that does not fit its message, or an object of user code)
        text = f"{record.msg!r} with {record.args!r} ({type(error).__name__}: {error})"
    if record.exc_info:
        text += "\n" + _PLAIN.formatException(record.exc_info)
    if record.stack_info:
        text += "\n" + record.stack_info
    return text


def _level_name(level: int) -> str:
    """By number, because user code gives levels names of its own, with colours for instance."""
    return next((name for least, name in _LEVELS if level >= least), "DEBUG")


def redirect_output(descriptor: int) -> None:
    """Send standard output and standard error to this descriptor, line by line.

    The streams of an earlier call are kept, unless user code has replaced them: new ones would cost every worker half a
    megabyte of private memory.
    """
    os.dup2(descriptor, 1, inheritable=True)
    os.dup2(descriptor, 2, inheritable=True)
    if _records is not None:
        _records.lead_to(descriptor)
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
    global _records
    _records = RecordHandler(level)
    logging.root.handlers[:] = [_records]
    logging.root.setLevel(level)
    logging_guard.install(_records)


def flush_output() -> None:
    """Flush the last output of user code."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
