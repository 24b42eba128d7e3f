"""The server's log: gearmand's levels, readable lines or JSON objects, and the broker's events as lines.

Nothing else in the package formats log lines of events, and nothing here decides anything.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from gearman_server.events import (
    EVERY_JOB,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    EventStream,
    FunctionRegistered,
    FunctionUnregistered,
    JobAssigned,
    JobDropped,
    JobEnded,
    JobQueued,
    JobRequeued,
    RequestRefused,
)

NOTICE: Final = 25
ALERT: Final = 60
FATAL: Final = 70

#: gearmand's names, the most talkative last.
LEVELS: Final = {
    "FATAL": FATAL,
    "ALERT": ALERT,
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "NOTICE": NOTICE,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
}
LEVEL_NAMES: Final = {level: name for name, level in LEVELS.items()}

logger: Final = logging.getLogger("gearman_server")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where the log goes, how much of it, in which form."""

    file: str = "stderr"
    level: str = "ERROR"
    format: str = "text"


class TextFormatter(logging.Formatter):
    """`2026-01-05 20:27:47.123 INFO connection 127.0.0.1:50062: opened`"""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{at}.{int(record.msecs):03d} {LEVEL_NAMES.get(record.levelno, record.levelname)} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


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
        return json.dumps(entry, ensure_ascii=False)


class ReopeningFileHandler(logging.FileHandler):
    """A log file that is opened anew, by name, when it was rotated away."""

    def reopen(self) -> None:
        """Go on in the file that has the name now; when it can't be opened, in the old one."""
        self.acquire()
        try:
            opened = self._open()
        except OSError as failure:
            logger.error("the log file %s can't be reopened, the old one goes on: %s", self.baseFilename, failure)
        else:
            old, self.stream = self.stream, opened
            if old is not None:
                old.close()
        finally:
            self.release()


def configure(settings: LogSettings) -> None:
    """Set the log up. A file that can't be opened makes it fall back to stderr, with a warning, as in gearmand."""
    logging.raiseExceptions = False  # a log that can't be written must not write about itself
    logger.setLevel(LEVELS[settings.level])
    logger.propagate = False
    handler, problem = _handler(settings.file)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    logger.handlers[:] = [handler]
    if problem is not None:
        logger.warning("the log goes to stderr: %s", problem)


def _handler(file: str) -> tuple[logging.Handler, str | None]:
    if file == "none":
        return logging.NullHandler(), None
    if file != "stderr":
        try:
            return ReopeningFileHandler(file, encoding="utf-8"), None
        except OSError as failure:
            return logging.StreamHandler(sys.stderr), f"{file} can't be opened: {failure.strerror}"
    return logging.StreamHandler(sys.stderr), None


def reopen() -> None:
    """The log file was rotated."""
    for handler in logger.handlers:
        if isinstance(handler, ReopeningFileHandler):
            logger.log(NOTICE, "reopening the log file")
            handler.reopen()


def log_events(events: EventStream) -> None:
    """Write the broker's events into the log. Those of a level that isn't logged are not even subscribed to."""
    for level, types in _LEVELS_OF_EVENTS:
        if logger.isEnabledFor(level):
            events.subscribe(partial(_write_event, level), *types)


_LEVELS_OF_EVENTS: Final[tuple[tuple[int, tuple[type[Event], ...]], ...]] = (
    (logging.WARNING, (RequestRefused, JobRequeued)),
    (NOTICE, (JobDropped,)),
    (logging.INFO, (ConnectionOpened, ConnectionClosed, FunctionRegistered, FunctionUnregistered)),
    (logging.DEBUG, EVERY_JOB),
)


def _write_event(level: int, event: Event) -> None:
    message, fields = describe(event)
    logger.log(level, "%s", message, extra={"fields": fields})


def describe(event: Event) -> tuple[str, dict[str, object]]:
    """An event as a line for people, and as fields for machines."""
    fields = {name: _plain(value) for name, value in event._asdict().items()}
    fields = {"event": type(event).__name__, **fields}
    return _MESSAGES[type(event)].format_map(fields), fields


def _plain(value: object) -> object:
    if not isinstance(value, bytes):
        return value if isinstance(value, (str, int)) else str(value)
    text = value.decode("utf-8", "backslashreplace")
    # What a peer chose must not move the cursor of whoever reads the log.
    return text if text.isprintable() else text.encode("unicode_escape").decode()


_MESSAGES: Final[dict[type[Event], str]] = {
    ConnectionOpened: "connection {identity}: opened",
    ConnectionClosed: "connection {identity} ({client_id}): ended, {reason}",
    FunctionRegistered: "connection {identity} ({client_id}): registered for {function}",
    FunctionUnregistered: "connection {identity} ({client_id}): no longer registered for {function}",
    RequestRefused: "connection {identity}: refused with {code}: {text}",
    JobQueued: "job {handle} of {function}: queued",
    JobAssigned: "job {handle} of {function}: assigned to {worker}",
    JobEnded: "job {handle} of {function}: ended with {how}",
    JobRequeued: "job {handle} of {function}: back in its queue for the {requeues}. time, {reason}",
    JobDropped: "job {handle} of {function}: dropped, {reason}",
}
