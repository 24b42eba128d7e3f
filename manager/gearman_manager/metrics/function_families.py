"""The families of functions: what the job servers say of their queues, over all servers that answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gearman_manager.metrics.bounded_names import OTHER
from gearman_manager.metrics.exposition import AnyFamily, Family, label
from gearman_manager.scaling.queue_dialogue import FunctionQueue
from gearman_manager.scaling.queues import Queues

_FUNCTION: Final = "gearman_manager_function_"


@dataclass(slots=True)
class FunctionFigures:
    """A row: one function, or all that are not shown by themselves."""

    labels: str
    waiting: int = 0
    startable: int = 0
    running: int = 0
    workers: int = 0
    paused: int = 0
    held: int = 0

    def add(self, queue: FunctionQueue) -> None:
        """Add a function's queue."""
        self.waiting += queue.waiting
        self.startable += queue.queued
        self.running += queue.running
        self.workers += queue.workers
        if queue.hold is not None:
            self.paused += queue.hold.paused_at > 0
            self.held += queue.hold.held_at > 0


def function_figures(names: Sequence[str], shown: Collection[str], queues: Queues) -> Iterator[FunctionFigures]:
    """The rows of these functions, each read when its turn comes."""
    others = FunctionFigures(label("function", OTHER))
    for name in names:
        figures = FunctionFigures(label("function", name)) if name in shown else others
        figures.add(queues.of(name))
        if figures is not others:
            yield figures
    if len(names) > len(shown):
        yield others


FUNCTION_FAMILIES: Final[tuple[AnyFamily[FunctionFigures], ...]] = (
    Family(
        _FUNCTION + "jobs_waiting",
        "gauge",
        "Jobs that wait for a worker, delayed and held ones included.",
        lambda row: row.waiting,
    ),
    Family(
        _FUNCTION + "jobs_startable",
        "gauge",
        "Jobs that could start now; of a server that can't tell, all that wait.",
        lambda row: row.startable,
    ),
    Family(_FUNCTION + "jobs_running", "gauge", "Jobs that workers have, foreign ones too.", lambda row: row.running),
    Family(
        _FUNCTION + "workers", "gauge", "Workers that serve the function, foreign ones too.", lambda row: row.workers
    ),
    Family(_FUNCTION + "paused", "gauge", "Whether an operator has paused the function.", lambda row: row.paused),
    Family(_FUNCTION + "held", "gauge", "Whether its brake holds the function.", lambda row: row.held),
)
