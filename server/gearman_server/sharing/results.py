"""The table of kept results that all servers of a cluster use: look-ups by handle, and its bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, Connection, LargeBinary, column, delete, func, or_, select, table

from gearman_server.jobs.kept_results import OVERHEAD_BYTES, Looked
from gearman_server.sharing.directory import ids_of
from gearman_server.sharing.letters import Tidied
from gearman_server.stores.results_table import RESULTS, read_results_of
from gearman_server.stores.rows import JOBS, RUNNING, STOPPED

if TYPE_CHECKING:
    from gearman_server.jobs.kept_results import ResultBounds
    from gearman_server.sharing.reader import Reader

_jobs: Final = table(
    JOBS, *map(column, ("state", "run_at", "owner")), column("id", BigInteger()), column("handle", LargeBinary())
)
_c: Final = RESULTS.c
_SIZE: Final = func.length(_c.content) + func.length(_c.reports) + OVERHEAD_BYTES
#: Ids in one statement.
_MAX_IDS: Final = 500
#: Results that are removed at once; the others follow with the next look.
MOST_AT_ONCE: Final = 10_000


class ResultsTable:
    """Looks results up."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def look(self, handles: Sequence[bytes], answer: Callable[[Mapping[bytes, Looked] | None], None]) -> None:
        """Call `answer`, later, with what the tables have of these jobs; None: the database does not answer."""
        self._reader.ask(partial(_look, handles=handles), answer)


def _look(connection: Connection, handles: Sequence[bytes]) -> dict[bytes, Looked]:
    """First the jobs, then the results: a job that is no longer there has its result written already."""
    found: dict[bytes, Looked] = {}
    now = time()
    ids = ids_of(handles)
    for at in range(0, len(ids), _MAX_IDS):
        columns = _jobs.c.handle, _jobs.c.state, _jobs.c.run_at, _jobs.c.owner
        for handle, state, run_at, owner in connection.execute(
            select(*columns).where(_jobs.c.id.in_(ids[at : at + _MAX_IDS]))
        ):
            found[bytes(handle)] = Looked(None, _state(state, run_at, now), owner)
    left = ids_of([handle for handle in handles if handle not in found])
    for at in range(0, len(left), _MAX_IDS):
        for result in read_results_of(connection, left[at : at + _MAX_IDS]):
            if result.expires_at > now:
                found[result.handle] = Looked(result)
    return found


def _state(state: int, run_at: float | None, now: float) -> bytes:
    if state in (RUNNING, STOPPED):
        return b"running"
    return b"delayed" if run_at is not None and run_at > now else b"waiting"


def tidy(connection: Connection, bounds: ResultBounds, unix_now: float) -> Tidied:
    """Remove the results whose time is over, and those of the jobs that ended first if all are too many or too big."""
    expired = select(_c.id).where(_c.expires_at <= unix_now).limit(MOST_AT_ONCE)
    too_old = _delete(connection, expired)
    too_many = 0
    count, size_bytes = connection.execute(select(func.count(), func.coalesce(func.sum(_SIZE), 0))).one()
    if count > bounds.max_count or size_bytes > bounds.max_bytes:
        newest = _c.ended_at.desc(), _c.id.desc()
        ranked = select(
            _c.id,
            func.row_number().over(order_by=newest).label("place"),
            func.sum(_SIZE).over(order_by=newest).label("total"),
        ).subquery()
        is_too_much = or_(ranked.c.place > bounds.max_count, ranked.c.total > bounds.max_bytes)
        too_many = _delete(connection, select(ranked.c.id).where(is_too_much).limit(MOST_AT_ONCE))
        count, size_bytes = connection.execute(select(func.count(), func.coalesce(func.sum(_SIZE), 0))).one()
    return Tidied(int(count), int(size_bytes), too_many, too_old)


def _delete(connection: Connection, query: object) -> int:
    ids = [int(row[0]) for row in connection.execute(query)]  # type: ignore[call-overload]
    gone = 0
    for at in range(0, len(ids), _MAX_IDS):
        gone += connection.execute(delete(RESULTS).where(_c.id.in_(ids[at : at + _MAX_IDS]))).rowcount
    return gone
