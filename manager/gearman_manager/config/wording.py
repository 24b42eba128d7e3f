"""Words pydantic's errors for users: the key, the mistake, the allowed keys, and the nearest known one.

It words the problems of keys; the validators of values word their own errors. Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gearman_manager.config.control_keys import Control, PeerManager, TrustedProxy
from gearman_manager.config.function_keys import Brake, Function, FunctionKeys, PerKey
from gearman_manager.config.models import Config, Defaults, Drain, FinishedJobs, JobServer, Limits, Log
from gearman_manager.config.pool_keys import Pool, PoolKeys, Scale, Window
from gearman_manager.config.schedule_keys import Schedule
from gearman_manager.config.section import Section
from gearman_manager.config.server_keys import Cluster, DeadLetters, KeptResults, Server
from gearman_process.values.quoting import shown

Location = tuple[str | int, ...]

_TOP: Final[Mapping[str, type[Section]]] = {
    "server": Server,
    "servers": JobServer,
    "defaults": Defaults,
    "limits": Limits,
    "log": Log,
    "drain": Drain,
    "control": Control,
}
_NAMED: Final[Mapping[str, type[Section]]] = {"pools": Pool, "functions": Function, "schedules": Schedule}
#: Sections within another one, or within an entry of those with names.
_INNER: Final[Mapping[str, type[Section]]] = {
    "cluster": Cluster,
    "dead_letters": DeadLetters,
    "results": KeptResults,
    "finished_jobs": FinishedJobs,
    "scale": Scale,
    "per_key": PerKey,
    "brake": Brake,
    "trusted_proxy": TrustedProxy,
    "peers": PeerManager,
}

#: The most names in a message: users choose from them, but would not scroll through more.
NAMES_SHOWN: Final = 12


def dotted(location: Location) -> str:
    """The dotted name of a key, as in `Places`."""
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def place_of_error(error: Mapping[str, Any]) -> Location:
    """The location of the error, without the '[key]' by which pydantic marks the name of a mapping's entry."""
    return tuple(part for part in error["loc"] if part != "[key]")


def message_for(error: Mapping[str, Any]) -> str:
    """The message for one of pydantic's errors."""
    location = place_of_error(error)
    if error["type"] == "extra_forbidden":
        return unknown_key(str(location[-1]), section_at(location[:-1]))
    if error["type"] == "missing":
        return f"{location[-1]} is missing"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{shown(error['input'])} is not allowed here"


def unknown_key(key: str, section: type[Section]) -> str:
    """The message for a key that a section does not have: where it belongs, or which key was probably meant."""
    keys = section.key_names()
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
    depth = 2 if location[0] in _NAMED else 1
    if len(location) > depth and location[-1] in _INNER:
        return _INNER[str(location[-1])]
    if len(location) > 1 and location[-2] == "windows" and isinstance(location[-1], int):
        return Window
    top = str(location[0])
    return _NAMED[top] if top in _NAMED else _TOP[top]


def _home(key: str, section: type[Section]) -> str:
    """Where a key belongs that only other sections have, or nothing."""
    if key in Scale.model_fields and section in (Pool, Defaults):
        return f"in scale, as in scale: {{{key}: …}}"
    if key in Window.key_names() and section in (Pool, Defaults):
        return f"in windows, as in windows: [{{{key}: …}}]"
    if section is Pool and key in FunctionKeys.model_fields:
        return "to jobs, not to processes: write it under functions, or in defaults"
    if section is Function and key in PoolKeys.model_fields:
        return "to processes, not to jobs: write it under pools, or in defaults"
    if section is Defaults and key in ("functions", "command"):
        return "in a pool, not in defaults"
    if section in (Defaults, Pool, Config) and key in Function.model_fields and key not in FunctionKeys.model_fields:
        return "to one function: write it under functions, or into the decorator @function"
    if section is Config and key in Defaults.model_fields:
        return "in a pool or a function, or in defaults for all of them"
    return ""


def listed(names: Sequence[str]) -> str:
    """The names in alphabetical order, for a message; of many only the first."""
    shown = sorted(names)[:NAMES_SHOWN]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
