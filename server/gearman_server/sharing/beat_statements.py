"""The statements of a beat, by the driver alone. A server without jobs does little else, and SQLAlchemy took two thirds
of their processor time (measured)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gearman_server.jobs.batch_rows import BatchState, Outcome
from gearman_server.sharing.servers_table import FROM_MEMBERS, MEMBER_COLUMNS, member_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gearman_server.cluster.members import Member

_OPEN, _CLOSED, _DONE = map(int, (BatchState.OPEN, BatchState.CLOSED, BatchState.DONE))
_ENDED: Final = " + ".join(outcome.value for outcome in Outcome)
#: Batches that are over and not done, or cancelled and not over.
_DUE: Final = (
    f"SELECT 1 FROM gearman_batches WHERE (state = {_CLOSED} AND COALESCE(jobs, 0) = {_ENDED})"
    f" OR (state IN ({_OPEN}, {_CLOSED}) AND is_cancelled <> 0)"
)
_BEAT: Final = "UPDATE gearman_beats SET beat = beat + 1, facts = %s WHERE id = %s"
_MEMBERS: Final = f"SELECT {MEMBER_COLUMNS} {FROM_MEMBERS}"
_MEMBERS_AND_DUE: Final = f"SELECT {MEMBER_COLUMNS}, EXISTS ({_DUE}) {FROM_MEMBERS}"


class BeatStatements:
    """Beats over a connection in which each statement is a transaction of its own."""

    def __init__(self, connection: Connection) -> None:
        # Kept: psycopg prepares each cursor for its first statement.
        self._cursor: Any = connection.connection.cursor()

    def beat(self, number: int, facts: bytes) -> None:
        """Beat. Nothing happens if the server was declared dead, and its jobs are adopted already."""
        self._cursor.execute(_BEAT, (facts, number))

    def read(self, *, looks_for_batches: bool) -> tuple[list[Member], bool | None]:
        """All servers, as `read_members` has them; and, if that is wanted, whether any batch of jobs is due."""
        self._cursor.execute(_MEMBERS_AND_DUE if looks_for_batches else _MEMBERS)
        rows = self._cursor.fetchall()
        return [member_of(row) for row in rows], bool(rows[0][-1]) if looks_for_batches and rows else None
