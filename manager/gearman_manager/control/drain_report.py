"""What is left to be done in a drain: for `status`, `health`, and the command that waits for its end."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from gearman_manager.job_servers.job_servers import JobServers
from gearman_manager.pools.drain import Drain
from gearman_manager.scaling.queues import Queues
from gearman_process.values.counting import counted
from gearman_process.values.durations import format_duration

#: How often a follower's report is made anew.
LOOK_S: Final = 0.1

Report = dict[str, Any]


class DrainReport:
    """Makes reports from the parts' current state."""

    def __init__(self, drain: Drain, job_servers: JobServers, queues: Queues) -> None:
        self._drain = drain
        self._job_servers = job_servers
        self._queues = queues

    def report(self) -> Report | None:
        """What is left now; None while the manager does not drain."""
        drain = self._drain
        if not drain.is_on:
            return None
        left_s = drain.until - time.monotonic()
        return {
            "until": None if left_s == math.inf else round(time.time() + left_s, 1),
            "running": drain.running,
            "programs": drain.programs,
            "may_begin": drain.may_begin(),
            "returned": drain.returned,
            "server": self._server(),
            "over": drain.over.is_set(),
        }

    def follow(self) -> Iterator[Report]:
        """The report now, then again whenever it has changed, until the manager ends."""
        last: Report | None = None
        is_over = False
        while not is_over:
            is_over = self._drain.over.is_set()
            now = self.report()
            if now is not None and now != last:
                yield now
            last = now
            if not is_over:
                self._drain.over.wait(LOOK_S)

    @property
    def text(self) -> str:
        """One line for people; empty while the manager does not drain."""
        drain = self._drain
        if not drain.is_on:
            return ""
        left_s = max(0.0, drain.until - time.monotonic())
        until = "" if left_s == math.inf else f", for {format_duration(round(left_s))} at most"
        programs = f" and {counted(drain.programs, 'program')}" if drain.programs else ""
        return f"draining: {counted(drain.running, 'job')}{programs} left{until}"

    def _server(self) -> Report | None:
        """What the bundled job servers, which end with the manager, hold for others; None without any."""
        bundled = self._job_servers.bundled
        if bundled is None:
            return None
        servers = [server for server in self._queues.servers if server.address in bundled]
        running = Counter[str]()
        for server in servers:
            running.update({function: queue.running for function, queue in server.functions.items()})
        return {
            "instances": len(self._job_servers.instances),
            "durable": self._job_servers.is_durable,
            "finishing": self._job_servers.is_finishing,
            "waiting": sum(queue.waiting for server in servers for queue in server.functions.values()),
            "running_elsewhere": max(0, running.total() - self._drain.own_jobs(running)),
        }
