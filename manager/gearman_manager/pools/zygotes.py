"""The living zygotes: the current one, which forks workers, and others that load code or leave.

The room `code` decides which code a zygote loads and whether it takes over; `workforce` only uses the current one.
"""

from __future__ import annotations

from collections.abc import Iterable

from gearman_manager.ipc.links import Links
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.zygote_process import ForkEvents, ZygoteEnd, ZygoteProcess


class Zygotes:
    """All zygotes of this manager."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._alive: set[ZygoteProcess] = set()
        #: The zygote that forks workers; None while its successor, or the first one, is on its way.
        self.current: ZygoteProcess | None = None

    @property
    def pids(self) -> set[int]:
        """The process numbers of all living zygotes, whether they load, serve or leave."""
        return {zygote.pid for zygote in self._alive}

    def start(self, log_level: str, forks: ForkEvents, gone: ZygoteEnd) -> ZygoteProcess:
        """Start a zygote, without any code yet. `forks` gets news of its workers, `gone` is called at its end.

        Raises:
            StartError: the system refuses.
        """

        def ended(zygote: ZygoteProcess, status: int | None) -> None:
            self._alive.discard(zygote)
            gone(zygote, status)

        zygote = ZygoteProcess(self._links, log_level, forks, ended)
        self._alive.add(zygote)
        return zygote

    def guard(self, workers: Iterable[LiveWorker]) -> None:
        """Let the current one guard these workers."""
        if self.current is None:
            return
        for live in list(workers):
            if live.pid:
                timeout_s = live.order.pool.stop_timeout_s
                self.current.guard(live.pidfd, live.pid, live.client_id, timeout_s, is_program=live.is_program)

    def kill_current(self) -> None:
        """Kill the current one, for example if it does not answer. Orders that it did not carry out become void."""
        if self.current is not None:
            self.current.kill()

    def end(self, timeout_s: float) -> None:
        """Let the current one end, and kill it if that takes longer."""
        zygote = self.current
        if zygote is None:
            return
        zygote.dismiss()
        if not zygote.wait_for_end(timeout_s):
            zygote.kill()
