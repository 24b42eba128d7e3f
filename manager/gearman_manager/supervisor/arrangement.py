"""Keeps the configuration in force, and hands it to the parts that use it when a generation takes over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from glob import glob

from gearman_client import Address
from gearman_manager.code.generations import Accepted
from gearman_manager.code.source_watch import SourceWatch
from gearman_manager.config import Config, Layout
from gearman_manager.config.resolve import privacy_rules
from gearman_manager.job_servers.job_servers import JobServers
from gearman_manager.job_servers.policy_gap_check import PolicyGapCheck
from gearman_manager.modules.source_files import content_hashes
from gearman_manager.pools.pool_order import CodeFiles, PoolOrder, Surroundings, pool_order
from gearman_manager.pools.workforce import Workforce
from gearman_manager.privacy import Privacy
from gearman_manager.scaling.pool_sizes import PoolSizes


class Arrangement:
    """Arranges job servers, workforce, pool sizes and watches for a generation."""

    def __init__(
        self,
        config: Config,
        job_servers: JobServers,
        policy_gaps: PolicyGapCheck,
        workforce: Workforce,
        sizes: PoolSizes,
        source_watch: SourceWatch,
    ) -> None:
        #: The configuration in force; before the first generation, the one that the manager was started with.
        self.config = config
        self._job_servers = job_servers
        self._policy_gaps = policy_gaps
        self._workforce = workforce
        self._sizes = sizes
        self._source_watch = source_watch
        #: Gives all job servers that are known, also those that the configuration does not name.
        self.known_servers: Callable[[], Sequence[Address]] = tuple
        #: The socket to which workers bring the spans of their jobs, if these are wanted.
        self.span_socket = ""
        #: Makes the orders for the pools; None before the first generation.
        self._make_orders: Callable[[], dict[str, PoolOrder]] | None = None
        #: What is shown of jobs.
        self.privacy = Privacy()
        self.privacy.use(*privacy_rules(config, {}))

    def take_over(self, accepted: Accepted) -> None:
        """Run this generation from now on.

        Raises:
            StartError: the bundled job server could not start.
        """
        layout, config = accepted.layout, accepted.config
        self.privacy.use(*privacy_rules(config, layout.functions))
        self._job_servers.use(config, layout.functions)
        self.config = config
        code = _with_watched_files(accepted.code.files, layout)
        self._policy_gaps.watch(self._job_servers.foreign, layout)
        self._make_orders = lambda: self._orders(layout, code)
        self.note_servers()
        self._sizes.arrange(layout, config.limits)
        self._source_watch.follow(code.hashes)

    def note_servers(self) -> None:
        """Tell new workers of the servers that are known now."""
        if self._make_orders is not None:
            self._workforce.arrange(self._make_orders(), self.config.log.max_output)

    def _orders(self, layout: Layout, code: CodeFiles) -> dict[str, PoolOrder]:
        config = self.config
        given = self._job_servers.addresses
        learned = [address for address in self.known_servers() if address not in given]
        spans = self.span_socket if config.otel is not None and config.otel.traces else ""
        around = Surroundings([*given, *learned], config.workers_dir, config.log.level.upper(), learned, spans)
        return {name: pool_order(pool, layout, around, code) for name, pool in layout.pools.items()}


def _with_watched_files(code: CodeFiles, layout: Layout) -> CodeFiles:
    """Add the files that the pools' `watch` names, which may lie anywhere."""
    watched = [file for pool in layout.pools.values() for pattern in pool.watch for file in glob(pattern)]
    return CodeFiles({**code.hashes, **content_hashes((), watched)}, code.needs)
