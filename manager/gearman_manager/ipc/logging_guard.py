"""Keeps the way of log records to the supervisor open, whatever user code does to `logging`.

One module's `dictConfig` or `basicConfig` is meant for a program of its own, but here it would take every other
module's lines away: it replaces the handlers of the root, switches off all loggers that exist, and sets the root's
level. So in a manager's Python child each record goes to our sink, besides the handlers that user code has set up:

* The manager's `log.level` decides, and the level of a logger below the root, which quiets one library.
* A logger that `logging.config` switches off because it existed before stays on. `logging.disable` is for others.
* A handler that prints on our standard output or error would print a line that is in the log already; its format is
  used, and it does not print.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

_OUTPUTS: Final = ("stdout", "stderr", "__stdout__", "__stderr__")


class Sink(logging.Handler):
    """Where the records go; its level is the lowest that it takes. It may be the root's handler, too."""

    def take(self, record: logging.LogRecord, printer: logging.Handler | None) -> None:
        """Take a record. `printer`: a handler of user code that would print it, for its format. It must not raise."""
        raise NotImplementedError


_sink: Sink | None = None


def install(sink: Sink) -> None:
    """Send every record of this process to `sink`."""
    global _sink
    _sink = sink
    # By name, because the types of these attributes are not to be assigned.
    for name, replacement in (
        ("callHandlers", _call_handlers),
        ("isEnabledFor", _is_enabled_for),
        ("disabled", property(_is_disabled, _set_disabled)),
    ):
        setattr(logging.Logger, name, replacement)


class OwnLogger(logging.Logger):
    """A logger outside the tree that user code configures, for lines that must arrive: why a job failed, for instance.

    The handlers that user code has set up for a logger of this name get its records, too.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 (the name is logging's)
        """Whether the manager logs this level."""
        if _sink is None:
            return logging.getLogger(self.name).isEnabledFor(level)
        return level >= _sink.level

    def makeRecord(self, *arguments: Any, **named: Any) -> logging.LogRecord:  # noqa: N802 (the name is logging's)
        """Make a record with the factory that user code may have set, or without it if it fails."""
        try:
            return super().makeRecord(*arguments, **named)
        except Exception:  # noqa: BLE001 (user code)
            record = logging.LogRecord(*arguments[:7])
            record.__dict__.update(named.get("extra") or dict(*arguments[8:9]))
            return record

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Hand the record to the sink, then to user code's handlers, whose errors are only noted."""
        same = logging.getLogger(self.name)
        if _sink is None:
            same.handle(record)
            return
        _sink.take(record, None)
        try:
            _hand_out(same, record)
        except Exception as error:  # noqa: BLE001 (user code; the line itself has arrived)
            text = f"a log handler failed: {type(error).__name__}"
            _sink.take(logging.LogRecord(self.name, logging.WARNING, "", 0, text, (), None), None)


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Replaces `Logger.callHandlers`."""
    if _sink is not None and record.levelno >= _sink.level:
        _sink.take(record, next(filter(_prints, _handlers_of(logger)), None))
    _hand_out(logger, record)


def _hand_out(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Hand a record to user code's handlers, as `Logger.callHandlers` does, except to those that print."""
    if _is_wanted_by_user(logger, record.levelno):
        for handler in _handlers_of(logger):
            if record.levelno >= handler.level and handler is not _sink and not _prints(handler):
                handler.handle(record)


def _handlers_of(logger: logging.Logger) -> Iterator[logging.Handler]:
    current: logging.Logger | None = logger
    while current is not None:
        yield from current.handlers
        current = current.parent if current.propagate else None


def _prints(handler: logging.Handler) -> bool:
    """Whether a handler does no more than print on our standard output or error."""
    if handler is _sink or getattr(type(handler), "emit", None) is not logging.StreamHandler.emit:
        return False
    stream = getattr(handler, "stream", None)
    if any(stream is getattr(sys, name, None) for name in _OUTPUTS):
        return True
    try:
        return stream is not None and stream.fileno() in (1, 2)
    except (AttributeError, OSError, ValueError, TypeError):
        return False


def _is_enabled_for(logger: logging.Logger, level: int) -> bool:
    """Replaces `Logger.isEnabledFor`, also in its use of the cache, which `setLevel` and `disable` empty."""
    if logger.disabled:
        return False
    cache: dict[int, bool] = logger._cache  # type: ignore[attr-defined]
    if level not in cache:
        ours = _sink is not None and level >= max(_sink.level, _level_below_root(logger))
        cache[level] = ours or _is_wanted_by_user(logger, level)
    return cache[level]


def _is_wanted_by_user(logger: logging.Logger, level: int) -> bool:
    return logger.manager.disable < level and level >= logger.getEffectiveLevel()


def _level_below_root(logger: logging.Logger) -> int:
    """The level that was set for a logger or one above it, but not for all."""
    current: logging.Logger | None = logger
    while current is not None and current is not logging.root:
        if current.level:
            return current.level
        current = current.parent
    return logging.NOTSET


def _is_disabled(logger: logging.Logger) -> bool:
    return bool(logger.__dict__.get("disabled", False))


def _set_disabled(logger: logging.Logger, value: bool) -> None:
    caller: Mapping[str, Any] = sys._getframe(1).f_globals
    if value and caller.get("__name__") == "logging.config":
        return
    logger.__dict__["disabled"] = value
