"""Ends what a worker had started in a session of its own, and left behind: no signal to the worker's reaches it.

When its parent is gone such a process falls to the supervisor, as subreaper; whose it was stands in its environment.
What cleared its environment, or was forked without an exec, ends with the manager.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import gevent

from gearman_manager.host import process
from gearman_manager.worker.order import CLIENT_ID_VARIABLE

#: By then the worker's own session has been killed, and the kernel has handed its children over.
DELAY_S: Final = 0.2
_log = logging.getLogger("workers")


class Leftovers:
    """The workers that are gone and whose leavings nobody has looked for yet: one look for all that end together."""

    def __init__(self, known: Callable[[], set[int]]) -> None:
        """`known` are processes that somebody waits for."""
        self._known = known
        self._ids: set[str] = set()

    def left_by(self, client_id: str) -> None:
        """This worker is gone."""
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
