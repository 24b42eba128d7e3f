"""The log's destinations: standard streams, a file that may be rotated, the system's log.

A line that can't be written never stops the manager. Lost lines are counted, and the log says how many they were.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from gearman_manager.logs.lost_lines import LOST
from gearman_process.logs.log_file import mode_of, open_log
from gearman_process.logs.patient_stream import PatientStream
from gearman_process.logs.system_log import SystemLog

if TYPE_CHECKING:
    StreamHandler = logging.StreamHandler[TextIO]
else:
    StreamHandler = logging.StreamHandler

#: Instead of a file's name; `config.merge` knows it too.
SYSLOG: Final = "syslog"
_NAME: Final = "gearman-manager"


def is_first_process() -> bool:
    """Whether we are process 1: a container's only service, whose log the runtime reads from standard output."""
    return os.getpid() == 1


def destination(file: str | None) -> logging.Handler:
    """The handler for `log.file`.

    Raises:
        OSError: the file can't be opened, or there is no system log.
    """
    if file == SYSLOG:
        return SystemLogHandler()
    if file is not None:
        return LogFile(Path(file))
    return LogStream(sys.stdout if is_first_process() else sys.stderr)


class CountingHandler(StreamHandler):
    """A stream that may refuse lines, on a full disk or without a reader. They are counted and reported afterwards."""

    _lost = 0
    _reason = ""

    @property
    def problem(self) -> str:
        """The reason why lines are being lost; empty if none are."""
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
        """Count the lost record. It is called while its exception is handled."""
        self._lost += 1
        LOST.unwritten += 1
        self._reason = str(sys.exc_info()[1])


class LogStream(CountingHandler):
    """Standard output or standard error. A slow reader costs lines, not the manager's time."""

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._patient = PatientStream.beside(stream.fileno())
        super().__init__(cast(TextIO, self._patient))

    def close(self) -> None:
        """Close its descriptor."""
        self._patient.close()
        super().close()

    @property
    def is_journal(self) -> bool:
        """Whether systemd's journal reads it: `$JOURNAL_STREAM` has its device and inode (systemd.exec(5))."""
        with suppress(OSError, ValueError):
            stream = os.fstat(self._patient.fileno())
            return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
        return False


class LogFile(CountingHandler, logging.handlers.WatchedFileHandler):
    """A file that is opened anew, by name, at the first line after it was moved away."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when it can't be opened."""
        self._mode: int | None = None
        logging.handlers.WatchedFileHandler.__init__(self, path, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> Any:  # logging's name, and its way to open the file, also after a rotation
        return open(open_log(self.baseFilename, self._mode), "a", encoding=self.encoding, errors=self.errors)

    def reopenIfNeeded(self) -> None:  # noqa: N802 (the name is logging's)
        """Reopen the file if it was moved away; the new one gets its mode."""
        if self.stream is not None:
            self._mode = mode_of(self.stream.fileno())
        super().reopenIfNeeded()

    def reopen(self) -> None:
        """Reopen the file after it was rotated. If it can't be opened, the next line that can be written says so."""
        with suppress(OSError):
            self.reopenIfNeeded()


class SystemLogHandler(logging.Handler):
    """The system's log."""

    def __init__(self) -> None:
        """Raises OSError when there is no system log."""
        super().__init__()
        self._system_log = SystemLog(_NAME)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record; it is lost if the system's log does not take it at once."""
        if not self._system_log.send(severity_of(record.levelno), self.format(record)):
            LOST.unwritten += 1

    def close(self) -> None:
        """Close its socket."""
        self._system_log.close()
        super().close()


def severity_of(level: int) -> int:
    """The severity of syslog(3) for one of our levels."""
    return next(severity for lowest, severity in _SEVERITIES if level >= lowest)


_SEVERITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
