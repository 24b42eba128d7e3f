"""Kills processes that a worker started in another session and left behind: no signal to its own session reaches them.

After their parent's end they become children of the supervisor, as subreaper; their environment names the worker.
Processes that cleared their environment, or were forked without an exec, end with the manager.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import gevent

from gearman_manager.host import process
from gearman_manager.worker.order import CLIENT_ID_VARIABLE

#: By then the worker's session has been killed, and the kernel has made us its children's parent.
DELAY_S: Final = 0.2
_log = logging.getLogger("workers")


class Leftovers:
    """Collects workers that are gone, and looks once for the leftovers of all that ended together."""

    def __init__(self, known: Callable[[], set[int]]) -> None:
        """`known` returns the processes that other parts wait for."""
        self._known = known
        self._ids: set[str] = set()

    def left_by(self, client_id: str) -> None:
        """Note that this worker is gone."""
        if not self._ids:
            gevent.spawn_later(DELAY_S, self._look)
        self._ids.add(client_id)

    def _look(self) -> None:
        ids, self._ids = self._ids, set()
        for pid in process.child_pids() - self._known():
            if (client_id := process.environment_value(pid, CLIENT_ID_VARIABLE)) in ids:
                worker = str(client_id).partition("/")[2]
                _log.info("killed what it had left behind: pid %d", pid, extra={"worker": worker})
                process.kill_tree(pid)
