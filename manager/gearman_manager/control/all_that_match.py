"""Changes of all jobs that match, as operators order them: by the API, or by a page. Each end is noted as an action."""

from __future__ import annotations

from functools import partial
from typing import Final

from gearman_manager.control.bulk_changes import BulkChange, BulkChanges, Make, Report
from gearman_manager.control.change_words import DONE
from gearman_manager.control.matching_jobs import CHANGES, Counts, Matching, MatchingJobs
from gearman_manager.history.action_log import ActionLog
from gearman_manager.history.recording import acting_again, say_action, utc
from gearman_process.values.counting import counted

_MOMENTS: Final = ("since", "until")


class AllThatMatch:
    """Counts jobs, and has changes of all of them made."""

    def __init__(self, jobs: MatchingJobs, changes: BulkChanges, actions: ActionLog) -> None:
        self._jobs = jobs
        self._actions = actions
        self.changes = changes

    def count(self, matching: Matching) -> Counts:
        """How many there are.

        Raises:
            ManagerError: as `MatchingJobs.count`.
        """
        return self._jobs.count(matching)

    def begin(self, what: str, matching: Matching, expected: int | None) -> BulkChange:
        """Begin to change all of them, on behalf of the request that is carried out just now: `expected` of them were
        there when somebody looked; None: they are counted first.

        Raises:
            ManagerError: the job servers can't be asked, or the change has to wait.
        """
        family = CHANGES[what].family
        if expected is None:
            expected = self.count(matching).of(what)
        target = in_words(matching)
        say_action(f"{family} {what}", target, f"{expected:,}, those that were there at {utc(matching.seen_at)}")
        change = BulkChange(f"{family} {what}", target, expected)
        return self.start(change, partial(self._jobs.change, what, matching))

    def start(self, change: BulkChange, make: Make) -> BulkChange:
        """Begin a change on behalf of the request that is carried out just now; its end is noted as an action too.

        Raises:
            NotNow: it has to wait.
        """
        note = acting_again(self._actions)
        return self.changes.start(change, make, lambda report: note(change.what, change.target, ended(report)))


def in_words(matching: Matching) -> str:
    """Which jobs are meant."""
    moments = [f"{name} {utc(float(given))}" for name in _MOMENTS if (given := matching.condition(name)) is not None]
    texts = [word for word in matching.conditions if not word.startswith(tuple(f"{name}=" for name in _MOMENTS))]
    state = [f"state={matching.state}"] if matching.state else []
    return " ".join(["all", *texts, *state, *moments])


def ended(report: Report) -> str:
    """What has become of the jobs, in words: `ended: 3 queued again, 1 gone`."""
    what = report["what"].rpartition(" ")[2]
    words = [f"{report['done']:,} {DONE[what]}"]
    words += [f"{report[outcome]:,} {outcome}" for outcome in ("left", "gone") if report[outcome]]
    words += [counted(len(report["problems"]), "problem") + f": {report['problems'][0]}"] if report["problems"] else []
    return f"ended: {', '.join(words)}"
