"""What job servers say of the jobs that our workers run, and to whom it goes."""

from __future__ import annotations

from gearman_client import Address
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.queue_dialogue import StoppedJob
from gearman_manager.scaling.queues import Queues, ServerWatch
from gearman_manager.supervisor.job_stops import JobStops
from gearman_manager.supervisor.orphaned_jobs import OrphanedJobs


class RunningJobs:
    """Hands the news on. There is none before `begin`, since no server is followed before."""

    _orphans: OrphanedJobs
    _stops: JobStops

    def begin(self, workforce: Workforce, queues: Queues) -> None:
        """These are the workers and the servers."""
        self._orphans = OrphanedJobs(workforce, queues)
        self._stops = JobStops(workforce, self._orphans)

    def stop(self, server: Address, job: StoppedJob) -> None:
        """This job is to be stopped."""
        self._stops.stop(server, job)

    def found(self, server: ServerWatch) -> None:
        """The store of this server is known, and it can be told of jobs."""
        self._orphans.found(server)

    def lost(self, server: Address, store_id: bytes) -> None:
        """The connection to this server is gone."""
        self._orphans.lost(server, store_id)
