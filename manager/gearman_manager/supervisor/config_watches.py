"""Follows the queues of the configured job servers, and the source files in the workers folders."""

from __future__ import annotations

from pathlib import Path

from gearman_manager.code.source_watch import SourceWatch
from gearman_manager.config import Config
from gearman_manager.job_servers.job_servers import JobServers
from gearman_manager.scaling.queues import Queues


class ConfigWatches:
    """Follows both from the first generation on, and anew when a configuration takes over."""

    def __init__(self, job_servers: JobServers, queues: Queues, source_watch: SourceWatch) -> None:
        self._job_servers = job_servers
        self._queues = queues
        self._source_watch = source_watch

    def follow(self, config: Config) -> None:
        """Follow this configuration's job servers and folders from now on."""
        self._queues.follow(self._job_servers.addresses)
        self.watch_sources(config)

    def watch_sources(self, config: Config) -> None:
        """Follow the sources alone: a module whose first import hangs may be corrected meanwhile."""
        self._source_watch.watch([Path(folder) for folder in config.workers_dir])

    def wait_until_quiet(self) -> None:
        """Wait while source files are changing."""
        self._source_watch.wait_until_quiet()

    def close(self) -> None:
        """Follow nothing any more."""
        self._source_watch.close()
        self._queues.close()
