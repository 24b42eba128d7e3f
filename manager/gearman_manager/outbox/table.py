"""The statements over the table of the outbox.

A row is *claimed* by a lease: `relay` says by whom, and until `due_ms` nobody else takes it. `server` says which job
server may have it, from before it is sent until an answer says otherwise: only that one, or another one of its cluster,
knows its submission again. So a relay that is killed leaves rows that the next one sends to the same server after the
lease, and that server takes each of them once.

The order of a key: a row is claimed only together with, or after, all waiting rows of its key with lower numbers.
A claim locks free rows, of which relays skip each other's, and then looks at what waits in front of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import inf
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from gearman_client.outbox.schema import check_table
from gearman_manager.outbox.claims import Candidate, Change, Openings

#: Free rows that a claim looks at, and rows of their keys.
_CANDIDATES: Final = 400
_MOST_IN_FRONT: Final = 4000
#: Ids in one statement.
_MAX_IDS: Final = 500
#: The longest reason that is kept with a row.
_MAX_REASON: Final = 2000


class OutboxTable:
    """The table, for one relay."""

    def __init__(self, name: str, relay: str) -> None:
        """`relay` names the relay in the rows that it has claimed."""
        schema, _, table = check_table(name).rpartition(".")
        self.name = name
        self._relay = relay
        self.rows = _table(table, schema or None)

    # --- claims

    def has_due(self, connection: Connection, now_ms: int) -> bool:
        """Whether there are rows that may be free: a look that takes no lock."""
        row = self.rows.c
        due = select(1).where(row.is_aside == 0, row.due_ms <= now_ms).limit(1)
        return connection.execute(due).first() is not None

    def candidates(
        self, connection: Connection, now_ms: int, openings: Openings, blocked: Collection[str]
    ) -> tuple[list[Candidate], set[str]]:
        """Lock the first rows that are free, and return those that may be claimed, in their order, with the keys of the
        others: rows of these keys wait in front of them.

        blocked: keys whose rows are not looked at.
        """
        row = self.rows.c
        found = (
            select(
                row.id,
                row.order_key,
                row.server_number,
                row.server,
                row.attempts,
                func.length(row.workload).label("workload_bytes"),
            )
            .where(row.is_aside == 0, _is_free(row, now_ms, openings))
            .order_by(row.id)
            .limit(_CANDIDATES)
            .with_for_update(skip_locked=True)
        )
        if blocked:
            found = found.where(or_(row.order_key.is_(None), row.order_key.not_in(blocked)))
        rows = [Candidate(*each) for each in connection.execute(found)]
        first_waiting = self._first_waiting(connection, rows)
        in_order = [each for each in rows if each.order_key is None or each.id < first_waiting.get(each.order_key, inf)]
        return in_order, {each.order_key for each in rows if each.order_key is not None} - {
            each.order_key for each in in_order
        }

    def _first_waiting(self, connection: Connection, rows: Sequence[Candidate]) -> Mapping[str, float]:
        """By key, the first row that waits and is none of these, which are locked here."""
        keys = {row.order_key for row in rows if row.order_key is not None}
        if not keys:
            return {}
        ours = {row.id for row in rows}
        table = self.rows.c
        waiting = (
            select(table.id, table.order_key)
            .where(table.is_aside == 0, table.order_key.in_(keys), table.id <= max(ours))
            .order_by(table.id)
            .limit(_MOST_IN_FRONT)
        )
        first: dict[str, float] = {}
        seen = connection.execute(waiting).all()
        for number, key in seen:
            if number not in ours:
                first.setdefault(key, number)
        if len(seen) == _MOST_IN_FRONT:  # of what is behind nothing is known
            for key in keys:
                first.setdefault(key, seen[-1][0] + 1)
        return first

    def claim(self, connection: Connection, ids: Mapping[str, Sequence[int]], now_ms: int, until_ms: int) -> None:
        """Take rows, by the name of the job server that may have them from now on."""
        row = self.rows.c
        for server, numbers in ids.items():
            if numbers:
                values = {"relay": self._relay, "due_ms": until_ms, "server": server}
                sent = func.coalesce(row.sent_ms, now_ms)
                connection.execute(update(self.rows).where(row.id.in_(numbers)).values(**values, sent_ms=sent))

    def contents(self, connection: Connection, ids: Iterable[int]) -> Mapping[int, Any]:
        """All columns of rows, by id."""
        table = self.rows
        return {each.id: each for each in connection.execute(select(table).where(table.c.id.in_(list(ids))))}

    def renew(self, connection: Connection, ids: Sequence[int], until_ms: int) -> None:
        """Keep claimed rows for longer."""
        row = self.rows.c
        connection.execute(update(self.rows).where(row.id.in_(ids), row.relay == self._relay).values(due_ms=until_ms))

    # --- what has become of rows

    def remove(self, connection: Connection, ids: Sequence[int]) -> int:
        """Delete rows, whoever has claimed them: an id is never given again. Returns how many there were."""
        count = 0
        for at in range(0, len(ids), _MAX_IDS):
            some = ids[at : at + _MAX_IDS]
            count += connection.execute(delete(self.rows).where(self.rows.c.id.in_(some))).rowcount
        return count

    def put_back(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Write what becomes of claimed rows; not of those that another relay has claimed meanwhile."""
        if not changes:
            return
        row = self.rows.c
        statement = (
            update(self.rows)
            .where(row.id == bindparam("of_id"), row.relay == self._relay)
            .values(
                is_aside=bindparam("aside"),
                due_ms=bindparam("due"),
                attempts=bindparam("tried"),
                reason=bindparam("why"),
                server=bindparam("at"),
                relay=None,
            )
        )
        known: list[dict[str, Any]] = []
        unknown: list[dict[str, Any]] = []
        for change in changes:
            values = {
                "of_id": change.id,
                "aside": int(change.due_ms is None),
                "due": change.due_ms or 0,
                "tried": change.attempts,
                "why": change.reason and change.reason[:_MAX_REASON],
                "at": change.server,
            }
            (known if change.server is None else unknown).append(values)
        if known:
            connection.execute(statement.values(sent_ms=None), known)
        if unknown:  # when they were sent first is kept
            connection.execute(statement, unknown)

    def set_aside_doubtful(
        self, connection: Connection, now_ms: int, known_servers: Sequence[str], oldest_ms: int
    ) -> Sequence[int]:
        """Set rows aside that a job server may have which nobody can ask any more: it is none of those that are known,
        or they were sent so long ago that it has forgotten their submissions. Returns their ids."""
        row = self.rows.c
        due = and_(row.is_aside == 0, row.server.is_not(None), row.due_ms <= now_ms)
        reasons = {
            "may have this row, and is none of the relay's job servers any more": row.server.not_in(known_servers),
            "may have this row for so long that it does not know its submission any more": row.sent_ms < oldest_ms,
        }
        ids: list[int] = []
        for reason, condition in reasons.items():
            found = connection.execute(select(row.id, row.server).where(due, condition).limit(_MAX_IDS)).all()
            for number, server in found:
                text = f"{server} {reason}: look there, then `gearman-manager outbox retry --anywhere`, or `drop`"
                values = {"is_aside": 1, "reason": text, "relay": None}
                changed = connection.execute(update(self.rows).where(row.id == number, due).values(**values))
                ids += [number] * changed.rowcount
        return ids


def _is_free(row: Any, now_ms: int, openings: Openings) -> ColumnElement[bool]:
    """Whether a waiting row can be sent now, apart from the rows before it. Never NULL."""
    askable = [*openings.servers, *openings.stand_ins]
    conditions = [row.due_ms <= now_ms, or_(row.server.is_(None), row.server.in_(askable))]
    if openings.slots > 1:
        number = func.abs(row.server_number) % openings.slots  # somebody may have written a negative one
        conditions.append(or_(row.server.is_not(None), row.server_number.is_(None), number.in_(openings.numbers)))
    if openings.held:
        conditions.append(row.function_name.not_in(openings.held))
    return and_(*conditions)


def _table(name: str, schema: str | None) -> Table:
    return Table(
        name,
        MetaData(),
        Column("id", BigInteger, primary_key=True),
        Column("submission", String),
        Column("function_name", String),
        Column("unique_key", String),
        Column("order_key", String),
        Column("server_number", SmallInteger),
        Column("job_options", String),
        Column("workload", LargeBinary),
        Column("created_ms", BigInteger),
        Column("is_aside", SmallInteger),
        Column("due_ms", BigInteger),
        Column("attempts", Integer),
        Column("relay", String),
        Column("server", String),
        Column("sent_ms", BigInteger),
        Column("reason", String),
        schema=schema,
    )
