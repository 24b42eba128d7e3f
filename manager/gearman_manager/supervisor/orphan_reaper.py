"""Reaps adopted orphans that no other part waits for, so that they do not stay as zombies.

As process 1 of a container, or as child subreaper, the manager inherits the processes that workers and programs leave
behind. It has no pidfd for them, so only SIGCHLD reports their end.
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

#: The shortest time between two looks. It bounds the cost of a module that leaves thousands of processes behind.
INTERVAL_S: Final = 0.05


class OrphanReaper:
    """Looks for zombies soon after a child has ended, and on request."""

    def __init__(self, workforce: Workforce, own_pids: Callable[[], set[int]]) -> None:
        """`own_pids` returns all processes that other parts wait for."""
        self._workforce = workforce
        self._own_pids = own_pids
        self._loop = gevent.get_hub().loop
        self._timer: Any = None  # set while a look is due
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watcher = watch_readable(self._loop, self._read_end, self._noticed)

    def start(self) -> None:
        """Notice every child's end from now on."""
        # Python's own handler only writes into the pipe. The loop's would reap, and lose the exit status.
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def reap(self) -> None:
        """Reap all zombies that no other part waits for, and tell the workforce of them and of stopped processes."""
        for pid, ended in process.reap_strangers(self._own_pids()):
            self._workforce.exited(pid, ended)
        for pid in process.stopped_children():
            self._workforce.stopped(pid)

    def close(self) -> None:
        """Stop looking."""
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
        if process.a_child_has_ended():  # another part is about to reap this one, and it may hide others
            self._look_soon()
