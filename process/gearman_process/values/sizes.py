"""Sizes as people write them, such as `300MB` (powers of ten) or `1GiB` (powers of two): to bytes, and back. Pure."""

from __future__ import annotations

import re
from typing import Final

from gearman_process.errors import UnitError
from gearman_process.values.bare_numbers import is_bare_number, refuse_all_but_zero, whole
from gearman_process.values.quoting import shown

PATTERN: Final = r"^([0-9]+(?:\.[0-9]+)?)([kKMGT]?B|[KMGT]iB)$"
#: A larger size could overflow a file's offset, and nobody means one.
MAX_SIZE_BYTES: Final = 1 << 60

_EXAMPLES: Final = "300MB or 1GiB"
_BYTES: Final = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_NAMES: Final = ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB", "B")


def parse_size_bytes(value: object) -> int:
    """The bytes of a size such as `300MB`, in upper or lower case. A bare 0 needs no unit; every other number does.

    Raises:
        UnitMissing: it is a number without a unit.
        UnitError: it is not a size, or is too large.
    """
    if is_bare_number(value):
        refuse_all_but_zero(value, "a size", f"{value}MB", _EXAMPLES)
        return 0
    match = re.fullmatch(PATTERN, value, re.IGNORECASE) if isinstance(value, str) else None
    if match is None:
        raise UnitError(f"a size such as {_EXAMPLES} is expected, not {shown(value)}")
    number, factor = match[1], _BYTES[match[2].lower()]
    size_bytes = int(min(float(number), 2.0 * MAX_SIZE_BYTES) * factor) if "." in number else whole(number) * factor
    if size_bytes > MAX_SIZE_BYTES:
        raise UnitError(f"{shown(value)} is too much, at most {format_size(MAX_SIZE_BYTES)} is allowed")
    return size_bytes


def format_size(size_bytes: int) -> str:
    """An exact way to write a size: `300MB`, `1GiB`."""
    for name in _NAMES:
        if size_bytes and size_bytes % _BYTES[name.lower()] == 0:
            return f"{size_bytes // _BYTES[name.lower()]}{name}"
    return "0B"
