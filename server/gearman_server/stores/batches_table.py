"""Batches of jobs in the table `gearman_batches`, and the counts of their jobs that have ended.

A job with a row is counted by the statement that deletes the row, so however often a transaction is repeated, and
wherever it breaks off, each is counted once. Jobs that ended without one are few, and counted in the broker: their
numbers are written anew with each change, as a text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, bindparam, column, delete, insert, select, table, update

from gearman_server.jobs.batch_rows import BatchRow, BatchState, Outcome, StoredBatch
from gearman_server.stores.rows import delete_rows

_COUNTS: Final = tuple(outcome.value for outcome in Outcome)
BATCHES: Final = table(
    "gearman_batches",
    *map(column, ("name", "state", "is_cancelled", "opened_at", "closed_at", "ended_at", "callbacks", "unwritten")),
    *map(column, _COUNTS),
    column("jobs"),
)
_KEY: Final = "key"
_UPDATE: Final = (
    update(BATCHES)
    .where(BATCHES.c.name == bindparam(_KEY))
    .values({name: bindparam(name) for name in ("state", "is_cancelled", "closed_at", "ended_at", "callbacks")})
    .values(unwritten=bindparam("unwritten"))
)


def count_and_delete(connection: Connection, ends: Mapping[int, tuple[bytes, Outcome]], owner: int) -> None:
    """Delete the rows of this owner's ended jobs, by their ids, and count those that were there in their batches."""
    ids: dict[tuple[bytes, Outcome], list[int]] = defaultdict(list)
    for number, counted in ends.items():
        ids[counted].append(number)
    for (name, outcome), numbers in sorted(ids.items(), key=_by_name):  # so two servers don't wait for one another
        deleted = delete_rows(connection, numbers, owner)
        if deleted:
            counts = BATCHES.c[outcome.value]
            connection.execute(update(BATCHES).where(BATCHES.c.name == name).values({counts: counts + deleted}))


def _by_name(item: tuple[tuple[bytes, Outcome], list[int]]) -> tuple[bytes, str]:
    (name, outcome), _ = item
    return name, outcome.value


def write_batches(connection: Connection, rows: Iterable[BatchRow]) -> None:
    """Set rows, except the counts of deleted jobs."""
    for row in rows:
        values = {
            "state": int(row.state),
            "is_cancelled": int(row.is_cancelled),
            "closed_at": row.closed_at,
            "ended_at": row.ended_at,
            "callbacks": row.callbacks,
            "unwritten": _as_text(row.unwritten),
        }
        if not connection.execute(_UPDATE, {**values, _KEY: row.name}).rowcount:
            new = {"name": row.name, "opened_at": row.opened_at, **values, **dict.fromkeys(_COUNTS, 0)}
            connection.execute(insert(BATCHES), new)


def delete_batches(connection: Connection, names: Iterable[bytes]) -> None:
    """Remove batches."""
    rows = [{_KEY: name} for name in names]
    if rows:
        connection.execute(delete(BATCHES).where(BATCHES.c.name == bindparam(_KEY)), rows)


def read_batches(connection: Connection) -> list[StoredBatch]:
    """All batches."""
    return [stored_batch(values) for values in connection.execute(select(BATCHES)).mappings()]


def stored_batch(values: Mapping[Any, Any]) -> StoredBatch:
    """The batch in a row."""
    unwritten = _from_text(bytes(values["unwritten"]))
    row = BatchRow(
        name=bytes(values["name"]),
        state=BatchState(values["state"]),
        is_cancelled=bool(values["is_cancelled"]),
        opened_at=values["opened_at"],
        closed_at=values["closed_at"],
        ended_at=values["ended_at"],
        callbacks=bytes(values["callbacks"]),
        unwritten=unwritten,
    )
    counts = {outcome: values[outcome.value] + unwritten.get(outcome, 0) for outcome in Outcome}
    return StoredBatch(row, {outcome: number for outcome, number in counts.items() if number})


def _as_text(counts: Mapping[Outcome, int]) -> bytes:
    return b" ".join(b"%s=%d" % (outcome.value.encode(), number) for outcome, number in counts.items())


def _from_text(text: bytes) -> dict[Outcome, int]:
    pairs = (pair.partition("=") for pair in text.decode().split())
    return {Outcome(name): int(number) for name, _, number in pairs}
