"""Where log lines go: standard streams, a file that may be rotated, the system's log. What to log is decided elsewhere.

A line that can't be written never stops the manager; those that were lost are counted and told.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast

from gearman_process.patient_stream import PatientStream
from gearman_process.system_log import SystemLog

if TYPE_CHECKING:
    StreamHandler = logging.StreamHandler[TextIO]
else:
    StreamHandler = logging.StreamHandler

#: Instead of a file's name; `config.merge` knows it too.
SYSLOG: Final = "syslog"
_NAME: Final = "gearman-manager"


def is_first_process() -> bool:
    """We are process 1: a container's only service, whose log its runtime reads from standard output."""
    return os.getpid() == 1


def destination(file: str | None) -> logging.Handler:
    """The handler for `log.file`.

    Raises:
        OSError: the file can't be opened, or there is no system's log.
    """
    if file == SYSLOG:
        return SystemLogHandler()
    if file is not None:
        return LogFile(Path(file))
    return LogStream(sys.stdout if is_first_process() else sys.stderr)


class CountingHandler(StreamHandler):
    """A stream that may refuse lines: a full disk, a reader that went away. They are counted, and told afterwards."""

    _lost = 0
    _reason = ""

    @property
    def problem(self) -> str:
        """Why lines are being lost, while they are."""
        return f"log lines are lost: {self._reason}" if self._lost else ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it."""
        before = self._lost
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)
        if before and self._lost == before:
            self._lost = 0
            text = f"{before} log lines were lost: {self._reason}"
            self.emit(logging.LogRecord(record.name, logging.ERROR, "", 0, text, None, None))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Called within the handling of what went wrong."""
        self._lost += 1
        self._reason = str(sys.exc_info()[1])


class LogStream(CountingHandler):
    """Standard output or standard error. A reader that is behind costs lines, not the manager's time."""

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._patient = PatientStream.beside(stream.fileno())
        super().__init__(cast(TextIO, self._patient))

    def close(self) -> None:
        """Give its descriptor back."""
        self._patient.close()
        super().close()

    @property
    def is_journal(self) -> bool:
        """systemd's journal reads it: `$JOURNAL_STREAM` names its device and inode (systemd.exec(5))."""
        with suppress(OSError, ValueError):
            stream = os.fstat(self._patient.fileno())
            return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
        return False


class LogFile(CountingHandler, logging.handlers.WatchedFileHandler):
    """A file that is opened anew, by name, with the first line after it was moved away."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when it can't be opened."""
        logging.handlers.WatchedFileHandler.__init__(self, path, encoding="utf-8", errors="backslashreplace")

    def reopen(self) -> None:
        """The file was rotated. That it can't be opened is told with the next line that can be written."""
        with suppress(OSError):
            self.reopenIfNeeded()


class SystemLogHandler(logging.Handler):
    """The system's log."""

    def __init__(self) -> None:
        """Raises OSError when there is none."""
        super().__init__()
        self._system_log = SystemLog(_NAME)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record; what the system's log does not take at once is lost."""
        self._system_log.send(severity_of(record.levelno), self.format(record))

    def close(self) -> None:
        """Give its socket back."""
        self._system_log.close()
        super().close()


def severity_of(level: int) -> int:
    """The severity of syslog(3) that a level of ours is."""
    return next(severity for lowest, severity in _SEVERITIES if level >= lowest)


_SEVERITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
