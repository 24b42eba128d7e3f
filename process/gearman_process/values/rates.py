"""Rates as people write them, such as `5/s` or `100/m`: a number per second, minute, hour or day, or per
several of them, as `20/10s`. Pure."""

from __future__ import annotations

import re
from typing import Final

from gearman_process.errors import UnitError
from gearman_process.values.bare_numbers import whole
from gearman_process.values.durations import MILLISECONDS
from gearman_process.values.quoting import shown

PATTERN: Final = r"^([0-9]+)/([1-9][0-9]{0,3})?(s|m|h|d)$"
#: The job server keeps the time of each start that counts.
MAX_RATE_COUNT: Final = 100_000

_HELP: Final = f"a rate from 1 to {MAX_RATE_COUNT} in a second, minute, hour or day, such as 5/s or 100/m, is expected"


def parse_rate(value: object) -> tuple[int, float] | None:
    """The count, and its period in seconds; None for 0, which is no limit.

    Raises:
        UnitError: it is not a rate, or is too high.
    """
    if value in (0, "0") and not isinstance(value, bool):
        return None
    match = re.fullmatch(PATTERN, value) if isinstance(value, str) else None
    if match is None or not 0 < whole(match[1]) <= MAX_RATE_COUNT:
        raise UnitError(f"{_HELP}, not {shown(value)}")
    return whole(match[1]), int(match[2] or 1) * MILLISECONDS[match[3]] / 1000
