"""Informs those that started the manager: the command that waits for a daemon, and the service manager.

The supervisor's main greenlet calls `pulse` in each pass of its loop, so the service manager notices if it hangs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from gearman_manager.supervisor.health import Health
from gearman_process.service_manager import ServiceManager

_log = logging.getLogger("manager")
#: The manager then counts as up even if some workers have not registered: imports of modules may take long.
UP_PATIENCE_S: Final = 30.0
_LOOK_S: Final = 0.5
STATUS_INTERVAL_S: Final = 5.0
#: The time that the end takes after the workers': for zygote, job server and leftover processes.
_END_S: Final = 20.0
#: The most that is asked for at once, for an end that may take any time.
_LONGEST_EXTENSION_S: Final = 86400.0


class Announcer:
    """Announces that the manager is up, its health, its reloads and its end."""

    def __init__(self, manager: ServiceManager, say_up: Callable[[], None]) -> None:
        self._manager = manager
        self._say_up = say_up
        self._is_up = False
        self._started_at: float | None = None
        self._status = ""
        self._status_at = 0.0
        self._is_ending = False
        self._alive_at = float("-inf")

    @property
    def is_up(self) -> bool:
        """Whether it was announced that the manager is up."""
        return self._is_up

    def pulse(self, now: float, standing: Callable[[], Health]) -> float | None:
        """Send the messages that are due; returns the latest time for the next call, or None."""
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
        """Announce that configuration and code are being read again."""
        self._manager.tell_reloading()

    def reloaded(self) -> None:
        """Announce that the reload has ended, successfully or not."""
        if self._is_up:
            self._manager.tell(READY=1)

    def stopping(self, longest_s: float) -> None:
        """Announce that running jobs are being finished, for at most this long; infinite: as long as they take.

        More time is asked for with each later message on the state.
        """
        self._is_ending = True
        wait_s = min(longest_s, _LONGEST_EXTENSION_S)
        extension_us = int((wait_s + _END_S) * 1e6)
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
        if self._is_ending:
            self._manager.tell(STATUS=standing.text, EXTEND_TIMEOUT_USEC=int(_END_S * 1e6))
        elif standing.text != self._status:
            self._status = standing.text
            self._manager.tell(STATUS=standing.text)

    def _stay_alive(self, now: float, interval_s: float) -> float:
        if now >= self._alive_at + interval_s:
            self._alive_at = now
            self._manager.tell(WATCHDOG=1)
        return self._alive_at + interval_s
