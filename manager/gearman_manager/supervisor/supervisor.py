"""The supervisor: puts the parts together, starts them in order, reacts to what happens, stops them in order.

It never imports user code. Its main greenlet sleeps until something happened (a death, a registration, a queue's
change, a signal, a control request) or a deadline is due, then brings the pools nearer to what they should be.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Final

import gevent
import gevent.event

from gearman_client import Address
from gearman_manager import exit_codes
from gearman_manager.code.code_loading import Host
from gearman_manager.code.generations import Accepted, Generations
from gearman_manager.code.source_watch import SourceWatch
from gearman_manager.config import Config, ConfigError, Problem, ResolvedPool, reachable
from gearman_manager.control import status
from gearman_manager.control.server import Commands, ControlServer
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.errors import ManagerError, StartError
from gearman_manager.host import process
from gearman_manager.host.cgroup import Cgroup, usable_cores
from gearman_manager.ipc.links import Links
from gearman_manager.ipc.scoreboard import Scoreboard
from gearman_manager.job_servers import policies
from gearman_manager.job_servers.bundled import BundledServer, ServerCanNotStart, ServerOptions, StartFailure
from gearman_manager.job_servers.policy_gap_check import PolicyGapCheck
from gearman_manager.logs import log, uncaught
from gearman_manager.logs.recent_log import RecentLog
from gearman_manager.modules.discovery import content_hashes
from gearman_manager.pools.exits import Exits
from gearman_manager.pools.oom import OomKills
from gearman_manager.pools.pool_order import CodeFiles, Surroundings, pool_order
from gearman_manager.pools.worker_start import WorkerStart
from gearman_manager.pools.workforce import Workforce
from gearman_manager.pools.zygotes import Zygotes
from gearman_manager.scaling.allotment import Room
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.host_guards import HostGuards
from gearman_manager.scaling.queues import Queues
from gearman_manager.supervisor.announcer import Announcer
from gearman_manager.supervisor.health import Health, health_of
from gearman_manager.supervisor.limit_enforcer import LimitEnforcer
from gearman_manager.supervisor.operator_changes import OperatorChanges
from gearman_manager.supervisor.orphan_reaper import OrphanReaper
from gearman_manager.supervisor.run_folder import RunFolder

_log = logging.getLogger("manager")
_LONGEST_SLEEP_S: Final = 60.0
_RETRY_S: Final = 1.0


class Supervisor:
    """One manager, from its start to its end."""

    def __init__(self, load: Callable[[], Config], config: Config, run_folder: RunFolder, service: Announcer) -> None:
        self._load = load  # the configuration once more, for a reload
        self._service = service
        self._config = config
        self._run_folder = run_folder
        self._since = time.time()
        self._awake = gevent.event.Event()
        self._stopping = False
        self._gave_up = False
        self._reloads: list[bool] = []  # wishes that wait; True rereads the configuration too
        self._lifeline_read, self._lifeline_write = os.pipe2(os.O_CLOEXEC)
        self._doorbell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        scoreboard = Scoreboard.create()
        self._name = _name(run_folder)
        self._cgroup = Cgroup.of()
        self._oom_kills = OomKills(self._cgroup)
        links = Links(scoreboard, self._lifeline_read, self._doorbell)
        self._zygotes = Zygotes(links)
        starter, exits = WorkerStart(self._name, links, self._zygotes), Exits(self._oom_kills)
        self._workforce = Workforce(starter, self._zygotes, exits, self._awake.set)
        host = Host(usable_cores(self._cgroup), self._oom_kills.describe)
        self._generations = Generations(self._zygotes, self._workforce, host, self._arrange)
        self._scaling = Autoscaler(self._workforce, self._room)
        self._promises = PolicyGapCheck()
        self._pools: Mapping[str, ResolvedPool] = {}
        self._max_running: Mapping[str, int] = {}
        self._by_hand = OperatorChanges(self._workforce, self._arrange_sizes)
        self._recent_log = RecentLog()
        self._server: BundledServer | None = None
        self._server_start: gevent.Greenlet[[], None] = gevent.Greenlet()
        self._queues: Queues | None = None
        self._watch: SourceWatch | None = None
        self._followed: Iterable[str] = ()
        self._overseer = LimitEnforcer(self._workforce, self._awake.set, self._oom_kills)
        self._control: ControlServer | None = None
        self._orphans: OrphanReaper | None = None

    def run(self) -> int:
        """Work until asked to stop; returns the exit code.

        Raises:
            StartError: a port, a socket or a folder stands in the way.
            ConfigError: configuration and code do not fit.
        """
        self._run_folder.acquire()
        log.add(self._recent_log, self._config.log)
        uncaught.log_uncaught(gevent.get_hub(), (StartError, ConfigError))
        process.become_subreaper()
        _raise_file_limit()
        self._install_signals()
        try:
            self._start()
            self._serve()
        except (ManagerError, ConfigError):
            if not self._stopping:  # what a stop interrupted is no failure
                raise
        finally:
            self._finish()
        return exit_codes.FAILURE if self._gave_up else exit_codes.OK

    # --- what others may ask for; each only notes the wish

    def stop(self) -> None:
        """Finish running jobs, then end. Asked again: don't wait for them."""
        if self._stopping:
            _log.warning("asked again: not waiting for running jobs any longer")
            self._workforce.kill_all()
        else:
            _log.info("stopping: running jobs are finished, no new ones taken")
            self._stopping = True
            self._service.stopping(max((pool.stop_timeout_s for pool in self._pools.values()), default=0.0))
            self._generations.expect_end()
            self._workforce.stop(time.monotonic())
            if self._watch is None:  # still starting: don't wait for an import that takes its time
                self._generations.stop()
                self._server_start.kill(block=False)
        self._awake.set()

    def reload(self, *, reread: bool = True) -> None:
        """Load the code anew, and the configuration before it when `reread`."""
        self._reloads.append(reread)
        if len(self._reloads) == 1:
            gevent.spawn(self._reload_all)

    def report(self) -> status.Report:
        """What `status --json` prints."""
        subjects = status.Subjects(
            self._since,
            self._generations,
            self._workforce,
            self._queues,
            self._by_hand.sized(self._pools),
            self._promises.broken,
        )
        return status.report(subjects)

    # --- start

    def _start(self) -> None:
        self._orphans = OrphanReaper(gevent.get_hub().loop, self._reap)
        uncaught.watch_readable(gevent.get_hub().loop, self._doorbell, self._rang)
        # Both take most of a second on a cold machine, so they start together; a failure of either ends the start.
        self._server_start = gevent.spawn(self._start_server)
        code_start = gevent.spawn(self._generations.load_first, self._config)
        gevent.joinall([self._server_start, code_start], raise_error=True)
        hand = self._by_hand
        commands = Commands(
            status=self.report,
            stop=self.stop,
            reload=self.reload,
            scale=hand.scale,
            restart=hand.restart,
            pause=hand.pause,
            log=self._recent_log,
            jobs=ServerJobs(self._addresses),
        )
        self._control = ControlServer(self._run_folder.socket, commands)
        self._control.port.use(self._config)
        _log.info("%s runs, pid %d, control socket %s", self._name, os.getpid(), self._run_folder.socket)

    def _start_server(self) -> None:
        """The bundled job server, if there is to be one; what must know its address comes after it."""
        section = self._config.server
        if section is not None:
            # Every connection that opens and closes is the server's INFO: too much between the manager's own lines.
            level = {"info": "NOTICE"}.get(self._config.log.level, self._config.log.level.upper())
            file = self._run_folder.path / policies.FILE_NAME
            # The schedules at once: one that were missing in the file would begin anew.
            config = self._config
            schedules = policies.schedules_of(config.schedules)
            policies.write_policies(file, policies.provisional_policies(config), schedules)
            options = ServerOptions(section, level, file)
            self._server = BundledServer(options, self._server_is_back, self._oom_kills.describe)
            try:
                self._server.start()
            except ServerCanNotStart as error:
                raise StartError(f"the job server can't start: {error}{self._remedy(error)}") from error
            metrics = self._server.metrics_address
            also = f", metrics on {metrics}" if metrics is not None else ""
            addresses = ", ".join(map(str, self._server.addresses))
            _log.info("job server on %s%s", addresses, also, extra={"pid": self._server.pid})

    def _remedy(self, error: ServerCanNotStart) -> str:
        """What to do when the bundled server can't start: the place in the configuration that decides."""
        key = "server.metrics_listen" if error.option.startswith("--metrics-listen") else "server.listen"
        choose = f"choose another address for the bundled server: {self._config.place(key)}: {key}"
        if error.failure is StartFailure.STORE:
            return f"; it is chosen by {self._config.place('server.store')}: server.store"
        if error.failure is StartFailure.ADDRESS_TAKEN:
            return f"; stop that, or {choose}"
        return f"; {choose}" if error.failure in (StartFailure.CANT_LISTEN, StartFailure.NEEDS_RIGHTS) else ""

    def _addresses(self) -> list[Address]:
        """The job servers that workers connect to."""
        if self._server is not None and not self._config.servers:
            return [reachable(self._server.address)]
        return [server.reached_by for server in self._config.job_servers]

    # --- running

    def _serve(self) -> None:
        """The main greenlet's life."""
        self._follow_config()
        while not (self._stopping and not self._workforce.live):
            self._awake.clear()
            now = time.monotonic()
            try:
                deadline = self._reconcile(now)
            except Exception:  # noqa: BLE001 (the loop's boundary: everything that runs depends on it going on)
                _log.exception("looking after the pools failed; trying again")
                deadline = now + _RETRY_S
            deadline = _earlier(deadline, self._service.pulse(now, self._standing))
            timeout_s = _LONGEST_SLEEP_S if deadline is None else max(0.0, deadline - time.monotonic())
            self._awake.wait(min(timeout_s, _LONGEST_SLEEP_S))

    def _reconcile(self, now: float) -> float | None:
        deadlines = []
        if not self._stopping:
            deadlines.append(self._scaling.update(now, self._queues))
            self._give_up_if_hopeless()
        deadlines.append(self._workforce.reconcile(now))
        self._reap()
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _reap(self) -> None:
        for pid, ended in process.reap_strangers(self._own_pids()):
            self._workforce.exited(pid, ended)
        for pid in process.stopped_children():
            self._workforce.stopped(pid)

    def _give_up_if_hopeless(self) -> None:
        """With `exit_when_failing`, a pool that can't keep a worker alive ends the manager; others take over."""
        hopeless = [pool for pool in self._workforce.active if pool.hopeless]
        if self._config.exit_when_failing and hopeless:
            _log.critical("can't keep a worker alive: %s", hopeless[0].last_error, extra={"pool": hopeless[0].name})
            self._gave_up = True
            self.stop()

    def _own_pids(self) -> set[int]:
        """Everything that somebody waits for."""
        server = self._server.pid if self._server else None
        return self._workforce.pids() | self._zygotes.pids | ({server} if server else set())

    def _standing(self) -> Health:
        sized = self._by_hand.sized(self._pools)
        pools = [(pool, sized[pool.name].min) for pool in self._workforce.active if pool.name in sized]
        busy = {pool.name: len(self._workforce.busy(pool)) for pool, _ in pools}
        servers = self._queues.servers if self._queues is not None else []
        return health_of(pools, busy, {str(server.address): server.is_answering for server in servers})

    def _rang(self) -> None:
        """In the hub: a worker registered."""
        os.eventfd_read(self._doorbell)
        self._workforce.doorbell()

    def _room(self) -> Room | None:
        return HostGuards(self._config.limits, self._cgroup).room()

    def _server_is_back(self) -> None:
        if self._queues is not None:
            self._queues.ask_now()

    # --- code and configuration

    def _arrange(self, accepted: Accepted) -> None:
        """A generation takes over: tell everybody what runs now."""
        self._server_start.get()  # only then its port is known
        layout, config = accepted.layout, accepted.config
        self._config = config
        around = Surroundings(self._addresses(), config.workers_dir, config.log.level.upper())
        watched = [file for pool in layout.pools.values() for pattern in pool.watch for file in glob(pattern)]
        files = accepted.code.files
        code = CodeFiles({**files.hashes, **content_hashes((), watched)}, files.needs)
        orders = {name: pool_order(pool, layout, around, code) for name, pool in layout.pools.items()}
        if self._server is not None:
            self._server.use_policies(policies.policies_of(layout.functions), policies.schedules_of(config.schedules))
        own = set(map(reachable, self._server.addresses)) if self._server is not None else ()
        self._promises.watch([server for server in self._addresses() if server not in own], layout.functions)
        self._workforce.arrange(orders, config.log.max_output)
        self._pools = layout.pools
        self._max_running = {f.name: f.max_running for f in layout.functions.values() if f.max_running is not None}
        self._arrange_sizes()
        self._followed = code.hashes.keys()
        if self._watch is not None:
            self._watch.follow(self._followed)
        self._awake.set()

    def _arrange_sizes(self) -> None:
        sizes, limits = self._by_hand.sized(self._pools), self._config.limits
        self._scaling.arrange(sizes, limits.max_workers, self._max_running)
        self._awake.set()

    def _follow_config(self) -> None:
        """Watch the servers and folders that the configuration names."""
        if self._queues is not None:
            self._queues.close()
        if self._watch is not None:
            self._watch.close()
        self._queues = Queues(self._addresses(), f"gm:{self._name}", self._awake.set)
        self._watch = SourceWatch([Path(folder) for folder in self._config.workers_dir], self._source_changed)
        self._watch.follow(self._followed)

    def _source_changed(self) -> None:
        self.reload(reread=False)

    def _reload_all(self) -> None:
        """Carry out the wishes to reload; those that come meanwhile are one more reload."""
        while self._reloads and not self._stopping:
            reread = any(self._reloads)
            waiting = len(self._reloads)
            if reread:
                self._service.reloading()
            try:
                self._reload(reread)
            except Exception:  # noqa: BLE001 (the loop's boundary: the next reload may do better)
                _log.exception("the reload failed")
            finally:
                del self._reloads[:waiting]
                if reread:
                    self._service.reloaded()

    def _reload(self, reread: bool) -> None:
        config = self._config
        if reread:
            try:
                config = self._load()
                self._log_to(config)
                if self._control is not None:
                    self._control.port.use(config)
            except ConfigError as error:
                self._refuse(error.problems)
                return
            except StartError as error:
                self._refuse([config.places.problem("control.listen", str(error))])
                return
            if config.server != self._config.server:
                _log.warning("the section `server` changed: restart the manager for that; the rest is taken over")
            self._by_hand.forget_sizes()
        _log.info("reloading")
        if self._generations.reload(config) and reread:
            self._follow_config()

    def _log_to(self, config: Config) -> None:
        """Write the log where the configuration says.

        Raises:
            ConfigError: that file can't be opened; the log goes on where it was.
        """
        try:
            log.set_up(config.log)
        except OSError as error:
            message = f"it can't be opened: {error.strerror}"
            raise ConfigError([config.places.problem("log.file", message)]) from error
        log.add(self._recent_log, config.log)

    def _refuse(self, problems: Sequence[Problem]) -> None:
        self._generations.errors = problems
        for problem in problems:
            _log.error("%s", problem)
        _log.error("the new configuration is not used: the old one goes on until this is mended")

    # --- end

    def _finish(self) -> None:
        """End everything in order: workers are gone, then the zygote, the server last. Then nothing of ours is left."""
        for part in (self._watch, self._queues, self._promises, self._control, self._overseer, self._orphans):
            if part is not None:
                part.close()
        self._workforce.kill_all()
        self._generations.end()
        if self._server is not None:
            self._server.stop()
        process.kill_descendants()
        self._run_folder.release()
        _log.info("stopped")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # a last Ctrl-C must not turn a clean end into a crash

    def _install_signals(self) -> None:
        gevent.signal_handler(signal.SIGTERM, self.stop)
        gevent.signal_handler(signal.SIGINT, self.stop)
        gevent.signal_handler(signal.SIGHUP, self.reload)
        gevent.signal_handler(signal.SIGUSR1, log.reopen)
        gevent.signal_handler(signal.SIGUSR2, self._dump)

    def _dump(self) -> None:
        _log.info("state: %s", json.dumps(self.report()))


def _name(run_folder: RunFolder) -> str:
    """The manager's name in client ids: this host's, and what tells its managers apart."""
    host = socket.gethostname().replace("/", "-").replace(" ", "-")
    digest = hashlib.blake2b(str(run_folder.path.resolve()).encode(), digest_size=4).hexdigest()
    return f"{host}-{digest}"


def _raise_file_limit() -> None:
    """Each worker takes two descriptors here; take what we may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _earlier(first: float | None, second: float | None) -> float | None:
    return min((moment for moment in (first, second) if moment is not None), default=None)
