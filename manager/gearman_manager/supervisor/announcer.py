"""The manager towards whoever started it: the command that waits for a daemon, and the service manager.

The supervisor's main greenlet calls `pulse` with each pass of its loop, so that one that hangs is noticed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from gearman_manager.supervisor.health import Health
from gearman_process.service_manager import ServiceManager

_log = logging.getLogger("manager")
#: After so long it counts as up even if not all workers are there: their modules may take their time.
UP_PATIENCE_S: Final = 30.0
_LOOK_S: Final = 0.5
STATUS_INTERVAL_S: Final = 5.0
#: What the end takes beside the workers: zygote, job server, what is left.
_END_S: Final = 20.0


class Announcer:
    """Tells that the manager is up, how it does, that it reloads, that it ends."""

    def __init__(self, manager: ServiceManager, say_up: Callable[[], None]) -> None:
        self._manager = manager
        self._say_up = say_up
        self._is_up = False
        self._started_at: float | None = None
        self._status = ""
        self._status_at = 0.0
        self._alive_at = float("-inf")

    def pulse(self, now: float, standing: Callable[[], Health]) -> float | None:
        """Tell what is to be told by now; returns when to be called again at the latest."""
        if not self._is_up:
            self._look(now, standing())
        deadlines = [now + _LOOK_S] if not self._is_up else []
        if self._is_up and self._manager.is_listening:
            if now >= self._status_at + STATUS_INTERVAL_S:
                self._tell_status(now, standing())
            deadlines.append(self._status_at + STATUS_INTERVAL_S)
        if self._manager.patience_s is not None:
            deadlines.append(self._stay_alive(now, self._manager.patience_s / 2))
        return min(deadlines, default=None)

    def reloading(self) -> None:
        """Configuration and code are read again."""
        self._manager.tell_reloading()

    def reloaded(self) -> None:
        """That has ended, one way or the other."""
        if self._is_up:
            self._manager.tell(READY=1)

    def stopping(self, longest_s: float) -> None:
        """Running jobs are finished, which may take so long."""
        extension_us = int((longest_s + _END_S) * 1e6)
        self._manager.tell(STOPPING=1, STATUS="running jobs are finished", EXTEND_TIMEOUT_USEC=extension_us)

    def _look(self, now: float, standing: Health) -> None:
        if self._started_at is None:
            self._started_at = now
        if not standing.is_up and now < self._started_at + UP_PATIENCE_S:
            return
        if not standing.is_up:
            _log.warning("goes on without all workers that there should be: %s", standing.text)
        self._is_up = True
        self._status, self._status_at = standing.text, now
        self._manager.tell(READY=1, STATUS=standing.text)
        self._say_up()

    def _tell_status(self, now: float, standing: Health) -> None:
        self._status_at = now
        if standing.text != self._status:
            self._status = standing.text
            self._manager.tell(STATUS=standing.text)

    def _stay_alive(self, now: float, interval_s: float) -> float:
        if now >= self._alive_at + interval_s:
            self._alive_at = now
            self._manager.tell(WATCHDOG=1)
        return self._alive_at + interval_s
