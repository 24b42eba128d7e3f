"""The settings of a GearmanManager ini file in our terms, and their YAML.

The YAML is written line by line, because a dumper keeps no comments. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

#: The pool of all functions without a pool of their own.
ALL: Final = "all"
_PLAIN: Final = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.-]*")
_RESERVED: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_POOL_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class FunctionNumbers:
    """The numbers of a function's section: its own processes, its greatest number of them, its time limit."""

    name: str
    min: int
    max: int
    timeout_s: int | None

    @property
    def has_pool(self) -> bool:
        """False if the processes for all functions are enough."""
        return self.max > 0


@dataclass(slots=True)
class Settings:
    """The ini file in our terms."""

    workers_dir: list[str]
    servers: list[str]
    include: list[str]
    exclude: list[str]
    defaults: dict[str, str]
    all_count: int
    functions: list[FunctionNumbers]
    log: dict[str, str] = field(default_factory=dict)
    user: str | None = None


def yaml_lines(settings: Settings, notes: Sequence[str], file: str) -> Iterator[str]:
    """Our YAML, line by line; `file` is the name of the ini file."""
    yield f"# Made from GearmanManager's {_comment(file)}. Relative paths start at this file's folder."
    for note in notes:
        yield f"# {_comment(note)}"
    yield f"servers: {_list(settings.servers)}   # or `server: {{}}` for the bundled job server"
    yield f"workers_dir: {_list(settings.workers_dir)}"
    if settings.include:
        yield f"include_functions: {_list(settings.include)}"
    if settings.exclude:
        yield f"exclude_functions: {_list(settings.exclude)}"
    if settings.user:
        yield f"user: {_scalar(settings.user)}"
    if settings.log:
        yield f"log: {{{', '.join(f'{key}: {_scalar(value)}' for key, value in settings.log.items())}}}"
    yield "# GearmanManager's numbers are fixed. With a larger max a pool follows its queue."
    yield f"defaults: {{{', '.join(f'{key}: {value}' for key, value in settings.defaults.items())}}}"
    yield from _pools(settings)
    yield from _functions(settings)


def _pools(settings: Settings) -> Iterator[str]:
    own = [function for function in settings.functions if function.has_pool]
    if not own and not settings.all_count:
        return
    yield "pools:"
    if settings.all_count:
        name = ALL if all(function.name != ALL for function in own) else "every_other"
        yield f"  {name}: {{functions: ['*'], min: {settings.all_count}, max: {settings.all_count}}}"
    for number, function in enumerate(own, start=1):
        name = function.name if _POOL_NAME.fullmatch(function.name) else f"pool{number}"
        size = f"min: {function.min}, max: {function.max}"
        yield f"  {_scalar(name)}: {{functions: {_list([function.name])}, {size}}}"


def _functions(settings: Settings) -> Iterator[str]:
    limited = [function for function in settings.functions if function.timeout_s]
    if limited:
        yield "functions:"
    for function in limited:
        yield f"  {_scalar(function.name)}: {{timeout: {function.timeout_s}s}}"
    if limited or "timeout" in settings.defaults:
        yield "# A job that overruns its timeout fails; GearmanManager had it run again. See `retries` of a function."


def _list(values: list[str]) -> str:
    return f"[{', '.join(map(_scalar, values))}]"


def _scalar(value: str) -> str:
    """Text in YAML, without quotes if that is safe. Each `$` is escaped, since it starts a variable in our files."""
    if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return json.dumps(value.replace("$", "$$"), ensure_ascii=False)


def _comment(text: str) -> str:
    return " ".join(text.split())
