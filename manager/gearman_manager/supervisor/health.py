"""The health of the manager as a whole: whether it is up, and one line of text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gearman_manager.pools.pool import Pool, WorkerState
from gearman_manager.pools.pool_state import PoolState
from gearman_process.values.counting import counted


@dataclass(frozen=True, slots=True)
class Health:
    """The manager's health, for those that started it."""

    pools: int
    workers: int  #: registered ones
    busy: int
    waiting: Sequence[str]  #: pools whose `min` workers are not registered yet, but can still become so
    failing: Sequence[str]
    down: Sequence[str]  #: job servers that can't be reached
    unheard: Sequence[str]  #: job servers of which it is not known yet whether they can be reached
    troubles: Mapping[str, str]  #: of job servers that answer, but can't do all of their work
    servers: int
    replaced: Sequence[str] = ()  #: job servers that are down because an operator has them replaced just now
    drain: str = ""  #: what is left of a drain, in one line; empty while there is none

    @property
    def is_up(self) -> bool:
        """Whether a job server answers and each pool's `min` workers are registered. Failing pools don't count, since
        the others work meanwhile; nor does any pool while no job server can be reached."""
        if self.servers and len(self.down) == self.servers:
            return True
        does_one_answer = not self.servers or len(self.down) + len(self.unheard) < self.servers
        return does_one_answer and not self.waiting

    @property
    def is_healthy(self) -> bool:
        """Whether every pool can keep its workers, and every job server does all of its work."""
        return not (self.failing or self.down or self.unheard or self.troubles)

    @property
    def text(self) -> str:
        """One line for people who ask the service manager."""
        parts = [self.drain] if self.drain else []
        parts += [f"{counted(self.workers, 'worker')} in {counted(self.pools, 'pool')}, {self.busy} busy"]
        for what, names in (
            ("starting", self.waiting),
            ("failing", self.failing),
            ("no answer from job server", self.down),
            ("no answer yet from job server", self.unheard),
            ("being replaced: job server", self.replaced),
        ):
            if names:
                parts.append(f"{what}: {', '.join(names)}")
        parts += [f"job server {address} is in trouble: {trouble}" for address, trouble in self.troubles.items()]
        return "; ".join(parts)


def health_of(
    pools: Iterable[tuple[Pool, int]],
    busy: Mapping[str, int],
    servers: Mapping[str, bool | None],
    troubles: Mapping[str, str],
) -> Health:
    """The health of pools with their `min`, from the numbers of busy workers, whether each job server answers, and what
    they say of their troubles.

    None stands for an answer that is still unknown.
    """
    listed = list(pools)
    registered = {pool.name: _registered(pool) for pool, _ in listed}
    waiting = [
        pool.name
        for pool, minimum in listed
        if pool.state is PoolState.RUNNING and registered[pool.name] < min(minimum, pool.target)
    ]
    return Health(
        pools=len(listed),
        workers=sum(registered.values()),
        busy=sum(busy.values()),
        waiting=waiting,
        failing=[pool.name for pool, _ in listed if pool.state is PoolState.FAILING],
        down=[address for address, answers in servers.items() if answers is False],
        unheard=[address for address, answers in servers.items() if answers is None],
        troubles=troubles,
        servers=len(servers),
    )


def _registered(pool: Pool) -> int:
    return sum(worker.state is WorkerState.READY for worker in pool.workers.values())
