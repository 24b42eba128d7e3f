"""The changes for which nobody waits: they are noted in the open batch, and written with it or a later one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gearman_server.stores.batch import Batch

if TYPE_CHECKING:
    from gearman_server.jobs.access import Identity
    from gearman_server.jobs.batch_rows import BatchRow
    from gearman_server.jobs.dead_letters import DeadLetter
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.kept_results import KeptResult
    from gearman_server.jobs.schedule_rules import ScheduleMark, ScheduleRun
    from gearman_server.jobs.store import KnownKey

#: While the store is in trouble, at least this many removed letters, and as many removed results, are remembered.
MAX_GONE: Final = 100_000

Item = TypeVar("Item")


class NotedChanges:
    """The part of a store that notes them."""

    def __init__(self) -> None:
        self._open = Batch()
        #: Inserts that failed and are to be repeated once the store can be written, and the changes that may not be
        #: written before them: the marks of their schedules, the removal of the letters that they come from, and what
        #: they are owed for.
        self._repeated = Batch()
        self._is_in_trouble = False

    def _drop_changes(self) -> None:
        """Forget every change but inserts: the rows are another server's now."""
        for name in ("_open", "_repeated"):
            former: Batch = getattr(self, name)
            kept = Batch()
            kept.inserts, kept.since = former.inserts, former.since
            kept.awaited, kept.is_awaited = former.awaited, former.is_awaited
            kept.runs = [run for run in former.runs if run.job in kept.inserts]
            kept.revived, kept.owed = former.revived, former.owed
            kept.finished = {name: jobs for name, jobs in former.finished.items() if jobs}
            setattr(self, name, kept)

    def rewrite(self, job: Job) -> None:
        """Have the job's workload and time written with the next batch."""
        self._open.rewrites[job] = None

    def stop(self, job: Job) -> None:
        """Have it written with the next batch that the job is never to be run again."""
        self._open.stops[job.handle] = None

    def remember(self, key: KnownKey) -> None:
        """Have the key written with the delete of its job's row, which is the next call."""
        self._open.remembered[key] = None

    def forget_keys(self, keys: Sequence[KnownKey]) -> None:
        """Forget these keys."""
        for key in keys:
            self._open.remembered.pop(key, None)
            self._open.lapsed[key] = None
        self._bound(self._open.lapsed)

    def bury(self, letter: DeadLetter) -> None:
        """Have the letter written with the delete of its job's row, which is the next call."""
        self._open.letters[letter.handle] = letter
        self._repeated.forgotten.pop(letter.handle, None)

    def forget_dead(self, handles: Sequence[bytes]) -> None:
        """Forget these letters."""
        for handle in handles:
            self._open.letters.pop(handle, None)
        self._open.forgotten.update(dict.fromkeys(handles))
        self._bound(self._open.forgotten)

    def keep(self, result: KeptResult) -> None:
        """Have the result written with the delete of its job's row, which is the next call."""
        self._open.results[result.handle] = result

    def forget_results(self, handles: Sequence[bytes]) -> None:
        """Forget these results."""
        for handle in handles:
            self._open.results.pop(handle, None)
        self._open.outdated.update(dict.fromkeys(handles))
        self._bound(self._open.outdated)

    def _bound(self, gone: dict[Item, Any]) -> None:
        """Bound the number of removed letters, results or keys. During a long trouble, many come and go that were never
        written. If one that is left out here has a row, it comes back at the next start, and goes then by its age or
        the bounds."""
        if self._is_in_trouble and len(gone) > 2 * MAX_GONE:
            for handle in list(gone)[:-MAX_GONE]:
                del gone[handle]

    def mark_schedule(self, name: str, mark: ScheduleMark) -> None:
        """Have the mark written with the insert just before it, if there was one."""
        self._open.marks[name] = mark
        self._repeated.marks.pop(name, None)

    def pause_schedule(self, name: str, mark: ScheduleMark, _identity: Identity) -> None:
        """Have the mark written."""
        self.mark_schedule(name, mark)

    def note_run(self, run: ScheduleRun) -> None:
        """Have its mark written with the insert of its job."""
        self.mark_schedule(run.name, run.mark)

    def forget_schedules(self, names: Sequence[str]) -> None:
        """Forget the marks of schedules that no longer exist."""
        for name in names:
            self._open.marks[name] = None
            self._repeated.marks.pop(name, None)

    def note_batch(self, row: BatchRow) -> bool:
        """Have the row written with the next batch. False: with the inserts that are owed and put aside."""
        is_put_aside = row.name in self._repeated.job_batches
        (self._repeated if is_put_aside else self._open).job_batches[row.name] = row
        return not is_put_aside

    def forget_batches(self, names: Sequence[bytes]) -> None:
        """Forget these batches."""
        for name in names:
            self._open.job_batches.pop(name, None)
            self._repeated.job_batches.pop(name, None)
        self._open.forgotten_batches.update(dict.fromkeys(names))
