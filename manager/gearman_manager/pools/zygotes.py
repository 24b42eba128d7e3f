"""The zygotes that live: the one that forks, and those that load or leave. Whoever wants one killed asks here.

Which code a zygote has, and whether it takes over, is decided in `code`; `workforce` only asks for the one that forks.
"""

from __future__ import annotations

from gearman_manager.ipc.links import Links
from gearman_manager.pools.zygote_process import ForkEvents, ZygoteEnd, ZygoteProcess


class Zygotes:
    """Every zygote of this manager."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._alive: set[ZygoteProcess] = set()
        #: The one that forks workers; None while its successor, or the first one, is on its way.
        self.current: ZygoteProcess | None = None

    @property
    def pids(self) -> set[int]:
        """Every zygote that lives, whether it loads, serves or leaves."""
        return {zygote.pid for zygote in self._alive}

    def start(self, log_level: str, forks: ForkEvents, gone: ZygoteEnd) -> ZygoteProcess:
        """One more, without any code yet. `forks` hears of its workers, `gone` is called at its end.

        Raises:
            StartError: the system refuses.
        """

        def ended(zygote: ZygoteProcess, status: int | None) -> None:
            self._alive.discard(zygote)
            gone(zygote, status)

        zygote = ZygoteProcess(self._links, log_level, forks, ended)
        self._alive.add(zygote)
        return zygote

    def kill_current(self) -> None:
        """It does not answer, or is not waited for: orders that it did not carry out are void then."""
        if self.current is not None:
            self.current.kill()

    def end(self, timeout_s: float) -> None:
        """Let the current one end, and kill it where that takes longer."""
        zygote = self.current
        if zygote is None:
            return
        zygote.dismiss()
        if not zygote.wait_for_end(timeout_s):
            zygote.kill()
