"""The text commands `jobs list|show|keys|count|clock|finished|purge`, about waiting and running jobs. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.endings import PURGED
from gearman_server.jobs.job import PRIORITY_NAMES, JobState
from gearman_server.options.job_options import with_cursor
from gearman_server.text_commands.arguments import (
    CONDITIONS,
    Arguments,
    CommandError,
    NotAllowedError,
    Subcommands,
    parse_arguments,
)
from gearman_server.text_commands.batch_commands import BatchCommands
from gearman_server.text_commands.listings import Listings
from gearman_server.text_commands.option_fields import option_fields, options_matcher
from gearman_server.text_commands.printable import printable
from gearman_server.text_commands.tables import PREVIEW_BYTES, SHOWN_BYTES, table
from gearman_server.text_commands.walk import Walk

if TYPE_CHECKING:
    from gearman_server.jobs.access import AccessList
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session
    from gearman_server.options.text_search import TextSearch
    from gearman_server.requests.stops import Stops
    from gearman_server.sequels.job_batches import JobBatches
    from gearman_server.text_commands.bulk_changes import LongChanges

_STATE_NAMES: Final = {
    JobState.QUEUED: b"waiting",
    JobState.HELD: b"waiting",
    JobState.DELAYED: b"delayed",
    JobState.RUNNING: b"running",
    JobState.STOPPING: b"stopping",
    JobState.CANCELLED: b"cancelled",
    JobState.ENDED: b"ended",
}
_SELECTION: Final = (*CONDITIONS, b"state")
#: The states of jobs that a purge concerns.
_WAITING: Final = (None, b"waiting", b"delayed")


class JobCommands:
    """Carries out the `jobs` commands."""

    def __init__(
        self,
        life: JobLife,
        batches: JobBatches,
        stops: Stops,
        long_changes: LongChanges,
        allowed: AccessList,
        others: Mapping[bytes, Callable[[Session, list[bytes]], bytes]],
    ) -> None:
        """`others` are further commands, by their words after `jobs`."""
        self._jobs, self._agenda = life.jobs, life.agenda
        self._life = life
        self._allowed = allowed
        self._listings = Listings(life.agenda, long_changes)
        self._long_changes = long_changes
        #: Carries out one line of a session.
        self.execute = Subcommands(
            b"jobs list, show, keys, count, clock, finished, purge, batches or batch is expected",
            {
                **BatchCommands(batches, stops, life, long_changes).handlers(),
                b"list": self._list,
                b"show": self._show,
                **others,
                b"count": self._count,
                b"clock": self._clock,
                b"purge": self._purge,
            },
        ).execute

    def _list(self, session: Session, words: list[bytes]) -> bytes:
        arguments = parse_arguments(words, (*_SELECTION, b"limit", b"looks", b"after"))
        search = arguments.search()
        matches = self._matcher(arguments, search)

        def line(handle: bytes) -> bytes | None:
            job = self._jobs.get(handle)
            return _line(job, self._agenda.now) if job is not None and matches(job) else None

        return self._listings.page(session, arguments, self._jobs, line, search)

    def _show(self, _session: Session, words: list[bytes]) -> bytes:
        job = self._jobs.get(words[0]) if len(words) == 1 else None
        if job is None:
            raise CommandError(b"UNKNOWN_JOB", b"There is no such job")
        return table(_fields(job, self._agenda.unix_time() - self._agenda.now))

    def _count(self, session: Session, words: list[bytes]) -> bytes:
        """Count the jobs, by their states."""
        arguments = parse_arguments(words, _SELECTION)
        if arguments.names:
            raise CommandError(b"INVALID_ARGUMENTS", b"conditions such as function=NAME are expected")
        search, counts = arguments.search(), dict.fromkeys(_STATE_NAMES.values(), 0)
        matches = self._matcher(arguments, search)

        def look(handle: bytes) -> None:
            job = self._jobs.get(handle)
            if job is not None and matches(job):
                counts[_STATE_NAMES[job.state]] += 1

        def answer() -> bytes:
            return table({state.decode(): b"%d" % count for state, count in counts.items()})

        return self._long_changes.start_walk(session, Walk(list(self._jobs), search), look, answer)

    def _clock(self, _session: Session, _words: list[bytes]) -> bytes:
        """The clock by which `until=` is meant."""
        return b"OK %.6f\n" % self._agenda.unix_time()

    def _purge(self, session: Session, words: list[bytes]) -> bytes:
        """Drop those of the given jobs, or of the jobs of a function, with a tag and so on, or of all, that wait for a
        worker or for their time. Running jobs go on."""
        if not self._allowed.allows(session.identity):
            raise NotAllowedError
        arguments = parse_arguments(words, _SELECTION)
        # A handle has a colon: a name that was meant to be a function's must not do.
        are_handles = bool(arguments.names) and all(b":" in name for name in arguments.names)
        is_said = arguments.names == [b"all"] or (arguments.has_texts and not arguments.names)
        if not are_handles and not is_said:
            expected = b"function=NAME, tag=TEXT, key=TEXT, unique=TEXT, text=TEXT, handles or all is expected"
            raise CommandError(b"INVALID_ARGUMENTS", expected)
        if arguments.state not in _WAITING:
            raise CommandError(b"INVALID_ARGUMENTS", b"state= is waiting or delayed: no others are purged")
        search = arguments.search()
        matches = self._matcher(arguments, search)

        def drop(handle: bytes) -> bool:
            job = self._jobs.get(handle)
            if job is None or not job.is_waiting or not matches(job):
                return False
            self._life.drop(job, PURGED)
            return True

        handles = arguments.names if are_handles else list(self._jobs)
        return self._long_changes.start_each(session, handles, drop, search=search)

    def _matcher(self, arguments: Arguments, search: TextSearch | None) -> Callable[[Job], bool]:
        """Tells whether a job meets the conditions.

        Raises:
            CommandError: there is no such state.
        """
        function, state, has_options = arguments.function, arguments.state, options_matcher(arguments)
        unique = arguments.unique
        if state is not None and state not in _STATE_NAMES.values():
            raise CommandError(b"INVALID_ARGUMENTS", b"state= is waiting, delayed, running, stopping or cancelled")
        lead = self._agenda.unix_time() - self._agenda.now
        submitted_before = self._agenda.now - arguments.older_s if arguments.older_s else math.inf
        submitted_before = min(submitted_before, arguments.until - lead)
        # Without the condition the clock does not count: it may have been set back.
        submitted_since = arguments.since - lead if arguments.since else -math.inf

        def matches(job: Job) -> bool:
            return (
                (function is None or job.function.name == function)
                and (state is None or _STATE_NAMES[job.state] == state)
                and submitted_since <= job.submitted <= submitted_before
                and (unique is None or job.unique == unique)
                and (has_options is None or has_options(job.kept_pairs))
                and (search is None or _has_text(job, search))
            )

        return matches


def _has_text(job: Job, search: TextSearch) -> bool:
    history = job.history
    return search(job.workload) if history is None else search(job.workload, history.error, history.traceback)


def _line(job: Job, now: float) -> bytes:
    columns = (
        job.handle,
        printable(job.function.name),
        _STATE_NAMES[job.state],
        PRIORITY_NAMES[job.priority].encode(),
        b"%d" % job.attempt,
        b"%.3f" % max(0.0, now - job.submitted),
        b"%.3f" % max(0.0, now - job.since),
        b"%d" % len(job.workload),
        b"%d" % job.is_background,
        printable(job.unique),
        printable(job.workload, PREVIEW_BYTES),
    )
    return b"\t".join(columns) + b"\n"


def _fields(job: Job, offset: float) -> dict[str, bytes]:
    """All facts about a job; `offset` is the wall clock's lead over the monotonic one, in seconds."""
    history, rare = job.history, job.rare
    not_before = rare.run_at if history is None or history.not_before is None else history.not_before
    numerator, denominator = rare.progress or (b"", b"")
    return {
        "handle": job.handle,
        "function": printable(job.function.name),
        "unique": printable(job.unique),
        "priority": PRIORITY_NAMES[job.priority].encode(),
        "state": _STATE_NAMES[job.state],
        "background": b"%d" % job.is_background,
        "clients": b"%d" % len(job.listeners),
        "attempt": b"%d" % job.attempt,
        "failures": b"%d" % (0 if history is None else history.failures),
        "losses": b"%d" % (0 if history is None else history.losses),
        "submitted": b"%.3f" % (job.submitted + offset),
        "since": b"%.3f" % (job.since + offset),
        "not_before": b"" if not_before is None else b"%.3f" % not_before,
        "expires": b"" if rare.expires_at is None else b"%.3f" % rare.expires_at,
        **option_fields(with_cursor(job.kept_pairs, rare.cursor)),
        "worker": b"" if job.worker is None else printable(job.worker.client_id),
        "address": b"" if job.worker is None else printable(str(job.worker.identity).encode()),
        "progress": b"" if rare.progress is None else printable(numerator + b"/" + denominator),
        "data": printable(rare.data),
        "error": b"" if history is None else printable(history.error),
        "traceback": b"" if history is None else printable(history.traceback),
        "bytes": b"%d" % len(job.workload),
        "workload": printable(job.workload, SHOWN_BYTES),
    }
