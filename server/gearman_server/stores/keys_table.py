"""Keys that outlive their jobs, in the table `gearman_keys`; kind and number identify a row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Connection, LargeBinary, column, delete, insert, select, table

from gearman_server.jobs.store import KeyKind, KnownKey, submission_key

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job

_keys: Final = table(
    "gearman_keys",
    column("kind"),
    column("id", BigInteger()),
    column("known_until"),
    column("handle", LargeBinary()),
    column("function_name", LargeBinary()),
    column("known_key", LargeBinary()),
)
#: Ids in one statement.
_MAX_IDS: Final = 500


def write_keys(connection: Connection, keys: Sequence[KnownKey]) -> None:
    """Add keys; each replaces one of the same kind and number."""
    if keys:
        delete_keys(connection, keys)
        connection.execute(insert(_keys), [_row(key) for key in keys])


def delete_keys(connection: Connection, keys: Iterable[KnownKey]) -> None:
    """Remove the keys that exist."""
    ids: dict[KeyKind, list[int]] = defaultdict(list)
    for key in keys:
        ids[key.kind].append(key.number)
    for kind, numbers in ids.items():
        for at in range(0, len(numbers), _MAX_IDS):
            some = _keys.c.id.in_(numbers[at : at + _MAX_IDS])
            connection.execute(delete(_keys).where(_keys.c.kind == int(kind), some))


def read_keys(connection: Connection, unix_now: float) -> list[KnownKey]:
    """All keys whose time is not over, the oldest first."""
    rows = connection.execute(select(_keys).where(_keys.c.known_until > unix_now).order_by(_keys.c.id)).mappings()
    return [_key(dict(row)) for row in rows]


def delete_lapsed(connection: Connection, unix_now: float) -> None:
    """Remove the keys whose time is over."""
    connection.execute(delete(_keys).where(_keys.c.known_until <= unix_now))


def submission_keys(jobs: Iterable[Job]) -> list[KnownKey]:
    """The keys of those jobs that were submitted with an id."""
    offset_s = time() - monotonic()
    keys = (submission_key(job, offset_s) for job in jobs if job.extras is not None)
    return [key for key in keys if key is not None]


def _row(key: KnownKey) -> dict[str, Any]:
    return {
        "kind": int(key.kind),
        "id": key.number,
        "known_until": key.until,
        "handle": key.handle,
        "function_name": key.function,
        "known_key": key.text,
    }


def _key(row: dict[str, Any]) -> KnownKey:
    function, text, handle = (bytes(row[name]) for name in ("function_name", "known_key", "handle"))
    return KnownKey(KeyKind(row["kind"]), function, text, handle, row["known_until"], row["id"])
