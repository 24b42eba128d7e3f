"""Writes a configuration as YAML that can be loaded again: the written keys, with the command line's overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml
from pydantic import BaseModel

from gearman_manager.config.models import Config

#: Fractions that are plain numbers; all others in a configuration are durations.
_NUMBERS: Final = frozenset({"utilisation", "max_load"})


def dump(config: Config) -> str:
    """The YAML. It holds the values of environment variables, passwords too."""
    return yaml.safe_dump(_section(config), sort_keys=False, allow_unicode=True)


def _section(section: BaseModel) -> dict[str, Any]:
    values = {name: getattr(section, name) for name in type(section).model_fields if name in section.model_fields_set}
    # Included files are merged already, so they must not be named again.
    return {name: _plain(name, value) for name, value in values.items() if value is not None and name != "include"}


def _plain(name: str, value: object) -> Any:
    if isinstance(value, BaseModel):
        return _section(value)
    if name == "settings":
        return _free(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(name, item) for item in value]
    if isinstance(value, float) and name not in _NUMBERS:
        return f"{value:.0f}s" if value.is_integer() else f"{value * 1000:.0f}ms"
    if isinstance(value, (str, int, float)):
        return _free(value)
    text = str(value)  # an address, or a number of workers
    return int(text) if text.isdecimal() else text


def _free(value: object) -> Any:
    """A value of any shape, with each `$` escaped."""
    if isinstance(value, Mapping):
        return {key: _free(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_free(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
