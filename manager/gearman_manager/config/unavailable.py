"""Keys that are valid but not built yet in this version: `check` says so instead of letting them do nothing in silence.

One table; a key that becomes available leaves it. A key inside a section is written with a dot: `scale.idle`. Pure.
"""

from collections.abc import Iterator, Sequence

from .layout import FoundFunction
from .models import Config
from .problem import Problem
from .section import Section

UNAVAILABLE_TOP_KEYS: tuple[str, ...] = ("schedules",)
UNAVAILABLE_POOL_KEYS: tuple[str, ...] = ()
UNAVAILABLE_FUNCTION_KEYS: tuple[str, ...] = ()

_MESSAGE = "the key is valid but not available yet in this version: it has no effect"


def unavailable_keys(config: Config, found: Sequence[FoundFunction] = ()) -> tuple[Problem, ...]:
    """One problem, none of them fatal, for each such key in the configuration or in a decorator in `found`."""
    return (*_in_file(config), *_in_decorators(found))


def unavailable_values(config: Config) -> tuple[Problem, ...]:
    """One fatal problem for each value with which a manager of this version can't run as the file says."""
    problems = []
    for index, server in enumerate(config.servers):
        if server.uses_tls:
            message = "connections with TLS are not available yet in this version"
            problems.append(config.places.problem(f"servers[{index}]", message))
    return tuple(problems)


def _in_file(config: Config) -> Iterator[Problem]:
    keys = list(_written(config, "", UNAVAILABLE_TOP_KEYS))
    keys += _written(config.defaults, "defaults.", UNAVAILABLE_POOL_KEYS + UNAVAILABLE_FUNCTION_KEYS)
    for name, pool in config.pools.items():
        keys += _written(pool, f"pools.{name}.", UNAVAILABLE_POOL_KEYS)
    for name, function in config.functions.items():
        keys += _written(function, f"functions.{name}.", UNAVAILABLE_FUNCTION_KEYS)
    for key in keys:
        yield config.places.problem(key, _MESSAGE, fatal=False)


def _written(section: Section, prefix: str, keys: Sequence[str]) -> Iterator[str]:
    """The dotted names of those of `keys` that are written in a section."""
    for key in keys:
        holder: object = section
        *outer, last = key.split(".")
        for name in outer:
            holder = getattr(holder, name, None)
        if isinstance(holder, Section) and last in holder.model_fields_set:
            yield prefix + key


def _in_decorators(found: Sequence[FoundFunction]) -> Iterator[Problem]:
    for function in found:
        for name in function.options:
            if name in UNAVAILABLE_FUNCTION_KEYS:
                yield Problem(function.file, function.line, f"{function.name}.{name}", _MESSAGE, fatal=False)
