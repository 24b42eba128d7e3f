"""What pydantic found wrong, in our words: the key, what is wrong, what is allowed, and the nearest known key.

Pure. The values' own validators word their refusals themselves; here is what is wrong with the keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gearman_manager.config.function_keys import Function, FunctionKeys
from gearman_manager.config.models import Config, Control, Defaults, JobServer, Limits, Log, Server
from gearman_manager.config.pool_keys import Pool, PoolKeys, Scale
from gearman_manager.config.schedule_keys import Schedule
from gearman_manager.config.section import Section
from gearman_manager.units import shown

Location = tuple[str | int, ...]

_TOP: Final[Mapping[str, type[Section]]] = {
    "server": Server,
    "servers": JobServer,
    "defaults": Defaults,
    "limits": Limits,
    "log": Log,
    "control": Control,
}
_NAMED: Final[Mapping[str, type[Section]]] = {"pools": Pool, "functions": Function, "schedules": Schedule}


def dotted(location: Location) -> str:
    """The name of a key, as `JobSlots` knows it."""
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def place_of_error(error: Mapping[str, Any]) -> Location:
    """Where the error stands; pydantic marks the name of a mapping's entry with '[key]'."""
    return tuple(part for part in error["loc"] if part != "[key]")


def message_for(error: Mapping[str, Any]) -> str:
    """One error of pydantic's, worded."""
    location = place_of_error(error)
    if error["type"] == "extra_forbidden":
        return unknown_key(str(location[-1]), section_at(location[:-1]))
    if error["type"] == "missing":
        return f"{location[-1]} is missing"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{shown(error['input'])} is not allowed here"


def unknown_key(key: str, section: type[Section]) -> str:
    """Why `key` can't stand in a section, and where it can or what was meant."""
    keys = list(section.model_fields)
    if home := _home(key, section):
        return f"the key belongs {home}"
    nearest = nearest_name(key, keys)
    suggestion = f", did you mean {nearest}?" if nearest else "."
    return f"unknown key{suggestion} Allowed here: {', '.join(keys)}"


def nearest_name(name: str, names: Sequence[str]) -> str:
    """The known name that `name` was probably meant to be, or nothing."""
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.6)), "")


def section_at(location: Location) -> type[Section]:
    """The model of the section at `location`."""
    if not location:
        return Config
    if location[-1] == "scale":
        return Scale
    top = str(location[0])
    return _NAMED[top] if top in _NAMED else _TOP[top]


def _home(key: str, section: type[Section]) -> str:
    """Where a key belongs that is known, but not in this section."""
    if key in Scale.model_fields and section in (Pool, Defaults):
        return f"in scale, as in scale: {{{key}: …}}"
    if section is Pool and key in FunctionKeys.model_fields:
        return "to jobs, not to processes: write it under functions, or in defaults"
    if section is Function and key in PoolKeys.model_fields:
        return "to processes, not to jobs: write it under pools, or in defaults"
    if section is Defaults and key in ("functions", "command"):
        return "in a pool, not in defaults"
    if section is Config and key in Defaults.model_fields:
        return "in a pool or a function, or in defaults for all of them"
    return ""
