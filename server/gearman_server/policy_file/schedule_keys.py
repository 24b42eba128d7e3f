"""The keys of a schedule in a policies file, and the rule that they express. Pure."""

from __future__ import annotations

import json
import re
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from gearman_process.values.quoting import shown
from gearman_server.jobs.job import NORMAL, PRIORITY_NAMES
from gearman_server.jobs.schedule_rules import Missed, ScheduleRule
from gearman_server.options.timing import DEFAULT_ZONE, SHORTEST_INTERVAL_S, Every, parse_cron, parse_zone
from gearman_server.policy_file import values as v
from gearman_server.requests.submissions import MAX_UNIQUE_BYTES

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
NAME_HELP: Final = "a schedule's name consists of up to 64 letters, digits, '_', '-' and '.'"
#: The number of entries in a workload that is written as YAML, and the depth of their nesting.
_MAX_NODES: Final = 10_000
_MAX_DEPTH: Final = 50


def _interval_s(value: object) -> float:
    seconds = v.duration_s(value)
    if seconds < SHORTEST_INTERVAL_S:
        raise ValueError(f"at least {SHORTEST_INTERVAL_S:g}s is expected, not {shown(value)}")
    return seconds


def _zone_name(value: object) -> str:
    name = v.text(value)
    parse_zone(name)
    return name


def _cron(value: object) -> str:
    expression = v.text(value)
    parse_cron(expression)
    return expression


def _unique(value: object) -> str:
    unique = v.text(value)
    if len(unique.encode()) > MAX_UNIQUE_BYTES or "\0" in unique:
        raise ValueError(f"a unique key has at most {MAX_UNIQUE_BYTES} bytes, none of them zero")
    return unique


def _function(value: object) -> str:
    name = v.text(value)
    if not name or not name.isprintable():
        raise ValueError(f"a function's name is expected, not {shown(value)}")
    return name


def _priority(value: object) -> int:
    if value not in PRIORITY_NAMES:
        raise ValueError(f"one of {', '.join(PRIORITY_NAMES)} is expected, not {shown(value)}")
    return PRIORITY_NAMES.index(value)


def _missed(value: object) -> Missed:
    words = {missed.value: missed for missed in Missed}
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"one of {', '.join(words)} is expected, not {shown(value)}")
    return words[value]


class ScheduleKeys(BaseModel):
    """The keys of a schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    function: Annotated[str, BeforeValidator(_function)]
    every: Annotated[float | None, BeforeValidator(_interval_s)] = None
    cron: Annotated[str | None, BeforeValidator(_cron)] = None
    time_zone: Annotated[str, BeforeValidator(_zone_name)] = DEFAULT_ZONE
    workload: object = ""
    unique: Annotated[str, BeforeValidator(_unique)] = ""
    priority: Annotated[int, BeforeValidator(_priority)] = NORMAL
    missed: Annotated[Missed, BeforeValidator(_missed)] = Missed.RUN_ONCE

    @model_validator(mode="after")
    def _one_timing(self) -> ScheduleKeys:
        if (self.every is None) == (self.cron is None):
            raise ValueError("one of cron and every is expected: when the job is to be submitted")
        if self.every is not None and "time_zone" in self.model_fields_set:
            raise ValueError("time_zone belongs to cron: every counts seconds, which are the same everywhere")
        return self


def rule_of(name: str, written: ScheduleKeys) -> ScheduleRule:
    """The rule that the keys express."""
    timing = Every(written.every) if written.every is not None else parse_cron(written.cron or "", written.time_zone)
    workload = written.workload
    text = workload if isinstance(workload, str) else json.dumps(workload, ensure_ascii=False, separators=(",", ":"))
    return ScheduleRule(
        name,
        timing,
        written.function.encode(),
        text.encode(),
        written.unique.encode(),
        written.priority,
        written.missed,
    )


def is_name(name: str) -> bool:
    """Whether a schedule can have this name."""
    return _NAME.fullmatch(name) is not None


def workload_of(node: yaml.Node) -> object:
    """A workload's value: text as it is written; lists and mappings as values for JSON.

    Raises:
        ValueError: it has too many entries, or too deep ones.
    """
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    return _Content().of(node, 0)


class _Content:
    """Reads nodes. It follows aliases, so it bounds their total."""

    def __init__(self) -> None:
        self._left = _MAX_NODES
        self._loader = yaml.SafeLoader("")

    def of(self, node: yaml.Node, depth: int) -> object:
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise ValueError(f"a workload of at most {_MAX_NODES} entries, {_MAX_DEPTH} deep, is expected")
        if isinstance(node, yaml.MappingNode):
            return {str(key.value): self.of(value, depth + 1) for key, value in node.value}
        if isinstance(node, yaml.SequenceNode):
            return [self.of(value, depth + 1) for value in node.value]
        value = self._loader.construct_object(node)
        return value if isinstance(value, (str, int, float, bool, type(None))) else str(node.value)
