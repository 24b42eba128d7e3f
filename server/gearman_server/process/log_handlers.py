"""The log's destinations and formats. No file, pipe, terminal or system's log can stop the server.

A line that can't be written soon is dropped and counted; the count is logged once lines can be written again.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from typing import Final

from gearman_process.logs import system_log
from gearman_process.logs.log_file import mode_of, open_log
from gearman_process.logs.patient_stream import PatientStream
from gearman_process.logs.system_log import SystemLog
from gearman_process.values.escaping import escape_json, escape_line, escape_text
from gearman_server.log import LEVEL_NAMES, LEVELS, NOTICE, logger

_STDERR: Final = 2
_DROPPED: Final = "%d log lines were dropped: nobody read them in time"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log's destination, level and format."""

    file: str = "stderr"
    level: str = "ERROR"
    format: str = "text"
    syslog: bool = False


class TextFormatter(logging.Formatter):
    """`2026-01-05 20:27:47.123 INFO connection 127.0.0.1:50062: opened`"""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level, text = LEVEL_NAMES.get(record.levelno, record.levelname), escape_line(record.getMessage())
        if record.exc_info:
            text += "\n" + escape_text(self.formatException(record.exc_info))
        return f"{at}.{int(record.msecs):03d} {level} {text}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, message, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": LEVEL_NAMES.get(record.levelno, record.levelname),
            "message": record.getMessage(),
        }
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return escape_json(json.dumps(entry, ensure_ascii=False))


def configure(settings: LogSettings) -> None:
    """Set the log up. If its file can't be opened, it falls back to stderr and says so, as in gearmand."""
    logging.raiseExceptions = False  # a log that can't be written must not write about itself
    logger.setLevel(LEVELS[settings.level])
    logger.propagate = False
    problems: list[str] = []
    handlers = [_handler(settings.file, problems)]
    handlers[0].setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    if settings.syslog:
        try:
            handlers.append(SyslogHandler())
        except OSError as error:
            problems.append(f"--syslog has no effect, the system's log can't be reached: {error.strerror}")
    logger.handlers[:] = handlers
    for problem in problems:
        logger.error("%s", problem)


def _handler(file: str, problems: list[str]) -> logging.Handler:
    if file == "none":
        return logging.NullHandler()
    if file != "stderr":
        try:
            return FileHandler(file)
        except OSError as error:
            problems.append(f"the log goes to stderr: {file} can't be opened: {error.strerror}")
    return LineHandler(PatientStream.beside(_STDERR))


def reopen() -> None:
    """Reopen the log file after it was rotated."""
    for handler in logger.handlers:
        if isinstance(handler, FileHandler):
            logger.log(NOTICE, "reopening the log file")
            try:
                handler.reopen()
            except OSError as error:
                logger.error("the log file %s can't be reopened, the old one goes on: %s", handler.path, error.strerror)


class LineHandler(logging.Handler):
    """Writes lines to a descriptor without ever waiting long."""

    def __init__(self, stream: PatientStream) -> None:
        super().__init__()
        self._stream = stream
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it."""
        if self._dropped:
            count = logging.LogRecord(record.name, logging.WARNING, "", 0, _DROPPED, (self._dropped,), None)
            if not self._try(count):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._try(record):
            self._dropped += 1

    def _try(self, record: logging.LogRecord) -> bool:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a line that can't be formatted must not stop the code that logs it
            line = f"{record.levelname} {record.msg!r} {record.args!r}"
        try:
            self._stream.write(line + "\n")
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the descriptor."""
        self._stream.close()
        super().close()


class FileHandler(LineHandler):
    """A log file that can be opened anew, by name, after a rotation."""

    def __init__(self, path: str) -> None:
        """Raises OSError when it can't be opened."""
        self.path = os.path.abspath(path)
        super().__init__(PatientStream(open_log(self.path)))

    def reopen(self) -> None:
        """Continue in the file that has the name now; a new one gets the mode of the old one.

        Raises:
            OSError: it can't be opened; the log continues in the old one.
        """
        opened = open_log(self.path, mode_of(self._stream.fileno()))
        try:
            os.dup2(opened, self._stream.fileno(), inheritable=False)
        finally:
            os.close(opened)


class SyslogHandler(logging.Handler):
    """Sends records to the system's log, without waiting."""

    def __init__(self, address: str = system_log.ADDRESS) -> None:
        """Raises OSError when there is no system log."""
        super().__init__()
        self._system_log = SystemLog("gearman-server", address)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record; it is lost if the system's log does not take it at once."""
        self._system_log.send(_severity(record.levelno), escape_line(record.getMessage()))

    def close(self) -> None:
        """Close the socket."""
        self._system_log.close()
        super().close()


def _severity(level: int) -> int:
    """The syslog severity of one of our levels."""
    for lowest, severity in ((70, 0), (60, 1), (50, 2), (40, 3), (30, 4), (25, 5), (20, 6)):
        if level >= lowest:
            return severity
    return 7
