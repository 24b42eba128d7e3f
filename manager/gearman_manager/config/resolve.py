"""Fills in the keys of pools and functions: their own, else the decorator's, else `defaults`, else the built-in ones.

Results are plain frozen values with units in their names. A limit that is switched off (0) is None here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from gearman_manager.config.function_keys import Brake, Function, FunctionKeys
from gearman_manager.config.models import Config, Defaults
from gearman_manager.config.pool_keys import Pool, PoolKeys, Scale
from gearman_manager.privacy import FunctionPrivacy

T = TypeVar("T")

BUILT_IN_POOL_KEYS: Final[Mapping[str, object]] = {
    "min": 1,
    "stop_timeout": "30s",
    "nice": 0,
    "preload": True,
    "concurrency": 1,
    "weight": 1,
    "prefetch": 1,
    "stop_signal": "TERM",
    "scale": {"target_wait": "2s", "cooldown": "30s"},
}
BUILT_IN_FUNCTION_KEYS: Final[Mapping[str, object]] = {
    "retries": 0,
    "crash_retries": 3,
    "backoff": "10s",
    "max_backoff": "10m",
}
#: A pool without `max` may grow a little, so that one slow job does not keep all others waiting.
BUILT_IN_MAX: Final = 4
#: How long the last worker of a pool with `min: 0` stays without a job.
BUILT_IN_IDLE_S: Final = 60.0

_BUILT_IN_POOL: Final = PoolKeys.model_validate(BUILT_IN_POOL_KEYS)
_BUILT_IN_FUNCTION: Final = FunctionKeys.model_validate(BUILT_IN_FUNCTION_KEYS)


@dataclass(frozen=True, slots=True)
class ResolvedScale:
    """Exactly one of the three policies is set."""

    target_wait_s: float | None
    backlog_per_worker: int | None
    utilisation: float | None
    cooldown_s: float
    idle_s: float | None


@dataclass(frozen=True, slots=True)
class ResolvedWindow:
    """Other bounds for a pool, for `length_s` from each time of `cron` in the time zone; None leaves the pool's."""

    cron: str
    time_zone: str
    length_s: float
    min: int | None
    max: int | None


@dataclass(frozen=True, slots=True)
class ResolvedPool:
    """A pool as it runs. `functions` are the names registered with the job servers."""

    name: str
    functions: tuple[str, ...]
    command: tuple[str, ...] | None
    min: int
    max: int
    windows: tuple[ResolvedWindow, ...]
    scale: ResolvedScale
    max_jobs: int | None
    max_lifetime_s: float | None
    max_memory_bytes: int | None
    stop_timeout_s: float
    nice: int
    preload: bool
    concurrency: int
    prefetch: int
    watch: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None
    user: str | None
    stop_signal: str
    max_everywhere: int | None
    weight: int
    uses: Mapping[str, int]  #: by budget, the units that one worker uses
    lists: tuple[str, ...] = ()  #: those of its functions that take lists of jobs
    is_async: bool = False  #: an asyncio loop runs its functions

    @property
    def takes_sets(self) -> bool:
        """Whether its workers get several jobs at once."""
        return self.prefetch > 1 or bool(self.lists)


@dataclass(frozen=True, slots=True)
class ResolvedFunction:
    """A function as it is served. `name` is registered with the job servers, `module_name` is the name in the code.

    A function of a command pool has no file: its program defines it.
    """

    name: str
    module_name: str
    pool: str
    file: str
    line: int
    timeout_s: float | None
    retries: int
    crash_retries: int
    backoff_s: float
    max_backoff_s: float
    keep_result_s: float | None
    max_queue: int | None
    max_running: int | None
    rate: str | None
    brake: Brake | None
    settings: Mapping[str, object]
    batch: int | None = None  #: the most jobs of one call; None: the function takes one job, not a list
    linger_s: float = 0.0
    allow_options: tuple[str, ...] | None = None  #: what a job may bring along; None: every option
    unique_scope: str = "server"  #: or "cluster"
    key_max_running: int | None = None  #: for the jobs of each key
    key_rate: str | None = None
    is_fair: bool = False
    weights: Mapping[str, int] = field(default_factory=dict)
    privacy: FunctionPrivacy = field(default_factory=FunctionPrivacy)


@dataclass(frozen=True, slots=True)
class FunctionIdentity:
    """The function whose keys are resolved; for the fields see `ResolvedFunction`."""

    name: str
    module_name: str
    pool: str
    file: str = ""
    line: int = 0


def resolve_pool(name: str, pool: Pool, defaults: Defaults, functions: tuple[str, ...], cores: int) -> ResolvedPool:
    """The pool with every key filled in."""
    layers: tuple[PoolKeys, ...] = (pool, defaults, _BUILT_IN_POOL)
    minimum, maximum = worker_range(pool, defaults, cores)
    windows = _windows(pool, defaults, cores)
    lowest = min((window.min for window in windows if window.min is not None), default=minimum)
    command = pool.command
    return ResolvedPool(
        name=name,
        functions=functions,
        command=command,
        min=minimum,
        max=maximum,
        windows=windows,
        scale=_scale(layers, min(minimum, lowest)),
        max_jobs=_limit(*(layer.max_jobs for layer in layers)),
        max_lifetime_s=_limit(*(layer.max_lifetime for layer in layers)),
        max_memory_bytes=_limit(*(layer.max_memory for layer in layers)),
        stop_timeout_s=_first(*(layer.stop_timeout for layer in layers)),
        nice=_first(*(layer.nice for layer in layers)),
        preload=_first(*(layer.preload for layer in layers)),
        concurrency=1 if command else _first(*(layer.concurrency for layer in layers)),
        prefetch=1 if command else _first(*(layer.prefetch for layer in layers)),
        watch=_first(*(layer.watch for layer in layers), ()),
        env={**(defaults.env or {}), **(pool.env or {})} if command else {},
        cwd=_optional(*(layer.cwd for layer in layers)) if command else None,
        user=_optional(*(layer.user for layer in layers)) if command else None,
        stop_signal=_first(*(layer.stop_signal for layer in layers)),
        max_everywhere=_optional(*(layer.max_everywhere for layer in layers)),
        weight=_first(*(layer.weight for layer in layers)),
        uses={budget: units for budget, units in _first(*(layer.uses for layer in layers), {}).items() if units},
    )


def worker_range(pool: Pool, defaults: Defaults, cores: int) -> tuple[int, int]:
    """`min` and `max` of a pool on a machine with `cores` cores."""
    minimum = _first(pool.min, defaults.min, _BUILT_IN_POOL.min).resolve(cores)
    if pool.command is not None and pool.functions is None and pool.max is None:
        # Its queue is unknown, so it can't scale, and an inherited `max` does not apply.
        return minimum, max(minimum, 1, *_window_minima(pool, defaults, cores))
    maximum = _optional(pool.max, defaults.max)
    if maximum is None:
        return minimum, max(minimum, BUILT_IN_MAX, *_window_minima(pool, defaults, cores))
    return minimum, maximum.resolve(cores)


def impossible_windows(windows: Sequence[ResolvedWindow], minimum: int, maximum: int) -> Iterator[tuple[int, str]]:
    """The windows of a pool whose `min` would be above their `max`, by their index, with the mistake and its remedy."""
    for index, window in enumerate(windows):
        low = minimum if window.min is None else window.min
        high = maximum if window.max is None else window.max
        if low <= high:
            continue
        if window.max is None:
            yield index, f"min {low} is more than the pool's max, {high}: lower it, or give the window a max too"
        elif window.min is None:
            yield index, f"max {high} is less than the pool's min, {low}: raise it, or give the window a min too"
        else:
            yield index, f"min {low} is more than max {high}: lower min or raise max"


def too_few_everywhere(pool: ResolvedPool) -> str:
    """Why a pool's `max_everywhere` can't hold, since a `min` is above it, with the remedy; else nothing."""
    if pool.max_everywhere is None:
        return ""
    if pool.min > pool.max_everywhere:
        return f"{pool.max_everywhere} is less than the min of pool {pool.name}, {pool.min}: raise it"
    most = max((window.min for window in pool.windows if window.min is not None), default=0)
    if most > pool.max_everywhere:
        return f"{pool.max_everywhere} is less than the min of a window of the pool {pool.name}, {most}: raise it"
    return ""


def _windows(pool: Pool, defaults: Defaults, cores: int) -> tuple[ResolvedWindow, ...]:
    return tuple(
        ResolvedWindow(
            cron=window.cron,
            time_zone=window.time_zone,
            length_s=window.length,
            min=None if window.min is None else window.min.resolve(cores),
            max=None if window.max is None else window.max.resolve(cores),
        )
        for window in _first(pool.windows, defaults.windows, ())
    )


def _window_minima(pool: Pool, defaults: Defaults, cores: int) -> list[int]:
    """A `max` that nobody has written leaves room for them."""
    windows = _windows(pool, defaults, cores)
    return [window.min for window in windows if window.min is not None and window.max is None]


def resolve_function(
    identity: FunctionIdentity, explicit: Function, decorated: Function, defaults: Defaults
) -> ResolvedFunction:
    """The function with every key filled in: the file wins over the decorator, the decorator over `defaults`."""
    layers: tuple[FunctionKeys, ...] = (explicit, decorated, defaults, _BUILT_IN_FUNCTION)
    settings: dict[str, object] = {}
    for layer in reversed(layers):
        settings.update(layer.settings or {})
    backoff_s = _first(*(layer.backoff for layer in layers))
    return ResolvedFunction(
        name=identity.name,
        module_name=identity.module_name,
        pool=identity.pool,
        file=identity.file,
        line=identity.line,
        timeout_s=_limit(*(layer.timeout for layer in layers)),
        retries=_first(*(layer.retries for layer in layers)),
        crash_retries=_first(*(layer.crash_retries for layer in layers)),
        backoff_s=backoff_s,
        max_backoff_s=max(backoff_s, _first(*(layer.max_backoff for layer in layers))),
        keep_result_s=_limit(*(layer.keep_result for layer in layers)),
        max_queue=_limit(*(layer.max_queue for layer in layers)),
        max_running=_limit(*(layer.max_running for layer in layers)),
        rate=_limit(*(layer.rate for layer in layers)),
        key_max_running=_limit(*(layer.per_key.max_running for layer in layers if layer.per_key is not None)),
        key_rate=_limit(*(layer.per_key.rate for layer in layers if layer.per_key is not None)),
        is_fair=_first(*(layer.fair for layer in layers), False),
        weights=_first(*(layer.weights for layer in layers), {}),
        brake=_brake(*(layer.brake for layer in layers)),
        settings=settings,
        batch=_optional(explicit.batch, decorated.batch) if decorated.batch is not None else None,
        linger_s=_first(explicit.linger, decorated.linger, 0.0),
        allow_options=_optional(*(layer.allow_options for layer in layers)),
        unique_scope=_first(*(layer.unique_scope for layer in layers), "server"),
        privacy=resolve_privacy(layers),
    )


def resolve_privacy(layers: Sequence[FunctionKeys]) -> FunctionPrivacy:
    """What is shown of a function's jobs; the nearest layer that has a key wins."""
    return FunctionPrivacy(
        redact=_first(*(layer.redact for layer in layers), ()),
        shows_workloads=_first(*(layer.show_workloads for layer in layers), True),
        retention_s=_optional(*(layer.retention for layer in layers)),
    )


def privacy_rules(
    config: Config, functions: Mapping[str, ResolvedFunction]
) -> tuple[dict[str, FunctionPrivacy], FunctionPrivacy]:
    """What is shown of the jobs of each function, by registered name, and of those that nobody here serves. Before the
    modules are loaded there may be jobs already: a function may be named with the prefix or without."""
    written = {
        registered: resolve_privacy((function, config.defaults))
        for name, function in config.functions.items()
        for registered in (name, config.prefix + name)
    }
    served = {name: function.privacy for name, function in functions.items()}
    return written | served, resolve_privacy((config.defaults,))


def _scale(layers: tuple[PoolKeys, ...], minimum: int) -> ResolvedScale:
    """The policy comes from the nearest layer that names one; `cooldown` and `idle` are resolved on their own."""
    scales = tuple(layer.scale or Scale() for layer in layers)
    policy = next(s for s in scales if (s.target_wait, s.backlog_per_worker, s.utilisation) != (None, None, None))
    idle_s = _first(*(scale.idle for scale in scales), BUILT_IN_IDLE_S)
    return ResolvedScale(
        target_wait_s=policy.target_wait,
        backlog_per_worker=policy.backlog_per_worker,
        utilisation=policy.utilisation,
        cooldown_s=_first(*(scale.cooldown for scale in scales)),
        idle_s=idle_s if minimum == 0 else None,
    )


def _optional(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)


def _first(*values: T | None) -> T:
    value = _optional(*values)
    if value is None:
        raise LookupError("a key has no built-in value")
    return value


def _brake(*brakes: Brake | None) -> Brake | None:
    """The first that is written; one without failures switches an inherited one off."""
    brake = _optional(*brakes)
    return brake if brake is not None and brake.failures else None


def _limit(*values: T | None) -> T | None:
    """The first value that is written; 0 switches a limit off, even an inherited one."""
    return _optional(*values) or None
