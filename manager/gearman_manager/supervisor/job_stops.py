"""Stops jobs of our workers, when a job server says that they are to be stopped.

The worker is told by a mark in its slot and a signal, and raises JobStopped in the job; `limit_enforcer` ends a worker
that does not react. A job that was fetched and not begun goes back to its server. A program gets its stop signal, and
is replaced: nothing else reaches one of its jobs.
"""

from __future__ import annotations

import logging
import signal
import time
from typing import Final

import gevent

from gearman_client import Address
from gearman_manager.host import process
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.queue_dialogue import StoppedJob
from gearman_manager.supervisor.orphaned_jobs import OrphanedJobs

_log = logging.getLogger("workers")
#: The time for a function or a program to clean up, unless the `stop_timeout` of its pool is shorter.
STOP_S: Final = 5.0
#: Between two looks for a job that its worker is about to begin.
_LOOK_S: Final = 0.02


class JobStops:
    """Carries out stops."""

    def __init__(self, workforce: Workforce, orphans: OrphanedJobs) -> None:
        self._workforce = workforce
        self._orphans = orphans

    def stop(self, server: Address, job: StoppedJob) -> None:
        """Stop a job that this server has given to a worker, if the worker is one of ours, or that the worker has from
        a server which is gone."""
        orphan = self._orphans.find(job.handle)
        live = self._worker_of(server, job) if orphan is None else orphan.live
        if live is None:
            return
        until = time.monotonic() + min(STOP_S, live.order.pool.stop_timeout_s)
        _log.info("the job is to be stopped", extra=live.where | {"handle": job.handle})
        if live.is_program:
            self._end_program(live, until)
        else:
            gevent.spawn(self._interrupt, live, server if orphan is None else orphan.server, job.handle, until)

    def _worker_of(self, server: Address, job: StoppedJob) -> LiveWorker | None:
        """By its client id; a program that has given none, or another one, by its connection."""
        alive = [live for live in self._workforce.live.values() if live.pid]
        named = next((live for live in alive if live.client_id == job.client_id), None)
        if named is not None:
            return named
        programs = {live.pid: live for live in alive if live.is_program}
        found = process.connections_of(list(programs))
        end = (job.address, server.port)
        return next((programs[pid] for pid, ends in found.items() if end in ends), None)

    def _end_program(self, live: LiveWorker, until: float) -> None:
        if live.told_at is None:
            self._workforce.drain_one(live, until)
        else:
            live.kill_at = min(live.kill_at or until, until)
        self._workforce.wake()

    def _interrupt(self, live: LiveWorker, server: Address, handle: str, until: float) -> None:
        """Tell the worker, once it has begun the job; one that it has only fetched is given back."""
        number = live.order.number_of(server)
        until_ns = int(until * 1e9)
        while self._workforce.live.get(live.name) is live and time.monotonic() < until:
            if start_ns := live.slots.tell_to_stop(number, handle, until_ns):
                live.stops = {job.start_ns: live.stops.get(job.start_ns, 0) for job in live.slots.jobs()}
                live.stops[start_ns] = until_ns
                process.send_signal(live.pidfd, signal.SIGALRM)
                return
            live.give_back_fetched()
            gevent.sleep(_LOOK_S)
