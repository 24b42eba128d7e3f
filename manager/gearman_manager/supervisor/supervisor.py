"""The supervisor: starts the manager's parts in order, reacts to what happens, ends them in order.

It never imports user code. Its main greenlet sleeps until an event comes (a death, a registration, a queue's change, a
signal, a control request) or a deadline is due, then brings the pools nearer to their targets. `build` makes the parts.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import gevent
import gevent.event

from gearman_manager import exit_codes
from gearman_manager.alerts.watch import AlertWatch
from gearman_manager.code.generations import Generations
from gearman_manager.config import ConfigError
from gearman_manager.control.drain_report import DrainReport
from gearman_manager.control.late_application import LateApplication
from gearman_manager.control.server import ControlServer
from gearman_manager.control.server_facts import ServerFacts
from gearman_manager.control.server_restarts import ServerRestarts
from gearman_manager.control.status import StatusReport
from gearman_manager.errors import ManagerError, StartError
from gearman_manager.failures.groups import FailureGroups
from gearman_manager.finished.collector import Collector
from gearman_manager.finished.keeper import Keeper
from gearman_manager.history.action_log import ActionLog
from gearman_manager.host import process
from gearman_manager.job_servers.job_servers import JobServers
from gearman_manager.job_servers.policy_gap_check import PolicyGapCheck
from gearman_manager.logs import log, uncaught
from gearman_manager.logs.recent_log import RecentLog
from gearman_manager.peers.watch import Peers
from gearman_manager.pools.drain import Drain
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.pool_sizes import PoolSizes
from gearman_manager.scaling.queues import Queues
from gearman_manager.series.recorder import Recorder
from gearman_manager.supervisor import manager_state
from gearman_manager.supervisor.announcer import Announcer
from gearman_manager.supervisor.arrangement import Arrangement
from gearman_manager.supervisor.config_watches import ConfigWatches
from gearman_manager.supervisor.doorbell import Doorbell
from gearman_manager.supervisor.health import Health, health_of
from gearman_manager.supervisor.limit_enforcer import LimitEnforcer
from gearman_manager.supervisor.manager_state import ManagerEvent, ManagerState
from gearman_manager.supervisor.orphan_reaper import OrphanReaper
from gearman_manager.supervisor.reload import Reloads, ReloadWishes
from gearman_manager.supervisor.run_folder import RunFolder
from gearman_manager.telemetry.sender_process import SenderProcess
from gearman_process import early_signals
from gearman_process.values.durations import format_duration

_log = logging.getLogger("manager")
_LONGEST_SLEEP_S: Final = 60.0
_RETRY_S: Final = 1.0
#: How much longer than the longest `stop_timeout` the manager waits for its workers, whatever has gone wrong.
_LAST_WAIT_S: Final = 5.0
#: The part of a drain's time that is kept for the end itself, and the most that is kept.
_RESERVE_SHARE: Final = 0.2
_LONGEST_RESERVE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that the supervisor starts, uses and ends."""

    name: str  #: in client ids and in the log
    awake: gevent.event.Event  #: set when there may be something to do
    recent_log: RecentLog
    orphans: OrphanReaper
    doorbell: Doorbell
    limits: LimitEnforcer
    job_servers: JobServers
    generations: Generations
    arrangement: Arrangement
    application: LateApplication
    control: ControlServer
    queues: Queues
    config_watches: ConfigWatches
    policy_gaps: PolicyGapCheck
    sizes: PoolSizes
    autoscaler: Autoscaler
    workforce: Workforce
    wishes: ReloadWishes
    reloads: Reloads
    status: StatusReport
    drain: Drain
    drain_report: DrainReport
    server_restarts: ServerRestarts
    actions: ActionLog
    recorder: Recorder
    alerts: AlertWatch
    telemetry: SenderProcess
    keeper: Keeper
    finished: Collector
    failures: FailureGroups
    peers: Peers
    server_facts: ServerFacts


class Supervisor:
    """One manager, from its start to its end."""

    def __init__(self, run_folder: RunFolder, announcer: Announcer, parts: Parts) -> None:
        self._run_folder = run_folder
        self._announcer = announcer
        self._parts = parts
        self._state = ManagerState.STARTING
        self._end_at = math.inf
        self._failing: set[str] = set()

    def run(self) -> int:
        """Work until asked to stop; returns the exit code.

        Raises:
            StartError: a port, a socket or a folder can't be used.
            ConfigError: configuration and code do not fit.
        """
        self._run_folder.acquire()
        log.add(self._parts.recent_log, self._parts.arrangement.config.log)
        uncaught.log_uncaught(gevent.get_hub(), (StartError, ConfigError))
        process.become_subreaper()
        _raise_file_limit()
        self._install_signals()
        try:
            self._start()
            self._serve()
        except (ManagerError, ConfigError):
            if self._state not in manager_state.ENDING:  # a start that a stop interrupted is no failure
                raise
        finally:
            self._end()
        return exit_codes.FAILURE if self._state is ManagerState.GIVING_UP else exit_codes.OK

    # --- requests, which only note a wish

    def stop(self) -> None:
        """Finish running jobs, then end. A second call does not wait for them."""
        was, parts = self._state, self._parts
        self._happen(ManagerEvent.STOPPED)
        if was is ManagerState.DRAINING:
            _log.info("stopping: the drain's jobs are finished within their pools' stop_timeout")
            now = time.monotonic()
            parts.workforce.stop(now, parts.drain.until)
            self._end_at = min(now + parts.workforce.longest_stop_s, parts.drain.until) + _LAST_WAIT_S
            parts.awake.set()
            return
        if was in manager_state.ENDING:
            _log.warning("asked again: not waiting for running jobs any longer")
            self._end_at = time.monotonic() + _LAST_WAIT_S
            parts.awake.set()
            parts.workforce.kill_all()
            return
        self._let_workers_finish()
        if was is ManagerState.STARTING:
            self._give_up_starting()

    def drain(self, within_s: float | None) -> None:
        """Begin no job from now on, finish the running ones, and end with 0 within that time.

        None: within the configuration's `drain.within`; without that, jobs have as long as they take. What is
        unfinished shortly before the end goes back into its queue. A second call moves the end.

        Raises:
            UnexpectedEvent: the manager is stopping already.
        """
        was, parts, now = self._state, self._parts, time.monotonic()
        self._happen(ManagerEvent.DRAINED)
        wanted_s = parts.arrangement.config.drain.within if within_s is None else within_s
        longest_s = math.inf if wanted_s is None else wanted_s
        how_long = "as long as they take" if wanted_s is None else f"{format_duration(wanted_s)} at most"
        _log.info("draining: no job is begun any more, running ones are finished, for %s", how_long)
        # The ends of processes and job server take a part of the time.
        until = now + longest_s - min(_LONGEST_RESERVE_S, _RESERVE_SHARE * longest_s)
        if was not in manager_state.ENDING:
            self._take_nothing_new()
        self._end_at = until + _LAST_WAIT_S
        self._announcer.stopping(longest_s)
        parts.drain.begin(until)
        parts.awake.set()
        if was is ManagerState.STARTING:
            self._give_up_starting()

    def settle(self, patience_s: float) -> list[str]:
        """Wait, at most so long, until no worker can begin a job any more; returns the names of those that can."""
        return self._parts.drain.settle(patience_s)

    def reload(self) -> None:
        """Load the configuration anew, and the code after it."""
        self._parts.wishes.reload()

    # --- start

    def _start(self) -> None:
        parts = self._parts
        gevent.spawn(parts.reloads.run, parts.wishes)
        parts.orphans.start()
        parts.doorbell.start()
        parts.limits.start()
        # Each takes most of a second on a cold machine, so they start together; a failure of either ends the start.
        parts.config_watches.watch_sources(parts.arrangement.config)
        server_start = parts.job_servers.start()
        code_start = gevent.spawn(parts.generations.load_first, parts.arrangement.config)
        gevent.joinall([server_start, code_start], raise_error=True)
        parts.control.open(parts.arrangement.config)
        _log.info("%s runs, pid %d, control socket %s", parts.name, os.getpid(), self._run_folder.socket)
        parts.config_watches.follow(parts.arrangement.config)
        parts.alerts.start()
        parts.telemetry.start()
        parts.recorder.start()
        parts.failures.start()
        parts.finished.start()
        self._happen(ManagerEvent.STARTED)

    # --- running

    def _serve(self) -> None:
        """Run the main greenlet's loop until the manager ends."""
        awake, announcer, application = self._parts.awake, self._announcer, self._parts.application
        while not self._is_over(now := time.monotonic()):
            awake.clear()
            reconcile_at = self._reconcile(now)  # first: without targets every pool has all the workers that it wants
            pulse_at = self._attempt("telling the service manager", lambda: announcer.pulse(now, self.health), now)
            making_at = application.make_on(now, are_workers_up=announcer.is_up)
            deadlines = [reconcile_at, pulse_at, making_at, self._end_at]
            deadline = min(moment for moment in deadlines if moment is not None)
            awake.wait(min(max(0.0, deadline - time.monotonic()), _LONGEST_SLEEP_S))

    def _is_over(self, now: float) -> bool:
        """Whether the manager may end: all workers are gone, or should be."""
        if self._state not in manager_state.ENDING or now >= self._end_at:
            return self._state in manager_state.ENDING
        return not self._parts.workforce.live and (
            self._state is not ManagerState.DRAINING or self._is_server_done(now)
        )

    def _is_server_done(self, now: float) -> bool:
        """Have the bundled job server end, but leave others the drain's time for the jobs that their workers have."""
        parts = self._parts
        if now >= parts.drain.until:
            return True
        self._end_at = parts.drain.until
        parts.queues.close()  # else the log would say that the server is away
        return parts.job_servers.finish(parts.awake.set)

    def _reconcile(self, now: float) -> float | None:
        """Bring the pools nearer to their targets; returns the latest time for the next pass, or None."""
        parts, moments = self._parts, []
        if self._state not in manager_state.ENDING:
            moments.append(self._attempt("scaling", lambda: parts.autoscaler.update(now), now))
            moments.append(self._attempt("watching the pools", self._give_up_if_hopeless, now))
        moments.append(self._attempt("looking after the pools", lambda: parts.workforce.reconcile(now), now))
        moments.append(self._attempt("reaping", parts.orphans.reap, now))
        return min((moment for moment in moments if moment is not None), default=None)

    def _attempt(self, what: str, step: Callable[[], float | None], now: float) -> float | None:
        """Take a step of the loop; returns the latest time for its next one, which comes soon after an error.

        Of errors in a row only the first is logged.
        """
        try:
            moment = step()
        except Exception:  # noqa: BLE001 (the loop's boundary: all workers depend on it)
            if what not in self._failing:
                _log.exception("%s failed; trying again", what)
            self._failing.add(what)
            return now + _RETRY_S
        self._failing.discard(what)
        return moment

    def _give_up_if_hopeless(self) -> None:
        """With `exit_when_failing`, end the manager when a pool can't keep a worker alive; others take over."""
        hopeless = [pool for pool in self._parts.workforce.active if pool.is_hopeless]
        if self._parts.arrangement.config.exit_when_failing and hopeless:
            _log.critical("can't keep a worker alive: %s", hopeless[0].last_error, extra={"pool": hopeless[0].name})
            self._happen(ManagerEvent.HOPELESS)
            self._let_workers_finish()

    def health(self) -> Health:
        """The manager's health now."""
        workforce, sizes = self._parts.workforce, self._parts.sizes.current
        pools = [(pool, sizes[pool.name].min) for pool in workforce.active if pool.name in sizes]
        busy = {pool.name: len(workforce.busy(pool)) for pool, _ in pools}
        parts = self._parts
        replaced = [str(address) for address in parts.server_restarts.away]
        servers = {str(server.address): server for server in parts.queues.servers}
        # One that its cluster has told of may be gone for good: the cluster goes on without it.
        expected = parts.queues.known.given
        answering = {
            name: server.is_answering
            for name, server in servers.items()
            if name not in replaced and (server.is_answering or server.address in expected)
        }
        troubles = {name: server.trouble for name, server in servers.items() if server.trouble}
        health = health_of(pools, busy, answering, troubles)
        return replace(health, replaced=replaced, drain=parts.drain_report.text)

    def _happen(self, event: ManagerEvent) -> None:
        self._state = manager_state.transition(self._state, event)

    # --- end

    def _let_workers_finish(self) -> None:
        parts, now = self._parts, time.monotonic()
        _log.info("stopping: running jobs are finished, no new ones taken")
        longest_s = parts.workforce.longest_stop_s
        self._end_at = now + longest_s + _LAST_WAIT_S
        parts.awake.set()
        self._announcer.stopping(longest_s)
        self._take_nothing_new()
        parts.workforce.stop(now)

    def _take_nothing_new(self) -> None:
        self._parts.wishes.close()
        self._parts.server_restarts.close()
        self._parts.generations.expect_end()

    def _give_up_starting(self) -> None:
        """Don't wait for a slow import."""
        self._parts.generations.stop()
        self._parts.job_servers.give_up()

    def _end(self) -> None:
        """End all parts in order: workers, zygote, job server last. Afterwards no process of ours is left.

        An error of one part does not keep the others from their ends.
        """
        parts = self._parts
        watching = (parts.config_watches, parts.policy_gaps, parts.control, parts.limits, parts.orphans)
        kept = (parts.finished, parts.failures, parts.recorder, parts.actions, parts.keeper)
        closing = (parts.telemetry, parts.alerts, parts.peers, parts.drain, parts.server_restarts, *watching, *kept)
        ends = (parts.workforce.kill_all, parts.generations.end, parts.job_servers.stop, process.kill_descendants)
        for step in (*(part.close for part in closing), *ends, self._run_folder.release):
            try:
                step()
            except Exception:  # noqa: BLE001 (the manager's boundary)
                _log.exception("unexpected, at the end; the manager goes on ending")
        _log.info("stopped")
        early_signals.ignore_all()

    def _install_signals(self) -> None:
        reactions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGQUIT: self.stop,
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: log.reopen,
            signal.SIGUSR2: self._dump,
            signal.SIGPWR: self._power_fails,
        }
        for number, react in reactions.items():
            gevent.signal_handler(number, react)
        for number in early_signals.take():
            gevent.spawn(reactions[number])

    def _power_fails(self) -> None:
        if not self._parts.arrangement.config.drain.on_sigpwr:
            signal.signal(signal.SIGPWR, signal.SIG_DFL)  # as if there were no handler
            os.kill(os.getpid(), signal.SIGPWR)
        elif self._state in (ManagerState.STOPPING, ManagerState.GIVING_UP):
            _log.info("SIGPWR: the manager is stopping already")
        else:
            self.drain(None)

    def _dump(self) -> None:
        _log.info("state: %s", json.dumps(self._parts.status.report()))


def _raise_file_limit() -> None:
    """Raise the limit to the allowed maximum, since each worker takes two descriptors here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
