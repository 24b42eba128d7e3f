"""Drains this manager's workers: none begins a job, running ones are finished or, when the time is over, put back.

A worker of ours is told by a mark in its slot and a signal, and counts as quiet once it can begin no further job. A
program can't say that, so its job servers are asked to give it none; it gets its signal once it has no job, since many
a program ends by that at once. A foreign server can't do this: there a program is told at once, and is quiet only when
it is gone. What is unfinished in the end goes back into its queue, which counts as no attempt where the server can do
that, and as a lost worker elsewhere.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import gevent
import gevent.event

from gearman_client import Address
from gearman_manager.host import process
from gearman_manager.job_servers import worker_service
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.pool import WorkerState
from gearman_manager.pools.workforce import Workforce

_log = logging.getLogger("manager")
#: Between two looks at workers that may still begin a job, while somebody waits for that.
_LOOK_S: Final = 0.005
#: Between two looks at programs, which may have finished their jobs, or connected anew.
_ASK_AGAIN_S: Final = 0.5
#: Beyond the end of the drain, the time for putting jobs back; then workers are killed without that.
_PUT_BACK_S: Final = 3.0


class Drain:
    """The drain of one manager. It is begun at most once; its end can be moved as often as wished."""

    def __init__(self, workforce: Workforce, wake: Callable[[], None]) -> None:
        """`wake` is called after a change that may let the manager end."""
        self._workforce = workforce
        self._wake = wake
        #: Until when running jobs may be finished (monotonic seconds); infinite: as long as they take.
        self.until = math.inf
        self.is_on = False
        #: The number of jobs that were not finished, and are in their queues again.
        self.returned = 0
        #: Set at the manager's end.
        self.over = gevent.event.Event()
        self._quiet: set[str] = set()
        self._moved = gevent.event.Event()
        self._greenlet = gevent.Greenlet(self._run)

    def begin(self, until: float) -> None:
        """Begin no job from now on, and finish the running ones until then; or move the end of a drain that is on."""
        self.until = until
        self.is_on = True
        self._workforce.drain(lambda live: self._kill_at(live, time.monotonic()), lambda live: not live.is_program)
        self._moved.set()
        self._greenlet.start()

    def close(self) -> None:
        """The manager ends: nothing is left to be done."""
        self._greenlet.kill()
        self.over.set()

    def settle(self, patience_s: float) -> list[str]:
        """Wait until no worker can begin a job any more, but not longer than so; returns the names of those that can.

        A job that was assigned to a program before counts as begun.
        """
        deadline = time.monotonic() + patience_s
        while (names := self.may_begin()) and time.monotonic() < deadline:
            gevent.sleep(_LOOK_S)
        return names

    def may_begin(self) -> list[str]:
        """The names of the workers that may still begin a job."""
        if not self.is_on:
            return list(self._workforce.live)
        for live in self._workforce.live.values():
            if live.told_at is not None and not live.is_program and live.slots.begins_no_more():
                self._quiet.add(live.name)
        return [name for name in self._workforce.live if name not in self._quiet]

    @property
    def running(self) -> int:
        """The number of running jobs; programs don't report theirs."""
        return sum(len(live.slots.jobs()) for live in self._workforce.live.values() if not live.is_program)

    @property
    def programs(self) -> int:
        """The number of programs that have not left."""
        return sum(live.is_program for live in self._workforce.live.values())

    def own_jobs(self, running: Mapping[str, int]) -> int:
        """How many of the running jobs, by function, are those of our workers; of a program we take it for one."""
        own, programs = self.running, [live for live in self._workforce.live.values() if live.is_program]
        functions = {live.pool.name: live.order.pool.functions for live in programs}
        for pool, count in Counter(live.pool.name for live in programs).items():
            own += min(count, sum(running.get(name, 0) for name in functions[pool]))
        return own

    def _kill_at(self, live: LiveWorker, now: float) -> float | None:
        if self.until != math.inf:
            return self.until + _PUT_BACK_S
        # We can't know that a program will leave after its job, so it gets as much time as at a stop.
        return now + live.order.pool.stop_timeout_s if live.is_program else None

    # --- in the background

    def _run(self) -> None:
        ask_at = 0.0
        while self._workforce.live:
            now = time.monotonic()
            if now >= self.until:
                self._cut_off()
                return
            if now >= ask_at:
                self._ask_servers()
                ask_at = now + _ASK_AGAIN_S if self.programs else math.inf
            self._moved.clear()
            next_at = min(self.until, ask_at)
            self._moved.wait(None if next_at == math.inf else max(0.0, next_at - time.monotonic()))

    def _ask_servers(self) -> None:
        """Have the job servers give our workers nothing. Those that can't do it are no trouble for workers of ours."""
        connections = self._connections_of_programs()
        answers = worker_service.drain_workers(_by_server(self._workforce.live.values(), connections))
        for live in list(self._workforce.live.values()):
            if live.is_program and live.pid:
                self._hear(live, answers, connections.get(live.name, []))

    def _hear(self, live: LiveWorker, answers: worker_service.Answers, own: list[tuple[Address, str]]) -> None:
        """Act on the servers' answers about a program: whether they give it nothing more, and whether it has a job."""
        named = [answers[server][live.client_id] for server in live.order.servers if live.client_id in answers[server]]
        drained = [answers[server][name] for server, name in own if name in answers[server]]
        is_quiet = len(drained) == len(own) and bool(named or drained)
        (self._quiet.add if is_quiet else self._quiet.discard)(live.name)
        if live.told_at is None and not (is_quiet and any(named + drained)):
            self._workforce.tell_to_stop(live)

    def _connections_of_programs(self) -> dict[str, list[tuple[Address, str]]]:
        """By program, its connections to job servers: the server, and the connection's own address."""
        programs = [live for live in self._workforce.live.values() if live.is_program and live.pid]
        found = process.connections_of([live.pid for live in programs])
        return {
            live.name: [
                (server, own)
                for own, port in found.get(live.pid, ())
                for server in live.order.servers
                if server.port == port
            ]
            for live in programs
        }

    def _cut_off(self) -> None:
        """The time is over: stop the workers, put their jobs back, and kill them."""
        lives = [live for live in self._workforce.live.values() if live.pid]
        for live in lives:
            live.worker.is_worn = True  # so that nobody wonders who has stopped it
            process.send_signal(live.pidfd, signal.SIGSTOP)
        unfinished = sum(len(live.slots.jobs()) for live in lives if not live.is_program)
        if lives:
            answers = worker_service.return_jobs(_by_server(lives, self._connections_of_programs()))
            self.returned = sum(sum(numbers.values()) for numbers in answers.values())
        for live in lives:
            if live.worker.state is not WorkerState.STOPPING:
                _log.warning("the time to drain is over: killed", extra=live.where)
        if lost := max(0, unfinished - self.returned):
            self.returned += lost  # their servers put them back when the connections end
        _log.info("drained: %d unfinished jobs are back in their queues", self.returned)
        self._workforce.kill_all()
        self._wake()


def _by_server(
    lives: Iterable[LiveWorker], connections: dict[str, list[tuple[Address, str]]]
) -> dict[Address, list[str]]:
    """The names by which each job server knows these workers."""
    names: dict[Address, list[str]] = defaultdict(list)
    for live in lives:
        for server in live.order.servers:
            names[server].append(live.client_id)
        for server, own in connections.get(live.name, ()):
            names[server].append(own)
    return names
