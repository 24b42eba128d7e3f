"""Durations, sizes and worker counts as people write them in a configuration, to numbers and back.

Every refusal is a `UnitError` whose text says what would be right. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

DURATION_PATTERN: Final = r"^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)$"
SIZE_PATTERN: Final = r"^([0-9]+(?:\.[0-9]+)?)([kKMGT]?B|[KMGT]iB)$"
WORKER_COUNT_PATTERN: Final = r"^([0-9]+)(/core)?$"
RATE_PATTERN: Final = r"^([0-9]+)/(s|m|h|d)$"

# Beyond these a clock or a file offset overflows, and nobody means it.
MAX_DURATION_S: Final = 3650 * 86400.0
MAX_SIZE_BYTES: Final = 1 << 60
MAX_WORKERS: Final = 100_000
# The job server keeps the time of each of these starts.
MAX_RATE_COUNT: Final = 100_000

_DURATION_HELP: Final = "500ms, 30s, 5m, 1h or 7d"
_SIZE_HELP: Final = "300MB or 1GiB"

# Milliseconds, so that what is written as a whole number of them is computed exactly.
_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
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
_SIZE_NAMES: Final = ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB", "B")


class UnitError(ValueError):
    """A duration, size or count that can't be understood; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """A number of workers, or a number per core of the machine."""

    number: int
    per_core: bool = False

    def resolve(self, cores: int) -> int:
        """The number of workers on a machine with `cores` cores."""
        return self.number * cores if self.per_core else self.number

    def __str__(self) -> str:
        return f"{self.number}/core" if self.per_core else str(self.number)


def shown(value: object) -> str:
    """A value from a file as a message quotes it: short, and in the words of YAML rather than of Python."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = str(value)
    text = text if len(text) <= 40 else text[:37] + "..."
    return repr(text) if isinstance(value, str) else text


def parse_duration_s(value: object) -> float:
    """Seconds of a duration such as `30s`. A bare 0 needs no unit; every other number does."""
    if _bare_number(value):
        return _unitless(value, "a duration", f"{value}s", _DURATION_HELP)
    match = re.fullmatch(DURATION_PATTERN, value) if isinstance(value, str) else None
    if match is None:
        raise UnitError(f"a duration such as {_DURATION_HELP} is expected, not {shown(value)}")
    seconds = float(match[1]) * _MILLISECONDS[match[2]] / 1000
    if seconds > MAX_DURATION_S:
        raise UnitError(f"{shown(value)} is too long, at most {format_duration(MAX_DURATION_S)} is allowed")
    return seconds


def parse_size_bytes(value: object) -> int:
    """Bytes of a size such as `300MB` (millions) or `1GiB` (powers of two). A bare 0 needs no unit."""
    if _bare_number(value):
        return int(_unitless(value, "a size", f"{value}MB", _SIZE_HELP))
    match = re.fullmatch(SIZE_PATTERN, value, re.IGNORECASE) if isinstance(value, str) else None
    if match is None:
        raise UnitError(f"a size such as {_SIZE_HELP} is expected, not {shown(value)}")
    number, factor = match[1], _BYTES[match[2].lower()]
    size_bytes = int(min(float(number), 2.0 * MAX_SIZE_BYTES) * factor) if "." in number else _whole(number) * factor
    if size_bytes > MAX_SIZE_BYTES:
        raise UnitError(f"{shown(value)} is too much, at most {format_size(MAX_SIZE_BYTES)} is allowed")
    return size_bytes


def parse_worker_count(value: object, minimum: int = 0) -> WorkerCount:
    """A worker count such as `4` or `2/core`."""
    help_text = f"a whole number from {minimum} up, or a number per core such as 2/core, is expected"
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match = re.fullmatch(WORKER_COUNT_PATTERN, text) if isinstance(text, str) else None
    if match is None:
        raise UnitError(f"{help_text}, not {shown(value)}")
    number = _whole(match[1])
    if number < minimum or (match[2] and number == 0):
        raise UnitError(f"{help_text}, not {shown(value)}")
    if number > MAX_WORKERS:
        raise UnitError(f"{shown(value)} is too many, at most {MAX_WORKERS} is allowed")
    return WorkerCount(number, per_core=bool(match[2]))


def check_rate(value: object) -> str:
    """A rate such as `5/s` or `100/m`, as it was written; empty for 0, which is no limit."""
    if value in (0, "0") and not isinstance(value, bool):
        return ""
    match = re.fullmatch(RATE_PATTERN, value) if isinstance(value, str) else None
    if match is None or not 0 < _whole(match[1]) <= MAX_RATE_COUNT:
        raise UnitError(
            f"a rate from 1 to {MAX_RATE_COUNT} in a second, minute, hour or day, such as 5/s or 100/m, is expected,"
            f" not {shown(value)}"
        )
    return match[0]


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration, to the millisecond: `90s`, `1h`, `500ms`."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _MILLISECONDS[unit] == 0:
            return f"{milliseconds // _MILLISECONDS[unit]}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def format_size(size_bytes: int) -> str:
    """An exact way to write a size: `300MB`, `1GiB`."""
    for name in _SIZE_NAMES:
        if size_bytes and size_bytes % _BYTES[name.lower()] == 0:
            return f"{size_bytes // _BYTES[name.lower()]}{name}"
    return "0B"


def _whole(digits: str) -> int:
    """The number, or one that is too large too: Python refuses to read thousands of digits."""
    return int(digits.lstrip("0")[:30] or "0")


def _bare_number(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _unitless(value: object, what: str, example: str, help_text: str) -> float:
    """Only a zero is clear without a unit."""
    if value == 0 or (isinstance(value, str) and not value.strip("0.")):
        return 0.0
    raise UnitError(f"{what} needs a unit: write {example} (allowed: {help_text}), not {shown(value)}")
