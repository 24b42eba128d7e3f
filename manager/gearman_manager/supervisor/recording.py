"""Makes the parts that record how pools and functions fare and how jobs ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from gearman_client import Address
from gearman_manager.code.generations import Generations
from gearman_manager.finished.collector import Collector
from gearman_manager.finished.keeper import Keeper
from gearman_manager.history.history_file import HistoryFile
from gearman_manager.job_servers.job_servers import JobServers
from gearman_manager.scaling.queues import Queues
from gearman_manager.series.count_questions import CountQuestions
from gearman_manager.series.pool_samples import PoolSamples
from gearman_manager.series.recorder import Recorder, Sources
from gearman_manager.supervisor.arrangement import Arrangement
from gearman_manager.supervisor.run_folder import RunFolder


def make_recorder(
    file: HistoryFile,
    arrangement: Arrangement,
    generations: Generations,
    queues: Queues,
    job_servers: JobServers,
    samples: PoolSamples,
) -> Recorder:
    """The recorder, which writes to this file."""

    sources = Sources(
        config=lambda: arrangement.config,
        pools=samples,
        counts=CountQuestions(partial(our_servers, queues)),
        functions=lambda: generations.functions,
        generation=lambda: generations.current.number if generations.current is not None else 0,
        restarts=lambda: {instance.title: instance.restarts for instance in job_servers.instances},
    )
    return Recorder(sources, file)


def make_finished(
    run_folder: RunFolder, arrangement: Arrangement, servers: Callable[[], Sequence[Address]]
) -> tuple[Keeper, Collector]:
    """What keeps finished jobs, and what collects them from these servers."""
    keeper = Keeper(run_folder.finished_file, lambda: arrangement.config.kept_finished, arrangement.privacy)
    keeper.bounds_of_old = lambda: arrangement.config.history.finished_jobs
    return keeper, Collector(servers, keeper)


def our_servers(queues: Queues) -> list[Address]:
    """The job servers that know our text commands."""
    return [server.address for server in queues.servers if server.is_up and server.is_pushed]
