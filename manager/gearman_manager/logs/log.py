"""The manager's log: one line per event, as text for people or as JSON. `destinations` has the handlers.

A line names pool, worker, pid, function and handle if it has them; the logging call passes them as `extra`.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Final, Protocol

from gearman_manager.logs.destinations import (
    CountingHandler,
    LogFile,
    LogStream,
    SystemLogHandler,
    destination,
    is_first_process,
    severity_of,
)
from gearman_manager.logs.redaction import REDACTION
from gearman_process.values.escaping import escape_json, escape_line, escape_text

_log = logging.getLogger("manager")
FIELDS: Final = ("pool", "worker", "pid", "function", "handle")


class LogSettings(Protocol):
    """The operator's settings for the log, such as the configuration's section `log`."""

    @property
    def file(self) -> str | None:
        """A path, or `syslog`; None means a standard stream."""

    @property
    def format(self) -> str | None:
        """`text` or `json`; None means the one that fits the destination."""

    @property
    def level(self) -> str:
        """The lowest level that is logged: `debug`, `info`, `warning` or `error`."""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The named fields that this record has."""
    return {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 INFO    email/3 pid 812 send_email H:box:7: text`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; further lines (a traceback) are indented below it."""
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return f"{moment}.{int(record.msecs):03d} {record.levelname:<7} {self.body(record)}"

    def body(self, record: logging.LogRecord) -> str:
        """All but time and level."""
        fields = fields_of(record)
        where = str(fields.get("worker") or fields.get("pool") or record.name)
        if "pid" in fields:
            where += f" pid {fields['pid']}"
        for name in ("function", "handle"):
            if name in fields:
                where += f" {fields[name]}"
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = escape_text(text).replace("\n", "\n    ")
        return f"{escape_line(where)}: {text}"


class SystemLogFormatter(TextFormatter):
    """`email/3 pid 812 send_email H:box:7: text`. The system's log adds time and level itself."""

    def format(self, record: logging.LogRecord) -> str:
        return self.body(record)


class JournalFormatter(TextFormatter):
    """The same, with the priority of sd-daemon(3) before each line. The journal adds the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{severity_of(record.levelno)}>"
        return mark + self.body(record).replace("\n", f"\n{mark}")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, logger, message and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, even for a message of several lines."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname, "logger": record.name}
        return escape_json(json.dumps(line | fields_of(record) | {"message": text}, ensure_ascii=False, default=str))


def style_of(settings: LogSettings) -> str:
    """`text` or `json`: as configured; else text for people, JSON for a container's runtime."""
    if settings.format is not None:
        return settings.format
    return "json" if settings.file is None and is_first_process() else "text"


def set_up(settings: LogSettings) -> None:
    """Send all records to the configured destination.

    Raises:
        OSError: the file can't be opened, or there is no system log. The log keeps its destination.
    """
    handler = destination(settings.file)
    for old in logging.root.handlers[:]:
        logging.root.removeHandler(old)
        old.close()
    add(handler, settings)
    logging.root.setLevel(settings.level.upper())
    logging.getLogger("watchdog").setLevel(max(logging.INFO, logging.root.level))  # its DEBUG logs every event
    logging.getLogger("watchdog.observers.inotify").addFilter(_is_no_end_of_a_watch)


def _is_no_end_of_a_watch(record: logging.LogRecord) -> bool:
    """watchdog calls it an error if we end a watch while its thread is at work; nothing is wrong then."""
    return "when the thread is inactive" not in record.msg


def add(handler: logging.Handler, settings: LogSettings) -> None:
    """Send all records to one more handler, in the same format."""
    handler.setFormatter(_formatter(handler, settings))
    handler.addFilter(REDACTION)
    logging.root.addHandler(handler)


def _formatter(handler: logging.Handler, settings: LogSettings) -> logging.Formatter:
    if style_of(settings) == "json":
        return JsonFormatter()
    if isinstance(handler, SystemLogHandler):
        return SystemLogFormatter()
    if settings.format is None and isinstance(handler, LogStream) and handler.is_journal:
        return JournalFormatter()
    return TextFormatter()


def problems() -> dict[str, str]:
    """The reasons why log lines are being lost, by the file or stream that does not take them."""
    handlers = [handler for handler in logging.root.handlers if isinstance(handler, CountingHandler)]
    return {getattr(handler, "baseFilename", "log"): handler.problem for handler in handlers if handler.problem}


def reopen() -> None:
    """Continue, after a rotation, in the file that has the name now, even if there is nothing to write yet."""
    for handler in logging.root.handlers:
        if isinstance(handler, LogFile):
            handler.reopen()
    _log.info("reopened the log")
