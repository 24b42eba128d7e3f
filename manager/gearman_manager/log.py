"""The manager's log: one line an event, readable on a terminal, JSON when asked; to standard error or a file.

A line names pool, worker, pid, function and handle where it has them: they travel as `extra` of the logging call.
"""

import json
import logging
import logging.handlers
import sys
import time
from pathlib import Path
from typing import Any, Final

FIELDS: Final = ("pool", "worker", "pid", "function", "handle")


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The named fields that this record has."""
    return {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 INFO    email/3 pid 812 send_email H:box:7: text`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; further lines (a traceback) are indented below it."""
        fields = fields_of(record)
        where = str(fields.get("worker") or fields.get("pool") or record.name)
        if "pid" in fields:
            where += f" pid {fields['pid']}"
        for name in ("function", "handle"):
            if name in fields:
                where += f" {fields[name]}"
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = text.replace("\n", "\n    ")
        return f"{moment}.{int(record.msecs):03d} {record.levelname:<7} {where}: {text}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname, "logger": record.name}
        return json.dumps(line | fields_of(record) | {"message": text}, ensure_ascii=False, default=str)


def set_up(level: str, style: str, file: Path | None) -> None:
    """Send all records to the file (reopened when it was moved away), or to standard error.

    Raises:
        OSError: the file can't be opened.
    """
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = logging.handlers.WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    for old in logging.root.handlers[:]:
        logging.root.removeHandler(old)
        old.close()
    add(handler, style)
    logging.root.setLevel(level)
    logging.getLogger("watchdog").setLevel(max(logging.INFO, logging.root.level))  # its DEBUG tells of every event


def add(handler: logging.Handler, style: str) -> None:
    """Let one more handler have all records, formatted in the same way."""
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.root.addHandler(handler)
