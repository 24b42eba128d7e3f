"""The server's log: gearmand's levels, readable lines or JSON objects, and the broker's events as lines.

Nothing else in the package formats log lines of events, and nothing here decides anything.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gearman_server.jobs.events import (
    EVERY_JOB,
    AttemptFailed,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    EventStream,
    FunctionRegistered,
    FunctionsForgotten,
    FunctionUnregistered,
    JobAssigned,
    JobBuried,
    JobCoalesced,
    JobDropped,
    JobDue,
    JobEnded,
    JobFailed,
    JobQueued,
    JobRequeued,
    JobRevived,
    LettersForgotten,
    RequestRefused,
    ResultsForgotten,
    ScheduleClockSet,
    ScheduleRan,
    ScheduleRefused,
    ScheduleSkipped,
    ShutdownRequested,
    StoreFailed,
    StoreLost,
    StoreRecovered,
)
from gearman_server.process.log_handlers import FileHandler, LineHandler, SyslogHandler

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
    syslog: bool = False


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


def configure(settings: LogSettings) -> None:
    """Set the log up. A file that can't be opened makes it fall back to stderr and say so, as in gearmand."""
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
    return LineHandler.to_stderr()


class SeldomLog:
    """Logs a kind of event at most once per interval, then with how many it passed over since."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next = float("-inf")
        self._passed_over = 0

    def warning(self, message: str, *arguments: object) -> None:
        """Log it as a WARNING, or count it."""
        self._log(logging.WARNING, message, arguments)

    def error(self, message: str, *arguments: object) -> None:
        """Log it as an ERROR, or count it."""
        self._log(logging.ERROR, message, arguments)

    def _log(self, level: int, message: str, arguments: tuple[object, ...]) -> None:
        now = time.monotonic()
        if now < self._next:
            self._passed_over += 1
            return
        self._next = now + self._interval_s
        if self._passed_over:
            message, arguments = message + " (and %d times more before this)", (*arguments, self._passed_over)
            self._passed_over = 0
        logger.log(level, message, *arguments)


def level_name() -> str:
    """The level that is logged from, by gearmand's name."""
    level = logger.getEffectiveLevel()
    return LEVEL_NAMES.get(level, logging.getLevelName(level))


def reopen() -> None:
    """The log file was rotated."""
    for handler in logger.handlers:
        if isinstance(handler, FileHandler):
            logger.log(NOTICE, "reopening the log file")
            try:
                handler.reopen()
            except OSError as error:
                logger.error("the log file %s can't be reopened, the old one goes on: %s", handler.path, error.strerror)


def log_events(events: EventStream) -> None:
    """Write the broker's events into the log. Those of a level that isn't logged are not even subscribed to."""
    for level, types in _LEVELS_OF_EVENTS:
        if logger.isEnabledFor(level):
            for event_type in types:
                events.subscribe(EventLog(level), event_type)


_LEVELS_OF_EVENTS: Final[tuple[tuple[int, tuple[type[Event], ...]], ...]] = (
    (logging.ERROR, (StoreFailed, StoreLost)),
    (logging.WARNING, (RequestRefused, JobRequeued, JobFailed, AttemptFailed, ScheduleRefused, ScheduleClockSet)),
    (
        NOTICE,
        (
            FunctionsForgotten,
            JobDropped,
            LettersForgotten,
            ResultsForgotten,
            ScheduleSkipped,
            ShutdownRequested,
            StoreRecovered,
        ),
    ),
    (
        logging.INFO,
        (
            ConnectionOpened,
            ConnectionClosed,
            FunctionRegistered,
            FunctionUnregistered,
            JobBuried,
            JobRevived,
            ScheduleRan,
        ),
    ),
    (logging.DEBUG, (*EVERY_JOB, JobDue)),
)


#: Lines about one kind of event within a second: any client can cause such events, as often as it likes. Whoever has
#: DEBUG logged follows single jobs, and gets every line.
MOST_LINES_A_SECOND: Final = 1000


class EventLog:
    """Writes events of one kind; those above the bound are counted, and the next line says how many."""

    def __init__(self, level: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._level = level
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def __call__(self, event: Event) -> None:
        """Write it, or count it."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= MOST_LINES_A_SECOND and self._level > logging.DEBUG:
            self._left_out += 1
            return
        self._lines += 1
        message, fields = describe(event)
        if self._left_out:
            message = f"{message} (and {self._left_out} more lines of this kind before it, left out)"
            fields["left_out"] = self._left_out
            self._left_out = 0
        logger.log(self._level, "%s", message, extra={"fields": fields})


def describe(event: Event) -> tuple[str, dict[str, object]]:
    """An event as a line for people, and as fields for machines."""
    fields = {name: _moment(value) if name in _MOMENTS else _plain(value) for name, value in event._asdict().items()}
    fields = {"event": type(event).__name__, **fields}
    return _MESSAGES[type(event)].format_map(fields), fields


def _moment(unix_time: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(unix_time))


def _plain(value: object) -> object:
    if not isinstance(value, bytes):
        return value if isinstance(value, (str, int)) else str(value)
    text = value.decode("utf-8", "backslashreplace")
    # What a peer chose must not move the cursor of whoever reads the log.
    return text if text.isprintable() else text.encode("unicode_escape").decode()


#: Fields that hold Unix seconds.
_MOMENTS: Final = frozenset({"since", "until"})
_MESSAGES: Final[dict[type[Event], str]] = {
    ConnectionOpened: "connection {identity}: opened",
    ConnectionClosed: "connection {identity} ({client_id}): ended, {reason}",
    FunctionRegistered: "connection {identity} ({client_id}): registered for {function}",
    FunctionUnregistered: "connection {identity} ({client_id}): no longer registered for {function}",
    FunctionsForgotten: "{functions} functions without jobs and workers are forgotten: there were very many",
    RequestRefused: "connection {identity}: refused with {code}: {text}",
    JobQueued: "job {handle} of {function}: queued",
    JobCoalesced: "job {handle} of {function}: submitted once more",
    JobDue: "job {handle} of {function}: its time has come, queued",
    JobAssigned: "job {handle} of {function}: assigned to {worker}",
    JobEnded: "job {handle} of {function}: ended with {how}",
    JobFailed: "job {handle} of {function}: taken from its worker, this attempt has failed: {reason}",
    AttemptFailed: "job {handle} of {function}: attempt {attempts} failed, the next follows in {wait_s} s: {reason}",
    JobRequeued: "job {handle} of {function}: back in its queue for the {requeues}. time, {reason}",
    JobDropped: "job {handle} of {function}: dropped, {reason}",
    ShutdownRequested: "connection {identity}: the command shutdown",
    JobBuried: "job {handle} of {function}: kept as a dead letter after {attempts} attempts: {error}",
    JobRevived: "job {handle} of {function}: a dead letter, queued again",
    ResultsForgotten: "{results} results are forgotten before their time: there are too many",
    ScheduleRan: "schedule {name}: job {handle} of {function} is submitted",
    ScheduleSkipped: "schedule {name}: runs of {function} were missed since {since} UTC, and are left out",
    ScheduleRefused: "schedule {name}: {function} can't be submitted, this run is left out: {reason}",
    ScheduleClockSet: "schedule {name}: it has run at {until} UTC, in the future: the clock was set; it begins anew",
    LettersForgotten: "{letters} dead letters are forgotten: {reason}",
    StoreFailed: "{reason}; background jobs are refused until it can be written again",
    StoreRecovered: "the store can be written again",
    StoreLost: "{reason}: this server ends",
}
