"""The values in a policies file: each function checks and converts one kind, and its error says what is expected. Pure.

They are given the text of a scalar, or a list or mapping in its place.
"""

from __future__ import annotations

import re

from gearman_process.errors import UnitMissing
from gearman_process.values.durations import parse_duration_s
from gearman_process.values.quoting import shown
from gearman_process.values.rates import parse_rate
from gearman_server.jobs.policies import Rate


def duration_s(value: object) -> float:
    """`500ms`, `30s`, `5m`, `1h` or `7d`, in seconds."""
    try:
        return parse_duration_s(value)
    except UnitMissing as error:
        raise ValueError(f"a duration needs a unit: write {value}s, if seconds are meant") from error


def whole(value: object) -> int:
    """A whole number from 0 up."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,18}", value):
        raise ValueError(f"a whole number from 0 up is expected, not {shown(value)}")
    return int(value)


def rate(value: object) -> Rate | None:
    """`5/s` or `100/m`; `0` is no limit."""
    parsed = parse_rate(value)
    return Rate(*parsed) if parsed is not None else None


def text(value: object) -> str:
    """Text as it is written."""
    if not isinstance(value, str):
        raise ValueError(f"text is expected, not {shown(value)}")
    return value
