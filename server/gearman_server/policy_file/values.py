"""The values in a policies file: each checks, converts and explains itself. Pure.

They are handed the text of a scalar, or a list or mapping that stands where a scalar is expected.
"""

from __future__ import annotations

import re
from typing import Final

from gearman_server.jobs.policies import Rate

_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_DURATION_S: Final = 3650 * 86400.0
_DURATION_HELP: Final = "a duration such as 500ms, 30s, 5m, 1h or 7d is expected"
#: The time of each of these starts is kept.
MAX_RATE_COUNT: Final = 100_000
_RATE_HELP: Final = (
    f"a rate from 1 to {MAX_RATE_COUNT} in a second, minute, hour or day, such as 5/s or 100/m, is expected"
)


def duration_s(value: object) -> float:
    """`500ms`, `30s`, `5m`, `1h` or `7d`, in seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if match is not None:
        seconds = float(match[1]) * _MILLISECONDS[match[2]] / 1000
        if seconds > _MAX_DURATION_S:
            raise ValueError(f"{shown(value)} is too long, at most 3650d is allowed")
        return seconds
    if isinstance(value, str) and re.fullmatch(r"0+(\.0*)?", value):  # only a zero is clear without a unit
        return 0.0
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        raise ValueError(f"a duration needs a unit: write {value}s, if seconds are meant")
    raise ValueError(f"{_DURATION_HELP}, not {shown(value)}")


def whole(value: object) -> int:
    """A whole number from 0 up."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,18}", value):
        raise ValueError(f"a whole number from 0 up is expected, not {shown(value)}")
    return int(value)


def rate(value: object) -> Rate | None:
    """`5/s` or `100/m`; `0` is no limit."""
    if value == "0":
        return None
    match = re.fullmatch(r"([0-9]{1,18})/(s|m|h|d)", value) if isinstance(value, str) else None
    if match is None or not 0 < int(match[1]) <= MAX_RATE_COUNT:
        raise ValueError(f"{_RATE_HELP}, not {shown(value)}")
    return Rate(int(match[1]), _MILLISECONDS[match[2]] / 1000)


def text(value: object) -> str:
    """Text as it stands."""
    if not isinstance(value, str):
        raise ValueError(f"text is expected, not {shown(value)}")
    return value


def shown(value: object) -> str:
    """A value as messages show it."""
    if not isinstance(value, str):
        return "a list" if isinstance(value, list) else "a mapping"
    return repr(value if len(value) <= 40 else value[:37] + "...")
