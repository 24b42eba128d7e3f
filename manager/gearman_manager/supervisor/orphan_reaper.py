"""Reaps what nobody else waits for, so that orphans that we adopted do not stay as zombies.

As process 1 of a container, or as child subreaper, the manager inherits what workers and programs leave behind. It
never knew these processes, so no pidfd tells of their end: only SIGCHLD does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Final

import gevent

from gearman_manager.host import process
from gearman_manager.logs.uncaught import watch_readable
from gearman_manager.pools.workforce import Workforce

#: A module that leaves thousands of processes behind costs at most so many looks a second.
INTERVAL_S: Final = 0.05


class OrphanReaper:
    """Looks soon after a child has ended, and whenever it is told to."""

    def __init__(self, workforce: Workforce, own_pids: Callable[[], set[int]]) -> None:
        """`own_pids` are all processes that somebody else waits for."""
        self._workforce = workforce
        self._own_pids = own_pids
        self._loop = gevent.get_hub().loop
        self._timer: Any = None  # while a look is due
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watcher = watch_readable(self._loop, self._read_end, self._noticed)

    def start(self) -> None:
        """Hear of every child's end from now on."""
        # Python's own handler only writes into the pipe. The loop's would reap, and lose what it learns.
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def reap(self) -> None:
        """Collect all zombies that are nobody's; the workforce hears of them, and of those that stand still."""
        for pid, ended in process.reap_strangers(self._own_pids()):
            self._workforce.exited(pid, ended)
        for pid in process.stopped_children():
            self._workforce.stopped(pid)

    def close(self) -> None:
        """Look no more."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        self._watcher.stop()
        self._watcher.close()
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        os.close(self._read_end)
        os.close(self._write_end)

    def _noticed(self) -> None:
        os.read(self._read_end, 4096)
        self._look_soon()

    def _look_soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.timer(INTERVAL_S)
            self._timer.start(self._look)

    def _look(self) -> None:
        self._timer.close()
        self._timer = None
        self.reap()
        if process.a_child_has_ended():  # one that somebody is about to wait for: others may be behind it
            self._look_soon()
