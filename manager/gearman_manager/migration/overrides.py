"""The command line's overrides of the configuration file, kept so that they also apply after a reload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gearman_manager.config.models import Config, JobServer
from gearman_manager.config.pool_keys import Pool

EVERY_OTHER: Final[str] = "*"
_POOL_OF_ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Overrides:
    """None, or empty, means that the command line does not mention it. A limit of 0 means no limit."""

    workers_dir: tuple[str, ...] = ()
    user: str | None = None
    log_file: str | None = None
    log_level: str | None = None
    servers: tuple[JobServer, ...] = ()
    timeout_s: float | None = None
    max_jobs: int | None = None
    max_lifetime_s: float | None = None
    all_workers: int | None = None

    @property
    def replaced(self) -> dict[str, object]:
        """The keys of the file that don't count, so that mistakes in them don't either, with their new values."""
        replaced = _written(**{"user": self.user, "log.file": self.log_file, "log.level": self.log_level})
        if self.workers_dir:
            replaced["workers_dir"] = self.workers_dir
        if self.servers:
            replaced |= {"servers": [str(server.address) for server in self.servers], "server": None}
        return replaced

    def apply(self, config: Config) -> Config:
        """The configuration to run. Pools and functions keep the keys that they set themselves."""
        defaults = _written(timeout=self.timeout_s, max_jobs=self.max_jobs, max_lifetime=self.max_lifetime_s)
        log = _written(file=self.log_file, level=self.log_level)
        changed: dict[str, object] = _written(user=self.user)
        if self.workers_dir:
            changed["workers_dir"] = self.workers_dir
        if self.servers:
            changed |= {"servers": self.servers, "server": None}
        if defaults:
            changed["defaults"] = config.defaults.model_copy(update=defaults)
        if log:
            changed["log"] = config.log.model_copy(update=log)
        if self.all_workers is not None:
            changed["pools"] = _with_pool_of_all(config.pools, self.all_workers)
        return config.model_copy(update=changed) if changed else config


def _written(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _with_pool_of_all(pools: Mapping[str, Pool], workers: int) -> dict[str, Pool]:
    """The pools, with `workers` workers for the functions that no other pool names; their pool is added if missing."""
    name = next((name for name, pool in pools.items() if EVERY_OTHER in (pool.functions or ())), _POOL_OF_ALL)
    size = Pool.model_validate({"functions": [EVERY_OTHER], "min": workers, "max": workers})
    if name in pools:
        size = pools[name].model_copy(update={"min": size.min, "max": size.max, "functions": size.functions})
    return {**pools, name: size}
