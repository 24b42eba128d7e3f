"""Replaces the bundled job servers one after the other: a new process serves before the next one is touched."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import gevent

from gearman_client import Address
from gearman_manager.config import reachable
from gearman_manager.errors import NotFound, NotNow
from gearman_manager.job_servers.bundled import BundledServer
from gearman_manager.job_servers.bundled_process import ServerCanNotStart
from gearman_manager.job_servers.job_servers import JobServers
from gearman_manager.scaling.queues import Queues, ServerWatch
from gearman_process.values.durations import format_duration

_log = logging.getLogger("manager")
#: How often a follower's report is made anew, and how often we look whether the workers are back.
_LOOK_S: Final = 0.05
#: Workers that have not come back after this time are not waited for: they may serve others, or be gone.
_WORKERS_S: Final = 10.0

Report = dict[str, Any]


class _State(Enum):
    """Of one server. FINISHING, STARTING: its old process, its new one. CONNECTING: it serves, workers come back."""

    WAITING = "waiting"
    FINISHING = "finishing"
    STARTING = "starting"
    CONNECTING = "connecting"
    REPLACED = "replaced"
    FAILED = "failed"


@dataclass(slots=True)
class _Step:
    """The replacement of one server. running: its running jobs at the beginning."""

    server: BundledServer
    state: _State = _State.WAITING
    running: int = 0
    pid_before: int | None = None
    began_at: float = 0.0
    took_s: float | None = None
    error: str = ""

    @property
    def is_under_way(self) -> bool:
        return self.state in (_State.FINISHING, _State.CONNECTING)

    def report(self) -> Report:
        state = self.state
        if state is _State.FINISHING and self.server.pid != self.pid_before:
            state = _State.STARTING
        return {
            "name": self.server.title,
            "address": str(self.server.address),
            "state": state.value,
            "running": self.running,
            "pid_before": self.pid_before,
            "pid": self.server.pid,
            "took_s": self.took_s,
            "error": self.error,
        }


class ServerRestarts:
    """Carries out one rolling restart at a time, and knows the last one."""

    def __init__(self, job_servers: JobServers, queues: Queues) -> None:
        self._job_servers = job_servers
        self._queues = queues
        self._steps: list[_Step] = []
        self._within_s = 0.0
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._is_closed = False

    def begin(self, number: int | None, within_s: float, *, force: bool) -> None:
        """Replace the job server of that number (from 1), or all of them one after the other.

        within_s: how long each may finish its running jobs. force: also if queued jobs are lost.

        Raises:
            NotFound, NotNow: there is no such server, jobs would be lost, or this is no time for it.
        """
        if self._is_closed:
            raise NotNow("the manager is ending, and its job servers with it: none is replaced any more")
        if self._greenlet is not None and not self._greenlet.dead:
            raise NotNow("job servers are being replaced already: wait for the end of that")
        servers = self._chosen(number)
        if not self._job_servers.is_durable and not force:
            raise NotNow(self._loss(servers))
        # One that is down first: else there might be none for a while.
        self._steps = [_Step(server) for server in sorted(servers, key=lambda server: server.pid is not None)]
        self._within_s = within_s
        self._greenlet = gevent.spawn(self._run, self._steps)

    def close(self) -> None:
        """Begin no other: the manager is ending."""
        self._is_closed = True
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    @property
    def away(self) -> list[Address]:
        """The job servers of our queues that do not answer because they are being replaced just now."""
        if self._greenlet is None or self._greenlet.dead:
            return []
        watches = [self._watch(step.server) for step in self._steps if step.is_under_way]
        return [watch.address for watch in watches if watch is not None and not watch.is_up]

    def report(self) -> Report | None:
        """How far the last restart is; None if there was none."""
        if self._greenlet is None:
            return None
        return {
            "servers": [step.report() for step in self._steps],
            "within_s": self._within_s,
            "over": self._greenlet.dead,
        }

    def follow(self) -> Iterator[Report]:
        """The report now, then again whenever it has changed, until the restart is over."""
        last: Report | None = None
        while (now := self.report()) is not None:
            if now != last:
                yield now
            if now["over"]:
                return
            last = now
            gevent.sleep(_LOOK_S)

    def _chosen(self, number: int | None) -> list[BundledServer]:
        servers = list(self._job_servers.instances)
        if not servers:
            raise NotNow("this manager has no job server of its own: `servers` names those of others")
        if number is None:
            return servers
        if not 1 <= number <= len(servers):
            raise NotFound(f"there is no job server {number}: server.instances is {len(servers)}")
        return [servers[number - 1]]

    def _loss(self, servers: list[BundledServer]) -> str:
        """Why servers without a durable store are not just replaced."""
        watches = [watch for server in servers if (watch := self._watch(server)) is not None]
        waiting = sum(queue.waiting for watch in watches for queue in watch.functions.values())
        which = f"{servers[0].title} keeps its jobs" if not servers[1:] else "the job servers keep their jobs"
        return (
            f"{which} in memory, and background jobs that wait there ({waiting} now) would be lost: set server.store "
            'to a durable one, or replace it all the same with --force ("force": true)'
        )

    def _run(self, steps: list[_Step]) -> None:
        for step in steps:
            if not self._replace(step):
                return

    def _replace(self, step: _Step) -> bool:
        """Returns whether the new process serves."""
        server, watch = step.server, self._watch(step.server)
        functions = watch.functions if watch is not None else {}
        served = [name for name, queue in functions.items() if queue.workers]
        step.running = sum(queue.running for queue in functions.values())
        step.pid_before, step.began_at, step.state = server.pid, time.monotonic(), _State.FINISHING
        _log.info(
            "replacing %s by hand; running jobs are finished, for %s at most",
            server.title,
            format_duration(self._within_s),
        )
        try:
            server.replace(self._within_s)
        except ServerCanNotStart as error:
            step.error, step.state = str(error), _State.FAILED
            _log.error("%s was ended and does not come up: %s; no other one is replaced", server.title, error)
            return False
        step.state = _State.CONNECTING
        self._wait_for_workers(server, served)
        step.took_s, step.state = round(time.monotonic() - step.began_at, 3), _State.REPLACED
        _log.info("%s is replaced", server.title, extra={"pid": server.pid})
        return True

    def _wait_for_workers(self, server: BundledServer, served: list[str]) -> None:
        """Wait until the server has workers for each of these functions again, but not for long."""
        deadline = time.monotonic() + _WORKERS_S
        while (watch := self._watch(server)) is not None and time.monotonic() < deadline:
            known = watch.functions
            if watch.is_up and all(name in known and known[name].workers for name in served):
                return
            gevent.sleep(_LOOK_S)

    def _watch(self, server: BundledServer) -> ServerWatch | None:
        """Our look at a server's queues; None if the configuration names no address of it to the workers."""
        own = set(map(reachable, server.listens.jobs))
        return next((watch for watch in self._queues.servers if watch.address in own), None)
