"""Numbers that lack the unit that they need. Pure."""

from __future__ import annotations

import re

from gearman_process.errors import UnitMissing
from gearman_process.values.quoting import shown


def is_bare_number(value: object) -> bool:
    """Whether this is a number from 0 up, or the text of one, without a unit."""
    if isinstance(value, str):
        return re.fullmatch(r"[0-9]+(?:\.[0-9]+)?|0+\.", value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def refuse_all_but_zero(value: object, what: str, example: str, allowed: str) -> None:
    """Refuse a number without a unit, unless it is 0.

    Raises:
        UnitMissing: it is another number; the text shows `example` as its likely meaning.
    """
    if value == 0 or (isinstance(value, str) and not value.strip("0.")):
        return
    raise UnitMissing(f"{what} needs a unit: write {example} (allowed: {allowed}), not {shown(value)}")


def whole(digits: str) -> int:
    """The number. Of a longer one only 30 digits are read, too large anyway: Python refuses to parse thousands."""
    return int(digits.lstrip("0")[:30] or "0")
