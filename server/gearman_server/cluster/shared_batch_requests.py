"""The packets about batches of jobs, for a server of a cluster: the answers follow once the table is read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.batch_rows import BatchState
from gearman_server.jobs.replies import error
from gearman_server.requests.job_batches import batch_packet, unknown_batch
from gearman_server.sequels.job_batches import ANOTHER_BATCH, INVALID_BATCH

if TYPE_CHECKING:
    from gearman_server.cluster.shared_batches import Answer, SharedBatch, SharedBatches
    from gearman_server.jobs.session import Session
    from gearman_server.sequels.job_batches import Found, JobBatches

_UNREADABLE: Final = error(b"QUEUE_ERROR", b"The store can't be read or written now")


class SharedBatchRequests:
    """Answers them."""

    def __init__(self, batches: JobBatches, shared: SharedBatches) -> None:
        self._batches = batches
        self._shared = shared
        self._table = shared.table
        self.is_marked = shared.is_marked
        batches.shared = self

    def open(self, session: Session, name: bytes, callbacks: bytes) -> None:
        """OPEN_BATCH."""

        def packet(batch: SharedBatch) -> bytes:
            row = batch.stored.row
            if row.state is BatchState.DONE or row.callbacks != callbacks:
                return error(INVALID_BATCH, ANOTHER_BATCH)
            return self._packet(batch)

        self._ask(session, name, partial(self._table.open, name, callbacks), packet)

    def close(self, session: Session, name: bytes) -> None:
        """CLOSE_BATCH: all that came before it is counted."""
        self._ask(session, name, partial(self._table.change, name, None))
        self._shared.look_soon()

    def get(self, session: Session, name: bytes) -> None:
        """GET_BATCH."""
        self._ask(session, name, partial(self._table.get, name))

    def end(self, session: Session, name: bytes, mark: int) -> None:
        """END_BATCH: the answer follows once the jobs of this server are ended; the other servers end theirs soon."""
        gap = session.withhold()

        def send(found: list[SharedBatch] | None) -> None:
            gap.release(self._answer(found, name, self._packet))
            self._batches.owed.life.touched.add(session)

        self.end_whole(name, mark, lambda _ended: self._table.get(name, send))

    # --- for text commands

    def look_up(self, name: bytes, then: Found) -> None:
        """Call `then`, later, with the batch, if it exists."""
        self._after_changes(partial(self._table.get, name, partial(_tell, then)))

    def page(self, state: BatchState | None, after: bytes, limit: int, then: Found) -> None:
        """Call `then`, later, with batches whose names come after that one."""
        self._after_changes(partial(self._table.page, state, after, limit, partial(_tell, then)))

    def end_whole(self, name: bytes, mark: int | None, then: Callable[[int | None], None]) -> None:
        """Close the batch, and by a mark end its jobs. `then` gets how many were here; None: the store does not
        answer."""
        ended = 0

        def count() -> None:
            nonlocal ended
            ended += 1

        def steps(mark: int) -> Iterator[None]:
            yield from self._shared.end_jobs(name, mark, count)
            self._after_changes(lambda: then(ended))
            self._shared.look_soon()

        def end_jobs(found: list[SharedBatch] | None) -> None:
            if found and mark is not None:
                self._batches.owed.agenda.chores.start(steps(mark))
            else:
                then(None if found is None else 0)
                self._shared.look_soon()

        self._after_changes(partial(self._table.change, name, mark, end_jobs))

    def _after_changes(self, then: Callable[[], None]) -> None:
        self._batches.owed.life.durability.after_changes(then)

    def _packet(self, batch: SharedBatch) -> bytes:
        return batch_packet(batch.as_batch(), self._batches)

    def _ask(
        self,
        session: Session,
        name: bytes,
        ask: Callable[[Answer], None],
        packet: Callable[[SharedBatch], bytes] | None = None,
    ) -> None:
        gap = session.withhold()

        def send(found: list[SharedBatch] | None) -> None:
            gap.release(self._answer(found, name, packet or self._packet))
            self._batches.owed.life.touched.add(session)

        self._after_changes(partial(ask, send))

    def _answer(self, found: list[SharedBatch] | None, name: bytes, packet: Callable[[SharedBatch], bytes]) -> bytes:
        if found is None:
            return _UNREADABLE
        return packet(found[0]) if found else unknown_batch(name)


def _tell(then: Found, found: list[SharedBatch] | None) -> None:
    then(None if found is None else [batch.as_batch() for batch in found])
