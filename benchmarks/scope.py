"""The rows to measure in a run, and the number of rounds; every subject reads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scope:
    """The number of measurements per figure, of which the median counts, and the rows to measure; empty = all rows."""

    rounds: int
    rows: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        """Whether to measure the row of that name: `rows` holds parts of names."""
        return not self.rows or any(part in name for part in self.rows)
