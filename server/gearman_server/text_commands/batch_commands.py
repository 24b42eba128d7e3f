"""The text commands `jobs batches` and `jobs batch ID [close|cancel|stop]`: batches of jobs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from gearman_server.requests.job_batches import STATE_NAMES, facts_of
from gearman_server.text_commands.arguments import CommandError, NotAllowedError, parse_arguments
from gearman_server.text_commands.listings import Listings
from gearman_server.text_commands.printable import printable
from gearman_server.text_commands.shared_batch_commands import UNKNOWN_BATCH, SharedBatchCommands, line_of
from gearman_server.text_commands.tables import table

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.session import Session
    from gearman_server.requests.stops import Stops
    from gearman_server.sequels.job_batch import JobBatch
    from gearman_server.sequels.job_batches import JobBatches
    from gearman_server.text_commands.bulk_changes import LongChanges

_NOT_STORED: Final = CommandError(b"NOT_STORED", b"It is done, but the store can't be written").answer


class BatchCommands:
    """Carries out these commands."""

    def __init__(self, batches: JobBatches, stops: Stops, life: JobLife, long_changes: LongChanges) -> None:
        self._batches = batches
        self._stops = stops
        self._life = life
        self._long_changes = long_changes
        self._listings = Listings(life.agenda, long_changes)

    def handlers(self) -> Mapping[bytes, Callable[[Session, list[bytes]], bytes]]:
        """By the word that follows `jobs`."""
        return {b"batches": self._list, b"batch": self._one}

    def _list(self, session: Session, words: list[bytes]) -> bytes:
        arguments = parse_arguments(words, (b"state", b"limit", b"after"))
        if arguments.state is not None and arguments.state not in STATE_NAMES.values():
            raise CommandError(b"INVALID_ARGUMENTS", b"state= is open, closed or done")
        if self._batches.shared is not None:
            return SharedBatchCommands(self._batches.shared, self._batches, session).list(arguments)

        def line(name: bytes) -> bytes | None:
            batch = self._batches.by_name.get(name)
            if batch is None or arguments.state not in (None, STATE_NAMES[batch.state]):
                return None
            return line_of(batch, self._batches)

        return self._listings.page(session, arguments, self._batches.by_name, line)

    def _one(self, session: Session, words: list[bytes]) -> bytes:
        if len(words) not in (1, 2) or (len(words) == 2 and words[1].lower() not in (b"close", b"cancel", b"stop")):
            raise CommandError(
                b"INVALID_ARGUMENTS", b"jobs batch ID, or jobs batch ID close, cancel or stop is expected"
            )
        name = unquote_to_bytes(words[0][3:]) if words[0].startswith(b"id=") else words[0]
        if self._batches.shared is not None:
            if len(words) == 2 and not self._stops.may(session):
                raise NotAllowedError
            shared = SharedBatchCommands(self._batches.shared, self._batches, session)
            return shared.show(name) if len(words) == 1 else shared.end(name, words[1].lower())
        batch = self._batches.by_name.get(name)
        if batch is None:
            raise UNKNOWN_BATCH
        if len(words) == 1:
            return table({"id": printable(batch.name), **facts_of(batch, self._batches)})
        if not self._stops.may(session):
            raise NotAllowedError
        if words[1].lower() == b"close":
            self._batches.close(batch)
            self._batches.answer(session, batch, lambda: b"OK\r\n", _NOT_STORED)
            return b""
        return self._end(
            session, batch, self._life.cancel if words[1].lower() == b"cancel" else self._stops.stop_unasked
        )

    def _end(self, session: Session, batch: JobBatch, end: Callable[[Job], object]) -> bytes:
        """Close the batch and end its jobs. The answer is how many these were, once that is written."""
        ended = 0

        def count(job: Job) -> None:
            nonlocal ended
            end(job)
            ended += 1

        def answer() -> bytes:
            return self._long_changes.once_written(session, b"OK %d\n" % ended)

        return self._long_changes.start(session, self._batches.cancel(batch, count), answer)
