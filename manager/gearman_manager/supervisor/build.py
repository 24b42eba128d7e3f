"""Makes the manager's parts, each after those that it needs. No part does anything before its start."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Final

import gevent.event

from gearman_manager.access.gate import Gate
from gearman_manager.access.session_file import SessionFile
from gearman_manager.access.sessions import Sessions
from gearman_manager.alerts.deliveries import Deliveries
from gearman_manager.alerts.server_questions import ServerQuestions
from gearman_manager.alerts.watch import AlertWatch, Watched
from gearman_manager.code.code_loading import Host
from gearman_manager.code.generations import Generations
from gearman_manager.code.source_watch import SourceWatch
from gearman_manager.config import Config
from gearman_manager.control.drain_report import DrainReport
from gearman_manager.control.explanations import Explanations
from gearman_manager.control.late_application import LateApplication, Making
from gearman_manager.control.server import ControlServer
from gearman_manager.control.server_facts import ServerFacts
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.control.server_restarts import ServerRestarts
from gearman_manager.control.status import StatusReport
from gearman_manager.failures.groups import FailureGroups
from gearman_manager.history.action_log import ActionLog
from gearman_manager.history.history_file import HistoryFile
from gearman_manager.host.cgroup import Cgroup, usable_cores
from gearman_manager.ipc.lifeline import own_lifeline
from gearman_manager.ipc.links import Links
from gearman_manager.ipc.scoreboard import Scoreboard
from gearman_manager.job_servers.job_servers import JobServers
from gearman_manager.job_servers.policy_gap_check import PolicyGapCheck
from gearman_manager.logs.recent_log import RecentLog
from gearman_manager.logs.redaction import REDACTION
from gearman_manager.peers.watch import Peers, peers_of
from gearman_manager.pools.drain import Drain
from gearman_manager.pools.exits import Exits
from gearman_manager.pools.oom import OomKills
from gearman_manager.pools.worker_start import WorkerStart
from gearman_manager.pools.workforce import Workforce
from gearman_manager.pools.zygotes import Zygotes
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.host_guards import HostGuards
from gearman_manager.scaling.pool_sizes import PoolSizes
from gearman_manager.scaling.queues import Queues
from gearman_manager.series.pool_samples import PoolSamples
from gearman_manager.supervisor.announcer import Announcer
from gearman_manager.supervisor.arrangement import Arrangement
from gearman_manager.supervisor.config_watches import ConfigWatches
from gearman_manager.supervisor.doorbell import Doorbell
from gearman_manager.supervisor.limit_enforcer import LimitEnforcer
from gearman_manager.supervisor.orphan_reaper import OrphanReaper
from gearman_manager.supervisor.recording import make_finished, make_recorder, our_servers
from gearman_manager.supervisor.reload import ConfigReader, Reloads, ReloadWishes
from gearman_manager.supervisor.run_folder import RunFolder
from gearman_manager.supervisor.running_jobs import RunningJobs
from gearman_manager.supervisor.supervisor import Parts, Supervisor
from gearman_manager.telemetry.sender_process import SenderProcess
from gearman_process.lasting import all_lasts

#: What the application imports, in portions that hold the loop for 20 ms at most (measured).
_PORTIONS: Final = (
    "werkzeug",
    "jinja2",
    "flask",
    "prometheus_client",
    "gearman_manager.dashboard.site",
    "gearman_manager.supervisor.routes",
)


def build(load: Callable[[], Config], config: Config, run_folder: RunFolder, announcer: Announcer) -> Supervisor:
    """A manager that is ready to run. `load` reads the configuration again, for a reload."""
    name = manager_name(run_folder)
    awake = gevent.event.Event()
    wishes = ReloadWishes(lambda: generations.abandon_slow_load())
    recent_log = RecentLog()
    cgroup = Cgroup.of()
    oom_kills = OomKills(cgroup)

    # The job servers, and their queues.
    policy_gaps = PolicyGapCheck()
    job_news = RunningJobs()

    def server_answers() -> None:
        policy_gaps.ask_now()
        recorder.ask_soon()

    queues = Queues(f"gm:{name}", awake.set, server_answers, job_news, lambda: arrangement.note_servers())
    job_servers = JobServers(config, run_folder.path, queues.ask_now, oom_kills.describe)

    # The workers, and their number.
    links = _links()
    zygotes = Zygotes(links)
    starter = WorkerStart(name, links, zygotes)
    workforce = Workforce(starter, zygotes, Exits(oom_kills), awake.set)
    guards = HostGuards(config.limits, cgroup)
    autoscaler = Autoscaler(workforce, queues, guards)
    sizes = PoolSizes(autoscaler, guards, awake.set)
    limits = LimitEnforcer(workforce, awake.set, oom_kills, lambda: queues.known.addresses)
    job_news.begin(workforce, queues)

    # The code that they run.
    source_watch = SourceWatch(wishes.code_changed)
    arrangement = Arrangement(config, job_servers, policy_gaps, workforce, sizes, source_watch)
    REDACTION.privacy = arrangement.privacy
    arrangement.known_servers = lambda: queues.known.addresses
    arrangement.span_socket = str(run_folder.span_socket.absolute())
    host = Host(usable_cores(cgroup), oom_kills.describe)
    generations = Generations(zygotes, workforce, host, arrangement.take_over)
    config_watches = ConfigWatches(job_servers, queues, source_watch)

    # The operator's requests.
    history = HistoryFile(run_folder.history_file)
    actions = ActionLog(history, arrangement.privacy)
    samples = PoolSamples(workforce, autoscaler, queues, generations)
    recorder = make_recorder(history, arrangement, generations, queues, job_servers, samples)
    sessions = Sessions(SessionFile(run_folder.session_file))
    peers = Peers(lambda: arrangement.config.alerts.peer_patience_s)
    application = LateApplication(lambda: making(), awake.set)
    control = ControlServer(
        run_folder.socket,
        application,
        Gate(sessions, lambda config, shown: peers.use(peers_of(config, shown.peer_tokens))),
    )
    reader = ConfigReader(load, recent_log, control)
    reloads = Reloads(reader, generations, arrangement, sizes, config_watches, announcer)
    explanations = Explanations(workforce, autoscaler)
    status = StatusReport(generations, workforce, queues, sizes, policy_gaps, explanations)
    drain = Drain(workforce, awake.set)
    drain_report = DrainReport(drain, job_servers, queues)
    status.add("drain", drain_report.report)
    server_restarts = ServerRestarts(job_servers, queues)

    server_jobs = ServerJobs(
        lambda: queues.known.having_jobs or job_servers.addresses,
        lambda: queues.known.clusters or [[address] for address in job_servers.addresses],
        arrangement.privacy,
    )

    # What is told of the past, and those who are told of troubles.
    ours = partial(our_servers, queues)
    keeper, finished = make_finished(run_folder, arrangement, ours)
    failures = FailureGroups(
        history, name, lambda: arrangement.config.workers_dir, arrangement.privacy, lambda: workforce.pools
    )
    finished.subscribe(failures.receive)
    deliveries = Deliveries()
    questions = ServerQuestions(server_jobs.page, lambda: list(map(str, ours())))
    watched = Watched(
        lambda: arrangement.config,
        generations,
        workforce,
        queues,
        failures.mutes,
        lambda: control.url,
        peers.states,
    )
    alerts = AlertWatch(watched, questions, deliveries)

    telemetry = SenderProcess(
        name, run_folder.socket, run_folder.span_socket, lambda: arrangement.config, links.lifeline
    )

    def own_pids() -> set[int]:
        return workforce.pids() | zygotes.pids | job_servers.pids | deliveries.pids | telemetry.pids

    parts = Parts(
        name=name,
        awake=awake,
        recent_log=recent_log,
        orphans=OrphanReaper(workforce, own_pids),
        doorbell=Doorbell(links.doorbell, workforce.doorbell),
        limits=limits,
        job_servers=job_servers,
        generations=generations,
        arrangement=arrangement,
        application=application,
        control=control,
        queues=queues,
        config_watches=config_watches,
        policy_gaps=policy_gaps,
        sizes=sizes,
        autoscaler=autoscaler,
        workforce=workforce,
        wishes=wishes,
        reloads=reloads,
        status=status,
        drain=drain,
        drain_report=drain_report,
        server_restarts=server_restarts,
        actions=actions,
        recorder=recorder,
        alerts=alerts,
        telemetry=telemetry,
        keeper=keeper,
        finished=finished,
        failures=failures,
        peers=peers,
        server_facts=ServerFacts(lambda: [server.address for server in queues.servers]),
    )
    supervisor = Supervisor(run_folder, announcer, parts)

    def making() -> Making:
        for module in _PORTIONS:
            with all_lasts():
                import_module(module)
            yield
        from gearman_manager.supervisor.routes import make_application

        with all_lasts():
            return make_application(supervisor, parts, history, sessions, server_jobs, explanations)

    return supervisor


def manager_name(run_folder: RunFolder) -> str:
    """The manager's name in client ids: the host's name, and a digest that tells apart managers on one host."""
    host = socket.gethostname().replace("/", "-").replace(" ", "-")
    digest = hashlib.blake2b(str(run_folder.path.resolve()).encode(), digest_size=4).hexdigest()
    return f"{host}-{digest}"


def _links() -> Links:
    """The links between the manager's processes."""
    doorbell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    return Links(Scoreboard.create(), own_lifeline(), doorbell)
