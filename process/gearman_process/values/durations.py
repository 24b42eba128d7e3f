"""Durations as people write them, such as `500ms`, `30s` or `7d`: to seconds, and back. Pure."""

from __future__ import annotations

import re
from typing import Final

from gearman_process.errors import UnitError
from gearman_process.values.bare_numbers import is_bare_number, refuse_all_but_zero
from gearman_process.values.quoting import shown

PATTERN: Final = r"^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)$"
#: A longer duration could overflow a clock, and nobody means one.
MAX_DURATION_S: Final = 3650 * 86400.0

#: By unit. In milliseconds, so that a whole number of them is computed exactly.
MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: Of a rough duration, the units above the second.
_LONG_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"))
_EXAMPLES: Final = "500ms, 30s, 5m, 1h or 7d"


def parse_duration_s(value: object) -> float:
    """The seconds of a duration such as `30s`. A bare 0 needs no unit; every other number does.

    Raises:
        UnitMissing: it is a number without a unit.
        UnitError: it is not a duration, or is too long.
    """
    if is_bare_number(value):
        refuse_all_but_zero(value, "a duration", f"{value}s", _EXAMPLES)
        return 0.0
    match = re.fullmatch(PATTERN, value) if isinstance(value, str) else None
    if match is None:
        raise UnitError(f"a duration such as {_EXAMPLES} is expected, not {shown(value)}")
    seconds = float(match[1]) * MILLISECONDS[match[2]] / 1000
    if seconds > MAX_DURATION_S:
        raise UnitError(f"{shown(value)} is too long, at most {format_duration(MAX_DURATION_S)} is allowed")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration, to the millisecond: `90s`, `1h`, `500ms`."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % MILLISECONDS[unit] == 0:
            return f"{milliseconds // MILLISECONDS[unit]}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def rough_duration(seconds: float) -> str:
    """A short way to tell about how long it was: `850ms`, `12.3s`, `5m`, `2h`, `3d`."""
    for size, unit in _LONG_UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"
