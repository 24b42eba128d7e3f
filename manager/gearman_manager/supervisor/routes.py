"""The application on the control socket and the control address: the API, the pages, probes and metrics.

No worker needs it: `build.py` imports this module once the workers are up, or at the first request.
"""

from __future__ import annotations

from flask import Flask

from gearman_manager.access.guards import guard
from gearman_manager.access.login_routes import Login, login_routes
from gearman_manager.access.sessions import Sessions
from gearman_manager.api.action_routes import action_routes
from gearman_manager.api.again_routes import again_routes
from gearman_manager.api.batch_routes import batch_routes
from gearman_manager.api.bulk_routes import bulk_routes
from gearman_manager.api.caller_routes import caller_routes
from gearman_manager.api.dead_routes import dead_routes
from gearman_manager.api.document import serve_api
from gearman_manager.api.drain_routes import drain_routes
from gearman_manager.api.failure_routes import failure_routes
from gearman_manager.api.finished_routes import finished_routes
from gearman_manager.api.function_routes import function_routes, schedule_routes
from gearman_manager.api.job_routes import job_routes
from gearman_manager.api.live_routes import live_routes, scale_routes
from gearman_manager.api.manager_routes import manager_routes
from gearman_manager.api.peer_routes import peer_routes
from gearman_manager.api.pool_routes import pool_routes
from gearman_manager.api.probe_routes import probe_routes
from gearman_manager.api.series_routes import series_routes
from gearman_manager.api.server_restart_routes import server_restart_routes
from gearman_manager.control.all_that_match import AllThatMatch
from gearman_manager.control.app import make_app
from gearman_manager.control.bulk_changes import BulkChanges
from gearman_manager.control.explanations import Explanations
from gearman_manager.control.matching_jobs import MatchingJobs
from gearman_manager.control.operator_changes import OperatorChanges
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.control.submissions import Submissions
from gearman_manager.dashboard.site import Sources as Shown
from gearman_manager.dashboard.site import dashboard_routes
from gearman_manager.failures.group_changes import GroupChanges
from gearman_manager.finished.again import RunAgain
from gearman_manager.history.history_file import HistoryFile
from gearman_manager.history.recording import record_actions
from gearman_manager.live.event_stream import EventStream
from gearman_manager.live.overview import Overview
from gearman_manager.live.overview import Sources as LiveSources
from gearman_manager.metrics.routes import metrics_routes
from gearman_manager.metrics.scrape import Scrape, Sources
from gearman_manager.peers.own_summary import OwnSummary
from gearman_manager.series.reports import Reports
from gearman_manager.supervisor.supervisor import Parts, Supervisor


def make_application(
    supervisor: Supervisor,
    parts: Parts,
    history: HistoryFile,
    sessions: Sessions,
    server_jobs: ServerJobs,
    explanations: Explanations,
) -> Flask:
    """The application with its routes, and the parts that only these need."""
    app = make_app()
    guard(app)
    workforce, queues, actions = parts.workforce, parts.queues, parts.actions
    record_actions(app, actions)
    reports = Reports(
        parts.recorder,
        history,
        actions,
        lambda: [pool.name for pool in workforce.active],
        lambda: parts.generations.functions,
    )
    sources = LiveSources(parts.generations, workforce, parts.autoscaler, parts.sizes, queues, reports.rates)
    overview = Overview(parts.name, sources, supervisor.health)
    events = EventStream(overview.report)
    actions.listener = lambda action: events.tell("action", action)
    submissions = Submissions(server_jobs.servers.addresses)
    every = AllThatMatch(MatchingJobs(server_jobs.servers, parts.keeper.privacy), BulkChanges(), actions)
    again = RunAgain(parts.keeper, submissions, every)
    group_changes = GroupChanges(parts.failures, server_jobs.servers, every)
    parts.peers.own = OwnSummary(overview.report, parts.server_facts)
    changes = OperatorChanges(workforce, parts.sizes, parts.awake.set)
    serve_api(
        app,
        caller_routes(lambda: parts.control.url),
        action_routes(actions),
        series_routes(reports),
        live_routes(overview, events),
        manager_routes(supervisor, parts.status, parts.recent_log),
        drain_routes(supervisor, parts.drain_report),
        server_restart_routes(parts.server_restarts),
        pool_routes(changes, explanations),
        finished_routes(parts.keeper, parts.finished),
        again_routes(again),
        job_routes(server_jobs),
        batch_routes(server_jobs),
        dead_routes(server_jobs),
        bulk_routes(every),
        failure_routes(parts.failures, group_changes),
        function_routes(server_jobs, submissions, parts.status, reports),
        schedule_routes(server_jobs, parts.keeper),
        peer_routes(parts.peers),
    )
    app.register_blueprint(login_routes(Login(sessions)))
    app.register_blueprint(probe_routes(supervisor))
    app.register_blueprint(scale_routes(overview))
    pages = Shown(
        name=parts.name,
        overview=overview.report,
        manager=supervisor,
        changes=changes,
        explanations=explanations,
        status=parts.status,
        jobs=server_jobs,
        keeper=parts.keeper,
        finished=parts.finished,
        every=every,
        again=again,
        failures=parts.failures,
        group_changes=group_changes,
        submissions=submissions,
        log=parts.recent_log,
        actions=actions,
        generations=parts.generations,
        workforce=workforce,
        reports=reports,
        privacy=parts.arrangement.privacy,
        server_facts=parts.server_facts,
        peers=parts.peers,
    )
    app.register_blueprint(dashboard_routes(pages))
    scraped = Sources(
        parts.generations,
        workforce,
        parts.autoscaler,
        parts.sizes,
        queues,
        parts.job_servers,
        lambda: parts.finished.missed,
    )
    app.register_blueprint(metrics_routes(Scrape(scraped)))
    return app
