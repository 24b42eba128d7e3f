"""Reads worker counts as people write them, such as `4` or `2/core`, and resolves them for a machine. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gearman_process.errors import UnitError
from gearman_process.values.bare_numbers import whole
from gearman_process.values.quoting import shown

PATTERN: Final = r"^([0-9]+)(/core)?$"
#: A larger number is a mistake.
MAX_WORKERS: Final = 100_000


@dataclass(frozen=True, slots=True)
class WorkerCount:
    """A number of workers, or a number per core of the machine."""

    number: int
    is_per_core: bool = False

    def resolve(self, cores: int) -> int:
        """The number of workers on a machine with `cores` cores."""
        return self.number * cores if self.is_per_core else self.number

    def __str__(self) -> str:
        return f"{self.number}/core" if self.is_per_core else str(self.number)


def parse_worker_count(value: object, minimum: int = 0) -> WorkerCount:
    """A worker count such as `4` or `2/core`.

    Raises:
        UnitError: the value is no worker count, or not between `minimum` and MAX_WORKERS.
    """
    help_text = f"a whole number from {minimum} up, or a number per core such as 2/core, is expected"
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match = re.fullmatch(PATTERN, text) if isinstance(text, str) else None
    if match is None:
        raise UnitError(f"{help_text}, not {shown(value)}")
    number = whole(match[1])
    if number < minimum or (match[2] and number == 0):
        raise UnitError(f"{help_text}, not {shown(value)}")
    if number > MAX_WORKERS:
        raise UnitError(f"{shown(value)} is too many, at most {MAX_WORKERS} is allowed")
    return WorkerCount(number, is_per_core=bool(match[2]))
