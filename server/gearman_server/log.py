"""The server's logger, and gearmand's levels. All rooms write to it; `process.log_handlers` decides where lines go.

It imports nothing from the package, so that every room can import it.
"""

from __future__ import annotations

import logging
import time
from typing import Final

NOTICE: Final = 25
ALERT: Final = 60
FATAL: Final = 70

#: gearmand's names, the most verbose level last.
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


def level_name() -> str:
    """The lowest level that is logged, by gearmand's name."""
    level = logger.getEffectiveLevel()
    return LEVEL_NAMES.get(level, logging.getLevelName(level))


class SeldomLog:
    """Logs a kind of event at most once per interval; the next line says how many were left out."""

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
