"""Numbers that stand without the unit which they need. Pure."""

from __future__ import annotations

import re

from gearman_process.errors import UnitMissing
from gearman_process.values.quoting import shown


def is_bare_number(value: object) -> bool:
    """Whether this is a number from 0 up, or the text of one, and nothing behind it."""
    if isinstance(value, str):
        return re.fullmatch(r"[0-9]+(?:\.[0-9]+)?|0+\.", value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def refuse_all_but_zero(value: object, what: str, example: str, allowed: str) -> None:
    """Only a zero is clear without a unit.

    Raises:
        UnitMissing: it is another number; the text shows `example` as what may be meant.
    """
    if value == 0 or (isinstance(value, str) and not value.strip("0.")):
        return
    raise UnitMissing(f"{what} needs a unit: write {example} (allowed: {allowed}), not {shown(value)}")


def whole(digits: str) -> int:
    """The number, or one that is too large too: Python refuses to read thousands of digits."""
    return int(digits.lstrip("0")[:30] or "0")
