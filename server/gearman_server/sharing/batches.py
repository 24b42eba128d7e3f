"""Batches of jobs in the table that all servers of a cluster use.

How many jobs a batch has is counted in the transactions that insert them, how many have ended in those that delete
them, whichever server does it. A batch is done by the one server whose change of its row finds both numbers equal.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, delete, func, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from gearman_server.cluster.shared_batches import Answer, SharedBatch
from gearman_server.jobs.batch_rows import BatchState, Outcome
from gearman_server.options.reading import read_options
from gearman_server.sequels.job_batches import KEEP_DONE_S, MAX_CALLBACK_BYTES, MAX_DONE, MAX_UNDONE
from gearman_server.stores.batch import row_id
from gearman_server.stores.batches_table import BATCHES, stored_batch
from gearman_server.stores.rows import JOBS

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job
    from gearman_server.sharing.reader import Reader
    from gearman_server.stores.batch import Batch

_c: Final = BATCHES.c
_OPEN, _CLOSED, _DONE = map(int, (BatchState.OPEN, BatchState.CLOSED, BatchState.DONE))
_COUNTS: Final = [_c[outcome.value] for outcome in Outcome]
_JOBS: Final = func.coalesce(_c.jobs, 0)
_ENDED: Final = sum(_COUNTS[1:], start=_COUNTS[0])
_IS_OVER: Final = (_c.state == _CLOSED) & (_JOBS == _ENDED)
#: Batches in one answer, and the most that are forgotten at once.
_AT_ONCE: Final = 1000
_MOST_AT_ONCE: Final = 10_000


class BatchTable:
    """Reads and changes the rows; an answer is None if the database does not answer."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def open(self, name: bytes, callbacks: bytes, answer: Answer) -> None:
        """Open a batch, unless there is one of that name, and return it; nothing if there are too many."""
        self._reader.ask(partial(_open, name=name, callbacks=callbacks), answer)

    def change(self, name: bytes, mark: int | None, answer: Answer) -> None:
        """Close a batch, and mark it as cancelled or stopped if a mark is given. Returns it, if it exists."""
        self._reader.ask(partial(_change, name=name, mark=mark), answer)

    def get(self, name: bytes, answer: Answer) -> None:
        """The batch, if it exists."""
        self._reader.ask(partial(_get, name=name), answer)

    def page(
        self,
        state: BatchState | None,
        after: bytes,
        limit: int,
        answer: Answer,
    ) -> None:
        """Batches in the order of their names."""
        self._reader.ask(partial(_page, state=state, after=after, limit=limit), answer)

    def due(self, answer: Answer) -> None:
        """Those that are over and not done, and those that are cancelled and not over."""
        self._reader.ask(_due, answer)

    def idle(self, opened_before: float, answer: Answer) -> None:
        """Those that are open since before that time (Unix seconds), and whose jobs have all ended."""
        self._reader.ask(partial(_idle, opened_before=opened_before), answer)

    def count_undone(self, answer: Callable[[int | None], None]) -> None:
        """How many are not done."""
        self._reader.ask(lambda connection: _undone(connection)[0], answer)


def _open(connection: Connection, name: bytes, callbacks: bytes) -> list[SharedBatch]:
    found = _get(connection, name)
    if found:
        return found
    number, callback_bytes = _undone(connection)
    if number >= MAX_UNDONE or callback_bytes + len(callbacks) > MAX_CALLBACK_BYTES:
        return []
    row = {
        "name": name,
        "state": _OPEN,
        "is_cancelled": 0,
        "opened_at": time(),
        "callbacks": callbacks,
        "unwritten": b"",
        "jobs": 0,
        **dict.fromkeys((outcome.value for outcome in Outcome), 0),
    }
    with contextlib.suppress(IntegrityError):  # another server was first
        connection.execute(insert(BATCHES), row)
    return _get(connection, name)


def _change(connection: Connection, name: bytes, mark: int | None) -> list[SharedBatch]:
    if mark is not None:
        connection.execute(update(BATCHES).where(_c.name == name, _c.state != _DONE).values(is_cancelled=mark))
    closing = update(BATCHES).where(_c.name == name, _c.state == _OPEN)
    connection.execute(closing.values(state=_CLOSED, closed_at=time()))
    return _get(connection, name)


def _get(connection: Connection, name: bytes) -> list[SharedBatch]:
    return _read(connection, select(BATCHES).where(_c.name == name))


def _page(connection: Connection, state: BatchState | None, after: bytes, limit: int) -> list[SharedBatch]:
    query = select(BATCHES).where(_c.name > after).order_by(_c.name).limit(limit)
    return _read(connection, query if state is None else query.where(_c.state == int(state)))


def _due(connection: Connection) -> list[SharedBatch]:
    is_cancelled = (_c.state != _DONE) & (_c.is_cancelled != 0)
    return _read(connection, select(BATCHES).where(or_(_IS_OVER, is_cancelled)).limit(_AT_ONCE))


def _idle(connection: Connection, opened_before: float) -> list[SharedBatch]:
    is_idle = (_c.state == _OPEN) & (_c.opened_at < opened_before) & (_JOBS == _ENDED)
    return _read(connection, select(BATCHES).where(is_idle).limit(MAX_UNDONE))


def _undone(connection: Connection) -> tuple[int, int]:
    """How many batches are not done, and the bytes of their callbacks."""
    query = select(func.count(), func.coalesce(func.sum(func.length(_c.callbacks)), 0)).where(_c.state != _DONE)
    number, size_bytes = connection.execute(query).one()
    return int(number), int(size_bytes)


def _read(connection: Connection, query: Any) -> list[SharedBatch]:
    return [
        SharedBatch(stored_batch(row), int(row["jobs"] or 0), int(row["is_cancelled"]))
        for row in connection.execute(query).mappings()
    ]


# --- in the transactions of jobs


def admit_jobs(connection: Connection, batch: Batch, left: dict[Job, None], ours: set[int]) -> None:
    """Count the inserts that are part of batches of jobs. Those whose batch takes no more are not left."""
    by_name: dict[tuple[bytes, bool], list[Job]] = defaultdict(list)
    for job in left:
        options = None if job.extras is None else job.extras.options
        if options is not None and options.batch and row_id(job) not in ours:
            by_name[options.batch, job in batch.owed].append(job)
    for (name, is_owed), jobs in sorted(by_name.items(), key=lambda item: item[0]):
        allowed = _c.state != _DONE if is_owed else _c.state == _OPEN
        counting = update(BATCHES).where(_c.name == name, allowed).values(jobs=_JOBS + len(jobs))
        if not connection.execute(counting).rowcount and not is_owed:
            batch.not_admitted += jobs
            for job in jobs:
                del left[job]


def finish_batches(connection: Connection, batch: Batch, left: dict[Job, None], ours: set[int]) -> None:
    """Note that batches are done, whose callbacks are among the inserts; those of others' batches are lost."""
    for name, jobs in sorted(batch.finished.items()):
        if any(row_id(job) in ours for job in jobs):
            continue
        done = {"state": _DONE, "ended_at": time(), "callbacks": b""}
        if not connection.execute(update(BATCHES).where(_c.name == name, _IS_OVER).values(**done)).rowcount:
            batch.lost += [job for job in jobs if job in left]
            for job in jobs:
                left.pop(job, None)


def tidy(connection: Connection, unix_now: float) -> None:
    """Forget batches that are done long since, and of the others all but the last ones."""
    last = select(_c.ended_at).where(_c.state == _DONE).order_by(_c.ended_at.desc()).offset(MAX_DONE).limit(1)
    oldest = max(connection.scalar(last) or 0.0, unix_now - KEEP_DONE_S)
    query = select(_c.name).where(_c.state == _DONE, _c.ended_at <= oldest).limit(_MOST_AT_ONCE)
    names = [bytes(row[0]) for row in connection.execute(query)]
    if names:
        connection.execute(delete(BATCHES).where(_c.name.in_(names), _c.state == _DONE))


def count_jobs(connection: Connection) -> None:
    """Count the jobs of the batches that the store's former only server has left."""
    names = [bytes(row[0]) for row in connection.execute(select(_c.name).where(_c.jobs.is_(None))).all()]
    numbers = dict.fromkeys(names, 0)
    rows = connection.execute(text(f"SELECT options FROM {JOBS} WHERE options IS NOT NULL")) if names else ()
    for (pairs,) in rows:
        job = read_options(bytes(pairs)).job
        if job is not None and job.batch in numbers:
            numbers[job.batch] += 1
    for name, number in numbers.items():
        connection.execute(update(BATCHES).where(_c.name == name).values(jobs=_ENDED + number))
