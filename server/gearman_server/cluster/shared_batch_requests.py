"""The packets about batches of jobs, for a server of a cluster: the answers follow once the table is read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes

from gearman_server.jobs.batch_rows import BatchState
from gearman_server.jobs.replies import error
from gearman_server.requests.job_batches import batch_packet, unknown_batch
from gearman_server.sequels.job_batches import ANOTHER_BATCH, CANCEL, INVALID_BATCH, MAX_UNDONE

if TYPE_CHECKING:
    from gearman_server.cluster.elsewhere import Links
    from gearman_server.cluster.shared_batches import Answer, SharedBatch, SharedBatches
    from gearman_server.jobs.session import Session
    from gearman_server.sequels.job_batches import Found, JobBatches

#: How long a server ends jobs for another one before it answers with their number so far. Links wait a bit longer.
_PATIENCE_S: Final = 1.5
_FULL: Final = error(
    INVALID_BATCH, b"%d batches are not done, or their callbacks take too much: cancel some" % MAX_UNDONE
)
_UNREADABLE: Final = error(b"QUEUE_ERROR", b"The store can't be read or written now")


class SharedBatchRequests:
    """Answers them."""

    def __init__(self, batches: JobBatches, shared: SharedBatches) -> None:
        self._batches = batches
        self._shared = shared
        self._table = shared.table
        self.is_marked = shared.is_marked
        #: The way to the other servers.
        self.links: Links | None = None
        batches.shared = self

    @property
    def undone(self) -> int:
        """How many batches of the cluster are not done, as far as that is known here."""
        return self._shared.undone

    def open(self, session: Session, name: bytes, callbacks: bytes) -> None:
        """OPEN_BATCH."""

        def packet(batch: SharedBatch) -> bytes:
            row = batch.stored.row
            if row.state is BatchState.DONE or row.callbacks != callbacks:
                return error(INVALID_BATCH, ANOTHER_BATCH)
            return self._packet(name, [batch])

        self._ask(
            session, partial(self._table.open, name, callbacks), lambda found: packet(found[0]) if found else _FULL
        )

    def close(self, session: Session, name: bytes) -> None:
        """CLOSE_BATCH: all that came before it is counted."""
        self._ask(session, partial(self._table.change, name, None), partial(self._packet, name))
        self._shared.look_soon()

    def get(self, session: Session, name: bytes) -> None:
        """GET_BATCH."""
        self._ask(session, partial(self._table.get, name), partial(self._packet, name))

    def end(self, session: Session, name: bytes, mark: int) -> None:
        """END_BATCH: the answer follows once the jobs are ended."""

        def ask(send: Answer) -> None:
            self.end_whole(name, mark, lambda _ended: self._table.get(name, send))

        self._ask(session, ask, partial(self._packet, name))

    # --- for text commands

    def look_up(self, name: bytes, then: Found) -> None:
        """Call `then`, later, with the batch, if it exists."""
        self._after_changes(partial(self._table.get, name, partial(_tell, then)))

    def page(self, state: BatchState | None, after: bytes, limit: int, then: Found) -> None:
        """Call `then`, later, with batches whose names come after that one."""
        self._after_changes(partial(self._table.page, state, after, limit, partial(_tell, then)))

    def end_whole(self, name: bytes, mark: int | None, then: Callable[[int | None], None]) -> None:
        """Close the batch, and by a mark end its jobs. `then` gets how many were ended, those of the servers included
        that answer in time; the others end theirs soon. None: the store does not answer."""

        def end_jobs(found: list[SharedBatch] | None) -> None:
            if found and mark is not None:
                total = _Total(then)
                self._ask_others(name, mark, total)
                self._end_jobs(name, mark, total.part())
                total.begin()
            else:
                then(None if found is None else 0)
            self._shared.look_soon()

        self._after_changes(partial(self._table.change, name, mark, end_jobs))

    def end_here(self, name: bytes, mark: int, then: Callable[[int], None]) -> None:
        """End the jobs that this server has, for another one, which does not wait for long."""
        total = _Total(then)
        self._end_jobs(name, mark, total.part())
        total.begin()
        agenda = self._batches.owed.agenda
        agenda.add(agenda.now + _PATIENCE_S, lambda _now: total.end(self._shared.take_ended(name)))

    def _end_jobs(self, name: bytes, mark: int, tell: Callable[[int], None]) -> None:
        def steps() -> Iterator[None]:
            yield from self._shared.end_jobs(name, mark)
            self._after_changes(lambda: tell(self._shared.take_ended(name)))

        self._batches.owed.agenda.chores.start(steps())

    def _ask_others(self, name: bytes, mark: int, total: _Total) -> None:
        links = self.links
        how = "cancel" if mark == CANCEL else "stop"
        request = f"jobs batch id={quote_from_bytes(name)} {how}\n".encode()
        for server in () if links is None else links.ids:
            tell = total.part()
            links.ask(server, request, lambda line, tell=tell: tell(_number(line)))  # type: ignore[misc, union-attr]

    def _after_changes(self, then: Callable[[], None]) -> None:
        self._batches.owed.life.durability.after_changes(then)

    def _packet(self, name: bytes, found: list[SharedBatch]) -> bytes:
        return batch_packet(found[0].as_batch(), self._batches) if found else unknown_batch(name)

    def _ask(
        self, session: Session, ask: Callable[[Answer], None], packet: Callable[[list[SharedBatch]], bytes]
    ) -> None:
        gap = session.withhold()

        def send(found: list[SharedBatch] | None) -> None:
            gap.release(_UNREADABLE if found is None else packet(found))
            self._batches.owed.life.touched.add(session)

        self._after_changes(partial(ask, send))


class _Total:
    """Adds up what several have done, and tells the sum when all have said it, or at the end of the patience."""

    def __init__(self, then: Callable[[int], None]) -> None:
        self._then: Callable[[int], None] | None = then
        self._number = 0
        self._open = 1

    def part(self) -> Callable[[int], None]:
        """One who has to say a number, once."""
        self._open += 1
        return self._add

    def begin(self) -> None:
        """There are no more parts."""
        self._add(0)

    def end(self, number: int) -> None:
        """Wait no longer."""
        self._open = 1
        self._add(number)

    def _add(self, number: int) -> None:
        self._number += number
        self._open -= 1
        if self._open <= 0 and self._then is not None:
            then, self._then = self._then, None
            then(self._number)


def _number(line: bytes | None) -> int:
    """N out of `OK N`; 0 if the server did not answer so."""
    words = (line or b"").split()
    return int(words[1]) if len(words) > 1 and words[0] == b"OK" and words[1].isdigit() else 0


def _tell(then: Found, found: list[SharedBatch] | None) -> None:
    then(None if found is None else [batch.as_batch() for batch in found])
