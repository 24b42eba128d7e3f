"""Reads the values under `settings:` in the YAML file, and explains the error in a wrong one.

A file whose name starts with `_` is not a function module: the modules beside it import it.
Numbers may be texts too, because `${VARIABLE}` becomes a text.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "": 1}
SIZE_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "B": 1, "": 1}


class SettingsError(ValueError):
    """A setting has a value that can't be used; the text names the setting and the allowed values."""


def duration_s(settings: Mapping[str, Any], key: str, default_s: float) -> float:
    """A length of time in seconds: `30s`, `500ms`, `2m`, or a plain number of seconds."""
    return _quantity(settings.get(key, default_s), DURATION_UNITS, f"{key}: a duration such as 30s")


def size_bytes(settings: Mapping[str, Any], key: str, default_bytes: int) -> int:
    """A size in bytes: `5MB`, `1GiB`, or a plain number of bytes."""
    return int(_quantity(settings.get(key, default_bytes), SIZE_UNITS, f"{key}: a size such as 5MB"))


def whole_number(settings: Mapping[str, Any], key: str, default: int, lowest: int, highest: int) -> int:
    value = settings.get(key, default)
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not lowest <= int(text) <= highest:
        raise SettingsError(f"{key}: a whole number from {lowest} to {highest} is needed, not {value!r}")
    return int(text)


def text(settings: Mapping[str, Any], key: str, default: str | None) -> str | None:
    """A text, or the default if there is none; an empty text counts as none."""
    value = settings.get(key)
    if value is None or value == "":
        return default
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise SettingsError(f"{key}: a text is needed, not {value!r}")
    return str(value)


def choice(settings: Mapping[str, Any], key: str, default: str, allowed: tuple[str, ...]) -> str:
    value = settings.get(key, default)
    if value not in allowed:
        raise SettingsError(f"{key}: {' or '.join(allowed)} is needed, not {value!r}")
    return str(value)


def _quantity(value: Any, units: Mapping[str, float], wanted: str) -> float:
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", str(value).strip(), re.ASCII)
    if isinstance(value, bool) or match is None or match[2] not in units:
        raise SettingsError(f"{wanted} is needed, not {value!r}")
    quantity = float(match[1]) * units[match[2]]
    if quantity <= 0 or not math.isfinite(quantity):
        raise SettingsError(f"{wanted} is needed, and more than nothing, not {value!r}")
    return quantity
