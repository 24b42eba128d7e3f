"""Finished jobs, run again as they were: as new background jobs, by handles, or all that match and were there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from gearman_client.text import unescaped
from gearman_manager.control.all_that_match import AllThatMatch
from gearman_manager.control.bulk_changes import BulkChange
from gearman_manager.control.submissions import Line, Submissions
from gearman_manager.errors import ManagerError, NotFound, Unreachable
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.obstacles import obstacle, obstacle_of_job
from gearman_manager.finished.search import Wanted
from gearman_manager.history.history_file import HistoryError
from gearman_manager.history.recording import say_action, utc

WHAT: Final = "finished again"
_ROWS: Final = 50
#: Problems that are told one by one.
MOST_PROBLEMS: Final = 20


class Look(NamedTuple):
    """What there was when somebody looked."""

    found: int
    #: So many can be run again.
    fit: int
    mark: int


class Outcome(NamedTuple):
    """What has become of jobs that were to be run again."""

    #: Those of the new jobs.
    handles: list[str]
    #: How many are not run again, and why, by handle.
    left: int
    problems: list[str]


class _Left(ManagerError):
    """A job can't be run again, whatever the servers do."""


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

    def run(self, handles: Sequence[str]) -> Outcome:
        """Run these jobs again. After a job server that can't be asked no further job is tried: it may have taken one.

        Raises:
            NotFound: nothing is kept of any of them.
            ManagerError: a job server takes none of them, or what is kept can't be read; nothing is queued.
        """
        kept = {handle: self._keeper.attempts_of(handle) for handle in dict.fromkeys(handles)}
        if not any(kept.values()):
            raise NotFound(f"no end of a job {handles[0]} is kept")
        new, problems = list[str](), _Problems([])
        refusal: ManagerError | None = None
        with self._submissions.line() as line:
            for handle, attempts in kept.items():
                try:
                    new.append(self._submit(line, _chosen(attempts)))
                except _Left as reason:
                    problems.add(f"{handle}: {reason}")
                except ManagerError as error:
                    refusal = refusal or error
                    problems.add(f"{handle}: {error}")
                    if isinstance(error, Unreachable | HistoryError):
                        break
        if refusal is not None and not new:
            raise refusal
        return Outcome(new, len(kept) - len(new), problems.told)

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
        return self._every.start(change, partial(self.run_all, wanted, look.mark))

    def run_all(self, wanted: Wanted, mark: int, change: BulkChange) -> None:
        """Run all of them again that were there at that mark, each by the first of its ends that will do (a job that
        was queued again has several). Notes in `change` what has become of them.

        Raises:
            ManagerError: they can't be read.
        """
        tried, unfit, problems = set[str](), set[str](), _Problems(change.problems)
        with self._submissions.line() as line:
            for row in self._rows(wanted, mark):
                handle = row["handle"]
                if handle in tried:
                    continue
                if obstacle(row) is not None:
                    unfit.add(handle)
                    continue
                tried.add(handle)
                try:
                    self._submit(line, row)
                    change.done += 1
                except _Left:
                    change.left += 1
                except (Unreachable, HistoryError) as error:
                    problems.add(f"{handle}: {error}; those that ended since {utc(row['at'])} are not run again")
                    return
                except ManagerError as error:
                    problems.add(f"{handle}: {error}")
        change.left += len(unfit - tried)

    def _rows(self, wanted: Wanted, mark: int) -> Iterator[Mapping[str, Any]]:
        after = 0
        while rows := self._keeper.with_workloads(wanted, mark, after, _ROWS):
            yield from rows
            after = rows[-1]["id"]

    def _submit(self, line: Line, row: Mapping[str, Any]) -> str:
        unique = row["unique"]
        mark = self._keeper.mark() if unique else None
        handle = line.submit(row["function"], unescaped(row["workload"].encode()), unique, row["priority"])
        # The server answers with a job that has ended if that keeps its unique key: then nothing runs.
        if mark is not None and self._had_ended(handle, mark):
            raise _Left(f"its unique key still belongs to {handle}, which has ended")
        return handle

    def _had_ended(self, handle: str, mark: int) -> bool:
        with suppress(HistoryError):
            return self._keeper.has_ended(handle, mark)
        return False  # the job is queued, as far as anybody knows


class _Problems:
    """Tells the first ones, and the number of the others."""

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self._count = 0

    def add(self, problem: str) -> None:
        """One more."""
        self._count += 1
        if self._count <= MOST_PROBLEMS:
            self.told.append(problem)
        else:
            self.told[MOST_PROBLEMS:] = [f"and {self._count - MOST_PROBLEMS:,} more"]


def _chosen(attempts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first of a job's ends by which it can be run again.

    Raises:
        _Left: there is none.
    """
    found = obstacle_of_job(attempts) if attempts else "nothing is kept of it"
    if found is not None:
        raise _Left(found)
    return next(row for row in attempts if obstacle(row) is None)


def in_words(wanted: Wanted) -> str:
    """Which jobs are meant."""
    names = ("function", "tag", "unique", "handle", "outcome", "text")
    texts = [f"{name}={value}" for name in names if (value := getattr(wanted, name)) is not None]
    moments = [f"{name} {utc(value)}" for name in ("since", "until") if (value := getattr(wanted, name)) is not None]
    return " ".join(["all", *texts, *moments])
