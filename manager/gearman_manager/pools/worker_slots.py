"""Hands out the scoreboard's slots, and reads those of a worker.

Each worker has a slot of its own. A worker of several jobs at once has a further slot for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gearman_manager.errors import StartError
from gearman_manager.ipc.scoreboard import Scoreboard, SlotState, SlotView


@dataclass(frozen=True, slots=True)
class WorkerSlots:
    """One worker's slots. A program never writes to its own."""

    scoreboard: Scoreboard
    numbers: tuple[int, ...]

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    @property
    def own(self) -> int:
        """The worker's own slot."""
        return self.numbers[0]

    @property
    def places(self) -> tuple[int, ...]:
        """The slots for its jobs, if it runs several at once."""
        return self.numbers[1:]

    def view(self) -> SlotView:
        """The worker's own report of its state."""
        return self.scoreboard.read(self.own)

    def has_job(self) -> bool:
        """Whether it runs a job; cheaper than `view`."""
        return self.scoreboard.is_busy(self.own)

    def jobs(self) -> list[SlotView]:
        """The slots of its running jobs, the longest running first."""
        views = (self.scoreboard.read(slot) for slot in (self.places or self.numbers))
        return sorted((view for view in views if view.state is SlotState.BUSY), key=lambda view: view.start_ns)

    def active_job(self) -> SlotView | None:
        """The job that has the processor, in a worker with several jobs."""
        place = self.scoreboard.active_place(self.own)
        return self.scoreboard.read(self.numbers[place]) if 0 < place < len(self.numbers) else None


class FreeSlots:
    """The slots that no worker has."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self._free: list[int] = []
        self._used = 0

    def take(self, count: int) -> WorkerSlots:
        """Slots for a new worker.

        Raises:
            StartError: too few are free.
        """
        total = self._scoreboard.slots
        if len(self._free) + total - self._used < count:
            raise StartError(f"the scoreboard holds {total} workers and concurrent jobs: lower max or concurrency")
        return WorkerSlots(
            self._scoreboard, tuple(self._free.pop() if self._free else self._next() for _ in range(count))
        )

    def give_back(self, slots: WorkerSlots) -> None:
        """Clear the slots of a worker that is gone, for others."""
        for slot in slots:
            self._scoreboard.clear(slot)
            self._free.append(slot)

    def _next(self) -> int:
        self._used += 1
        return self._used - 1
