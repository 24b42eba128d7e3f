"""Makes the text of one scrape from the manager's live objects, in pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from gearman_client import Address
from gearman_manager import __version__
from gearman_manager.code.generations import Generations
from gearman_manager.job_servers.job_servers import JobServers
from gearman_manager.logs.lost_lines import LOST
from gearman_manager.metrics.bounded_names import BoundedNames
from gearman_manager.metrics.exposition import AnyFamily, R, exposed, label
from gearman_manager.metrics.federation import Federation
from gearman_manager.metrics.function_families import FUNCTION_FAMILIES, function_figures
from gearman_manager.metrics.joined_pages import END, joined
from gearman_manager.metrics.manager_families import (
    BUDGET_FAMILIES,
    MANAGER_FAMILIES,
    SERVER_FAMILIES,
    BudgetFigures,
    ManagerFigures,
    ServerFigures,
)
from gearman_manager.metrics.pool_families import POOL_FAMILIES
from gearman_manager.metrics.pool_figures import pool_figures
from gearman_manager.metrics.process_use import ProcessUse
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.pool_sizes import PoolSizes
from gearman_manager.scaling.queues import Queues

#: Functions with series of their own; the others are together `other`.
MOST_FUNCTIONS: Final = 200


#: By server, its page; None: it does not answer.
Pages = Mapping[Address, bytes | None]


@dataclass(frozen=True, slots=True)
class Sources:
    """The live objects."""

    generations: Generations
    workforce: Workforce
    autoscaler: Autoscaler
    sizes: PoolSizes
    queues: Queues
    job_servers: JobServers
    missed_ends: Callable[[], int]  #: of finished jobs, since the start


class Scrape:
    """Keeps between two scrapes what is needed to have counters that never fall."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._use = ProcessUse()
        self._functions = BoundedNames(MOST_FUNCTIONS)
        self._federation = Federation(sources.job_servers, MOST_FUNCTIONS)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def pieces(
        self, encode: Callable[[CollectorRegistry], bytes], accept: str, *, is_openmetrics: bool
    ) -> Iterator[bytes]:
        """All families of the manager and of the bundled job servers, in the format for this header Accept.

        The servers are asked before this returns. `encode` writes the families of the process. An empty piece only says
        that a pause would be good.
        """
        return self._pieces(encode, self._federation.pages(accept), is_openmetrics)

    def _pieces(
        self, encode: Callable[[CollectorRegistry], bytes], pages: Pages, is_openmetrics: bool
    ) -> Iterator[bytes]:
        yield from self._manager(is_openmetrics)
        yield from self._servers(pages, is_openmetrics)
        for part in (self._budgets, self._functions_by_queue, self._pools):
            yield from part(is_openmetrics)
        yield from joined([encode(self._registry), *(page for page in pages.values() if page is not None)])
        if is_openmetrics:
            yield END

    def _manager(self, is_openmetrics: bool) -> Iterator[bytes]:
        current = self._sources.generations.current
        number = current.number if current is not None else 0
        errors = len(self._sources.generations.errors)
        row = ManagerFigures(__version__, number, errors, LOST.unwritten, LOST.over_budget, self._sources.missed_ends())
        yield from _exposed(MANAGER_FAMILIES, [row], is_openmetrics)

    def _servers(self, pages: Pages, is_openmetrics: bool) -> Iterator[bytes]:
        restarts = {instance.address: instance.restarts for instance in self._sources.job_servers.instances}
        rows = [
            ServerFigures(
                label("server", str(server.address)),
                server.is_up,
                bool(server.trouble),
                restarts.get(server.address),
                pages[server.address] is not None if server.address in pages else None,
            )
            for server in self._sources.queues.servers
        ]
        yield from _exposed(SERVER_FAMILIES, rows, is_openmetrics)

    def _budgets(self, is_openmetrics: bool) -> Iterator[bytes]:
        sizes, used = self._sources.sizes, Counter[str]()
        arranged = sizes.arranged
        for live in self._sources.workforce.live.values():
            used.update(arranged.get(live.pool.name, live.order.pool).uses)
        rows = [BudgetFigures(label("budget", name), units, used[name]) for name, units in sizes.budgets.items()]
        yield from _exposed(BUDGET_FAMILIES, rows, is_openmetrics)

    def _functions_by_queue(self, is_openmetrics: bool) -> Iterator[bytes]:
        names = self._sources.generations.functions
        rows = []
        for row in function_figures(names, self._functions.shown(names), self._sources.queues):
            rows.append(row)
            yield b""
        yield from _exposed(FUNCTION_FAMILIES, rows, is_openmetrics)

    def _pools(self, is_openmetrics: bool) -> Iterator[bytes]:
        sources = self._sources
        sizes, rows = sources.sizes.current, []
        for pool in sources.workforce.active:
            decision = sources.autoscaler.decisions(pool.name).last
            rows.append(pool_figures(pool, sizes.get(pool.name), decision, sources.workforce, self._use))
            yield b""
        self._use.keep_only(row.pool.name for row in rows)
        yield from _exposed(POOL_FAMILIES, rows, is_openmetrics)


def _exposed(families: Sequence[AnyFamily[R]], rows: Sequence[R], is_openmetrics: bool) -> Iterator[bytes]:
    for family in families:
        yield exposed(family, rows, is_openmetrics=is_openmetrics)
