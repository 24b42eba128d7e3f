"""Rules between keys: combinations that can't work although each value alone is valid.

Keys whose values were refused already are `broken`. Rules that depend on them are skipped, so that one mistake is
reported once. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gearman_manager.config.alert_keys import AlertTargets
from gearman_manager.config.function_keys import FunctionKeys
from gearman_manager.config.models import Config, Defaults
from gearman_manager.config.pool_checks import impossible_uses
from gearman_manager.config.pool_keys import Pool, PoolKeys
from gearman_manager.config.problem import Places, Problem
from gearman_manager.config.server_checks import server_problems
from gearman_manager.config.worker_count import WorkerCount

EVERY_OTHER_FUNCTION: Final = "*"

#: What those who use the control API's TCP address can show.
_CREDENTIALS: Final = ("token", "token_file", "read_token_file", "users_file", "trusted_proxy")
_ONLY_WITH_COMMAND: Final = ("env", "cwd", "user", "stop_signal")
_ONLY_WITHOUT_COMMAND: Final = ("max_jobs", "preload", "concurrency", "prefetch")
_NAME_FUNCTIONS: Final = "name the functions whose queue it follows, as in functions: [legacy_report]"


def check(config: Config, places: Places, broken: frozenset[str] = frozenset()) -> list[Problem]:
    """All problems between the keys of a configuration."""
    return list(_Rules(config, places, broken).all())


def registered_name(name: str, prefix: str) -> str:
    """The name under which a Python function is registered; a pool may name it with the prefix or without."""
    return name if name.startswith(prefix) else prefix + name


def functions_of(name: str, pool: Pool) -> tuple[str, ...]:
    """The functions that a pool names; without a list, the function named like the pool, or none for a program."""
    if pool.functions is not None:
        return pool.functions
    return () if pool.command is not None else (name,)


def range_problem(key: str, keys: PoolKeys, written: tuple[str, str], places: Places) -> Problem:
    """The problem of a `min` above `max`, shown at the key that the pool sets itself, with the other key's place."""
    minimum, maximum = written
    if keys.min is not None:
        own, other, text = "min", "max", f"{minimum} is more than max, which is {maximum}"
    else:
        own, other, text = "max", "min", f"{maximum} is less than min, which is {minimum}"
    other_key = f"{key}.{other}" if getattr(keys, other) is not None else f"defaults.{other}"
    where = f" at {places.find(other_key)}" if other_key in places else ""
    return places.problem(f"{key}.{own}", f"{text}{where}: lower min or raise max")


class _Rules:
    def __init__(self, config: Config, places: Places, broken: frozenset[str]) -> None:
        self._config = config
        self._defaults = config.defaults
        self._places = places
        self._broken = broken

    def all(self) -> Iterator[Problem]:
        yield from self._job_servers()
        yield from self._control()
        yield from self._alerts()
        yield from server_problems(self._config, self._places, self._broken)
        yield from self._schedules()
        yield from self._pool_keys("defaults", self._defaults, Defaults())
        yield from self._backoff("defaults", self._defaults)
        for name, pool in self._config.pools.items():
            yield from self._pool_keys(f"pools.{name}", pool, self._defaults)
            if not self._broken & {f"pools.{name}.command", f"pools.{name}.functions"}:
                yield from self._pool(f"pools.{name}", pool)
        for name, function in self._config.functions.items():
            yield from self._backoff(f"functions.{name}", function)
        yield from self._functions_in_two_pools()

    def _are_intact(self, section: str, *names: str) -> bool:
        return not any(f"{where}.{name}" in self._broken for name in names for where in (section, "defaults"))

    def _job_servers(self) -> Iterator[Problem]:
        if self._config.server is None and not self._config.servers and not self._broken & {"server", "servers"}:
            message = "a job server is missing: write server: for the bundled one, or servers: [HOST:PORT] for others"
            yield self._places.problem("", message)
        seen: set[str] = set()
        for index, server in enumerate(self._config.servers):
            address = str(server.address)
            if address in seen:
                message = f"{address} is named twice: every job server once is enough"
                yield self._places.problem("servers", message, at=f"servers[{index}]")
            seen.add(address)

    def _control(self) -> Iterator[Problem]:
        control = self._config.control
        given = [key for key in _CREDENTIALS if getattr(control, key) is not None]
        if control.listen is not None and not given and not self._broken & {f"control.{key}" for key in _CREDENTIALS}:
            message = (
                "a TCP address needs a token or users, on this machine too: every user can reach it. "
                "Set control.token_file or control.users_file"
            )
            yield self._places.problem("control.listen", message)
        if control.token is not None and control.token_file is not None:
            yield self._places.problem("control.token_file", "only one of token and token_file is allowed")
        if control.listen is None and given and "control.listen" not in self._broken:
            message = "only control.listen needs this: add an address, such as 127.0.0.1:4731, or leave it out"
            yield self._places.problem(f"control.{given[0]}", message)

    def _alerts(self) -> Iterator[Problem]:
        alerts = self._config.alerts
        if any(key.startswith("alerts") for key in self._broken):
            return
        if alerts.rules.is_any and not alerts.is_on:
            yield self._places.problem("alerts.rules", "nobody is told: name a mail, webhook or command in alerts.to")
        if not alerts.rules.is_any and alerts.to != AlertTargets():
            yield self._places.problem("alerts.to", "there is nothing to tell: name rules in alerts.rules")
        if (alerts.smtp.user is None) != (alerts.smtp.password is None):
            yield self._places.problem("alerts.smtp", "user and password belong together: name both or neither")

    def _schedules(self) -> Iterator[Problem]:
        if self._config.schedules and self._config.server is None and "server" not in self._broken:
            message = "the bundled job server keeps them: add server:, or give another gearman-server a --policies file"
            yield self._places.problem("schedules", message)
        for name, schedule in self._config.schedules.items():
            key = f"schedules.{name}"
            if self._broken & {f"{key}.cron", f"{key}.every"}:
                continue
            if (schedule.cron is None) == (schedule.every is None):
                yield self._places.problem(key, "one of cron and every is expected: when the job is to be submitted")
            elif schedule.every is not None and schedule.time_zone is not None:
                message = "time_zone belongs to cron: every counts seconds, which are the same everywhere"
                yield self._places.problem(f"{key}.time_zone", message)

    def _pool_keys(self, key: str, keys: PoolKeys, defaults: Defaults) -> Iterator[Problem]:
        minimum, maximum = keys.min or defaults.min, keys.max or defaults.max
        own_range = keys.min is not None or keys.max is not None
        if minimum and maximum and own_range and self._are_intact(key, "min", "max") and _is_above(minimum, maximum):
            yield range_problem(key, keys, (str(minimum), str(maximum)), self._places)
        for budget, message in impossible_uses(keys.uses or {}, self._config.limits.budgets):
            if not self._broken & {"limits.budgets", f"{key}.uses"}:
                yield self._places.problem(f"{key}.uses.{budget}", message)
        idle = keys.scale.idle if keys.scale is not None else None
        can_be_empty = (minimum is not None and minimum.number == 0) or 0 in _window_minima(keys, defaults)
        if idle is not None and not can_be_empty and self._are_intact(key, "min", "windows"):
            message = f"idle needs min: 0; here min is {minimum or 1}, so the last worker stays"
            yield self._places.problem(f"{key}.scale.idle", message)
        yield from self._one_way_to_hold_jobs(key, keys, defaults)

    def _one_way_to_hold_jobs(self, key: str, keys: PoolKeys, defaults: Defaults) -> Iterator[Problem]:
        """A worker runs jobs side by side, or fetches them ahead; a program does neither."""
        if getattr(keys, "command", None) is not None or not self._are_intact(key, "concurrency", "prefetch"):
            return
        concurrency, prefetch = keys.concurrency or defaults.concurrency, keys.prefetch or defaults.prefetch
        is_own = keys.concurrency is not None or keys.prefetch is not None
        if is_own and (concurrency or 1) > 1 and (prefetch or 1) > 1:
            own, other = ("prefetch", "concurrency") if keys.prefetch is not None else ("concurrency", "prefetch")
            other_key = f"{key}.{other}" if getattr(keys, other) is not None else f"defaults.{other}"
            message = (
                f"a worker runs several jobs at once or fetches them ahead, not both ({other} is set at "
                f"{self._places.find(other_key)}): set one of them to 1"
            )
            yield self._places.problem(f"{key}.{own}", message)

    def _pool(self, key: str, pool: Pool) -> Iterator[Problem]:
        refused = _ONLY_WITHOUT_COMMAND if pool.command is not None else _ONLY_WITH_COMMAND
        for name in refused:
            if getattr(pool, name) is not None:
                yield self._places.problem(f"{key}.{name}", _wrong_kind(pool))
        if pool.command is None:
            return
        if pool.functions is None:
            yield from self._fixed_size(key, pool)
        elif EVERY_OTHER_FUNCTION in pool.functions:
            message = "'*' is for Python functions: name the functions that the program serves"
            yield self._places.problem(f"{key}.functions", message)

    def _fixed_size(self, key: str, pool: Pool) -> Iterator[Problem]:
        """Rules for a program without `functions`: it has no queue to follow, so it can't scale."""
        minimum = pool.min or self._defaults.min
        if not self._are_intact(key, "min", "max", "scale", "windows"):
            return
        if pool.max is not None and str(pool.max) != str(minimum or 1):
            message = f"a program scales only with functions: {_NAME_FUNCTIONS}, or leave max out"
            yield self._places.problem(f"{key}.max", message)
        elif pool.scale is not None:
            message = f"a program scales only with functions: {_NAME_FUNCTIONS}"
            yield self._places.problem(f"{key}.scale", message)
        elif minimum is not None and minimum.number == 0 and not any(_window_minima(pool, self._defaults)):
            message = f"0 workers would never become more: {_NAME_FUNCTIONS}, or write min: 1"
            yield self._places.problem(f"{key}.min", message)

    def _backoff(self, key: str, keys: FunctionKeys) -> Iterator[Problem]:
        if keys.backoff is not None and keys.max_backoff is not None and keys.max_backoff < keys.backoff:
            message = f"max_backoff is less than backoff (at {self._places.find(f'{key}.backoff')}): raise it"
            yield self._places.problem(f"{key}.max_backoff", message)

    def _functions_in_two_pools(self) -> Iterator[Problem]:
        owners: dict[str, str] = {}
        for name, pool in self._config.pools.items():
            key = f"pools.{name}.functions"
            if key in self._broken:
                continue
            for index, function in enumerate(functions_of(name, pool)):
                own_name = pool.command is not None or function == EVERY_OTHER_FUNCTION
                registered = function if own_name else registered_name(function, self._config.prefix)
                owner = owners.setdefault(registered, name)
                if owner != name:
                    yield self._in_two_pools(function, owner, key, index)

    def _in_two_pools(self, function: str, owner: str, key: str, index: int) -> Problem:
        what = "'*'" if function == EVERY_OTHER_FUNCTION else function
        first = self._places.find(f"pools.{owner}.functions")
        message = (
            f"{what} is in the pool {owner} already (at {first}): a function belongs to one pool, take it out of one"
        )
        return self._places.problem(key, message, at=f"{key}[{index}]")


def _is_above(minimum: WorkerCount, maximum: WorkerCount) -> bool:
    """False for counts of different kinds (4 and 2/core): layout.py compares them, once the cores are known."""
    return minimum.is_per_core == maximum.is_per_core and minimum.number > maximum.number


def _window_minima(keys: PoolKeys, defaults: PoolKeys) -> list[int]:
    """The numbers of the windows' `min`, whether per core or not."""
    windows = keys.windows if keys.windows is not None else defaults.windows or ()
    return [window.min.number for window in windows if window.min is not None]


def _wrong_kind(pool: Pool) -> str:
    if pool.command is None:
        return "the key is for programs only: it needs a command in the same pool"
    return "the key is for Python functions: it can't stand beside a command"
