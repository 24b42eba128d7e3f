"""Failures that have come since the last write, added up by group. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gearman_manager.failures.group_file import HOUR_S, Batch
from gearman_manager.failures.signature import Signature
from gearman_manager.finished.attempt import FinishedAttempt


@dataclass(slots=True)
class _Gathered:
    """The failures of one group. `last` is the newest one, which is the sample."""

    signature: Signature
    last: FinishedAttempt
    first_at: float
    last_at: float
    count: int = 0
    hours: Counter[int] = field(default_factory=Counter)


class Gathering:
    """Adds failures up."""

    def __init__(self) -> None:
        self._groups: dict[str, _Gathered] = {}
        #: The last failure of each job, with its group.
        self._jobs: dict[str, tuple[str, FinishedAttempt]] = {}
        self._revived: dict[str, None] = {}

    def add(self, name: str, signature: Signature, failure: FinishedAttempt) -> None:
        """Add a failure to the group of that id."""
        gathered = self._groups.get(name)
        if gathered is None:
            gathered = self._groups[name] = _Gathered(signature, failure, failure.at, failure.at)
        gathered.signature, gathered.last = signature, failure
        gathered.first_at, gathered.last_at = min(gathered.first_at, failure.at), max(gathered.last_at, failure.at)
        gathered.count += 1
        gathered.hours[int(failure.at // HOUR_S)] += 1
        self._jobs.pop(failure.handle, None)  # the last one comes last
        self._jobs[failure.handle] = name, failure
        self._revived.pop(failure.handle, None)

    def note_well(self, handle: str) -> None:
        """A job that had a dead letter has ended well."""
        self._revived[handle] = None

    def batch(self) -> Batch:
        """All of it, as it is written."""
        return Batch(
            groups=list(self._group_rows()),
            hours=[(name, *each) for name, gathered in self._groups.items() for each in gathered.hours.items()],
            jobs=[
                (name, failure.handle, failure.server, failure.at, failure.follows == "dead")
                for name, failure in self._jobs.values()
            ],
            revived=list(self._revived),
        )

    def _group_rows(self) -> Iterator[tuple[Any, ...]]:
        for name, gathered in self._groups.items():
            signature, last = gathered.signature, gathered.last
            yield (
                *(name, last.function, signature.exception, signature.place, signature.file, signature.line),
                *(gathered.first_at, gathered.last_at, gathered.count, last.handle, last.error, last.traceback),
            )
