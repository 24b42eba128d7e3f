"""Makes the parts that record how pools and functions fare, and that tell of it."""

from __future__ import annotations

from collections.abc import Mapping

from gearman_client import Address
from gearman_manager.code.generations import Generations
from gearman_manager.history.action_log import ActionLog
from gearman_manager.history.history_file import HistoryFile
from gearman_manager.job_servers.job_servers import JobServers
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.queues import Queues
from gearman_manager.series.count_questions import CountQuestions
from gearman_manager.series.pool_samples import PoolSamples
from gearman_manager.series.recorder import Recorder, Sources
from gearman_manager.series.reports import Reports
from gearman_manager.supervisor.arrangement import Arrangement


def make_recorder(
    file: HistoryFile,
    arrangement: Arrangement,
    generations: Generations,
    queues: Queues,
    job_servers: JobServers,
    pools: tuple[Workforce, Autoscaler],
) -> Recorder:
    """The recorder, which writes to this file."""

    def by_pool() -> Mapping[str, list[str]]:
        return generations.current.layout.by_pool if generations.current is not None else {}

    def addresses() -> list[Address]:
        return [server.address for server in queues.servers if server.is_up and server.is_pushed]

    sources = Sources(
        config=lambda: arrangement.config,
        pools=PoolSamples(*pools, queues, by_pool),
        counts=CountQuestions(addresses),
        functions=lambda: functions_of(generations),
        generation=lambda: generations.current.number if generations.current is not None else 0,
        restarts=lambda: {instance.title: instance.restarts for instance in job_servers.instances},
    )
    return Recorder(sources, file)


def make_reports(
    recorder: Recorder, file: HistoryFile, actions: ActionLog, generations: Generations, workforce: Workforce
) -> Reports:
    """What tells of the file's content."""
    return Reports(
        recorder,
        file,
        actions,
        lambda: [pool.name for pool in workforce.active],
        lambda: functions_of(generations),
    )


def functions_of(generations: Generations) -> list[str]:
    """The names of the functions that the manager serves."""
    return [*generations.current.layout.functions] if generations.current is not None else []
