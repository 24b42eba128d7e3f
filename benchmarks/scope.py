"""What a run is to measure, and how often: read by every subject."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scope:
    """How many measurements per figure, of which the median counts, and which rows; none named = all of them."""

    rounds: int
    rows: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        """Whether the row of that name is to be measured: parts of names choose rows."""
        return not self.rows or any(part in name for part in self.rows)
