"""The rows to measure in a run, the number of rounds, and another checkout to compare with; every subject reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scope:
    """The number of measurements per figure, of which the median counts, and the rows to measure; empty = all rows.

    `before` is another checkout of this repository, with its own environment. A subject that can compares with it.
    """

    rounds: int
    rows: tuple[str, ...] = ()
    before: Path | None = None

    def wants(self, name: str) -> bool:
        """Whether to measure the row of that name: `rows` holds parts of names."""
        return not self.rows or any(part in name for part in self.rows)
