"""Long work in turns: a thousand workers are looked at without a stop of the manager's loop."""

from __future__ import annotations

import time
from typing import Final

import gevent

#: How long one turn lasts. After a pause of no time gevent may go on before it has looked for other events.
TURN_S: Final = 0.005
PAUSE_S: Final = 0.0005


class Turns:
    """The turns of one piece of work, and the processor time that it has taken."""

    def __init__(self) -> None:
        self._began = time.thread_time()
        self._spent_s = 0.0

    @property
    def spent_s(self) -> float:
        """The processor time so far, without that of the others."""
        return self._spent_s + time.thread_time() - self._began

    def others(self) -> None:
        """Let the others run, if this turn has lasted long enough."""
        now = time.thread_time()
        if now - self._began >= TURN_S:
            self._spent_s += now - self._began
            gevent.sleep(PAUSE_S)
            self._began = time.thread_time()
