"""Finished jobs, run again as they were: as new background jobs, by handles, or all that match and were there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from gearman_client.text import unescaped
from gearman_manager.control.all_that_match import AllThatMatch
from gearman_manager.control.bulk_changes import BulkChange
from gearman_manager.control.submissions import Submissions
from gearman_manager.errors import NotFound
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.search import Wanted
from gearman_manager.history.recording import say_action, utc
from gearman_manager.privacy import MARK

WHAT: Final = "finished again"
_ROWS: Final = 50


class Look(NamedTuple):
    """What there was when somebody looked."""

    found: int
    #: Of so many the whole workload is kept: the others can't be run again.
    whole: int
    mark: int


class RunAgain:
    """Submits them."""

    def __init__(self, keeper: Keeper, submissions: Submissions, every: AllThatMatch) -> None:
        self._keeper = keeper
        self._submissions = submissions
        self._every = every

    def look(self, wanted: Wanted, mark: int | None = None) -> Look:
        """How many jobs have wanted ends up to that mark; None: that are there now.

        Raises:
            ManagerError: as `Keeper.page`.
        """
        mark = self._keeper.mark() if mark is None else mark
        return Look(*self._keeper.count(wanted, mark), mark)

    def run(self, handles: Sequence[str]) -> tuple[list[str], int]:
        """Run these jobs again; returns the handles of the new ones, and of how many not the whole workload is kept.

        Raises:
            NotFound: nothing is kept of any of them.
            ManagerError: a job server does not take one; those before it are queued.
        """
        kept = [attempts[-1] for handle in dict.fromkeys(handles) if (attempts := self._keeper.attempts_of(handle))]
        if not kept:
            raise NotFound(f"no end of a job {handles[0]} is kept")
        new = [self._submit(row) for row in kept if _can_run(row)]
        return new, len(kept) - len(new)

    def begin(self, wanted: Wanted, mark: int | None, expected: int | None) -> BulkChange:
        """Begin to run all of them again that were there at that mark, on behalf of the request that is carried out
        just now: `expected` were there when somebody looked; None: they are counted first.

        Raises:
            ManagerError: they can't be read, or the change has to wait.
        """
        look = self.look(wanted, mark)
        expected = look.found if expected is None else expected
        change = BulkChange(WHAT, in_words(wanted), expected)
        say_action(WHAT, change.target, f"{expected:,}, those that were there")
        return self._every.start(change, partial(self._make, wanted, look.mark))

    def _make(self, wanted: Wanted, mark: int, change: BulkChange) -> None:
        known: set[str] = set()
        for row in self._rows(wanted, mark):
            if row["handle"] in known:  # a job that was queued again has several ends
                continue
            known.add(row["handle"])
            if _can_run(row):
                self._submit(row)
                change.done += 1
            else:
                change.left += 1

    def _rows(self, wanted: Wanted, mark: int) -> Iterator[Mapping[str, Any]]:
        after = 0
        while rows := self._keeper.with_workloads(wanted, mark, after, _ROWS):
            yield from rows
            after = rows[-1]["id"]

    def _submit(self, row: Mapping[str, Any]) -> str:
        workload = unescaped(row["workload"].encode())
        return self._submissions.submit(row["function"], workload, row["unique"], row["priority"])


def _can_run(row: Mapping[str, Any]) -> bool:
    return row["is_whole"] and MARK not in row["unique"]


def in_words(wanted: Wanted) -> str:
    """Which jobs are meant."""
    names = ("function", "tag", "unique", "handle", "outcome", "text")
    texts = [f"{name}={value}" for name in names if (value := getattr(wanted, name)) is not None]
    moments = [f"{name} {utc(value)}" for name in ("since", "until") if (value := getattr(wanted, name)) is not None]
    return " ".join(["all", *texts, *moments])
