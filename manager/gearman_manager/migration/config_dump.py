"""Writes a configuration as YAML that can be loaded again: the written keys, with the command line's overrides.

No secret is printed: a text with environment variables stays as it is in the file, and passwords become `***`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml
from pydantic import BaseModel

from gearman_manager.config.models import SECRET_KEYS, Config

#: Fractions that are plain numbers; all others in a configuration are durations.
_NUMBERS: Final = frozenset({"utilisation", "max_load"})
_STORE: Final = "server.store"  #: a URL with a password in it; the other secrets are nothing else
_PASSWORDS: Final = re.compile(r"(?<=://)([^/?:]*):.*(?=@)|(?i:(?<=pass=)|(?<=password=))[^&]*")


def dump(config: Config) -> str:
    """The YAML."""
    plain = _Dumper(config.places.written).section("", config)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


class _Dumper:
    """Turns values into plain ones. `key` is a value's dotted name."""

    def __init__(self, written: Mapping[str, str]) -> None:
        self._written = written

    def section(self, key: str, section: BaseModel) -> dict[str, Any]:
        # Included files are merged already, so they must not be named again.
        names = section.model_fields_set - {"include"}
        fields = type(section).model_fields.items()
        values = {field.alias or name: getattr(section, name) for name, field in fields if name in names}
        return {name: self._plain(_below(key, name), value) for name, value in values.items() if value is not None}

    def _plain(self, key: str, value: object) -> Any:
        if isinstance(value, BaseModel):
            return self.section(key, value)
        if _name(key) == "settings":
            return self._free(key, value)
        if isinstance(value, Mapping):
            return {str(name): self._plain(_below(key, str(name)), item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._plain(f"{key}[{index}]", item) for index, item in enumerate(value)]
        if isinstance(value, float) and _name(key) not in _NUMBERS:
            return f"{value:.0f}s" if value.is_integer() else f"{value * 1000:.0f}ms"
        if isinstance(value, (str, int, float)):
            return self._free(key, value)
        text = str(value)  # an address, or a number of workers
        return int(text) if text.isdecimal() else text

    def _free(self, key: str, value: object) -> Any:
        """A value of any shape, with each `$` escaped that does not begin a variable."""
        if isinstance(value, Mapping):
            return {name: self._free(_below(key, str(name)), item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._free(f"{key}[{index}]", item) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        if key in self._written:
            return self._written[key]
        if key != _STORE and key.partition("[")[0] in SECRET_KEYS:
            return "***"
        return (_PASSWORDS.sub(_masked, value) if key == _STORE else value).replace("$", "$$")


def _masked(match: re.Match[str]) -> str:
    return "***" if match[1] is None else f"{match[1]}:***"


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _name(key: str) -> str:
    return key.rpartition(".")[2].partition("[")[0]
