"""Keys that are known in a whole cluster: ids of submissions, and unique keys of jobs that have `unique_for`, or whose
function has `unique_scope: cluster`.

A row has the digest of the key as its primary key, so that the insert of a second one fails, whichever server makes it.
The rows are written with the jobs: what has no such option pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from time import monotonic, time
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, LargeBinary, column, delete, select, table, update
from sqlalchemy.dialects import mysql, postgresql

from gearman_server.jobs.job import Job
from gearman_server.jobs.store import KeyKind, KnownKey, number_of, submission_key, unique_key
from gearman_server.stores.keys_table import read_keys
from gearman_server.stores.rows import JOBS

_keys: Final = table(
    "gearman_shared_keys",
    column("digest", LargeBinary()),
    column("kind"),
    column("known_until"),
    column("handle", LargeBinary()),
)
_c: Final = _keys.c
_jobs: Final = table(JOBS, column("id", BigInteger()))
#: Rows in one statement.
_MAX_ROWS: Final = 500
#: Rows that are removed at once, because their time is over; the others follow with the next look.
_MOST_AT_ONCE: Final = 10_000

#: Until when a unique key is known whose job has not ended: its end says for how long from then.
_UNTIL_ITS_END: Final = 1e12


def _shared_keys(job: Job, offset_s: float) -> list[KnownKey]:
    """The keys of the job that are known in a whole cluster."""
    if not job.is_background:
        return []
    keys = [submission_key(job, offset_s)]
    options = job.rare.options
    if job.rare.is_key_shared or (options is not None and options.unique_for_s):
        keys.append(unique_key(job, _UNTIL_ITS_END))
    return [key for key in keys if key is not None]


def lock_keys(connection: Connection, changes: Iterable[KnownKey], jobs: Iterable[Job]) -> None:
    """Lock the rows of unique keys that these changes and `claim_keys` are about, those that are not there too, in one
    order that is the same in all servers: two that end and submit jobs with the same keys don't wait for one another.
    Ids of submissions are rarely equal."""
    keys = [*changes, *(key for job in jobs for key in _shared_keys(job, 0.0))]
    rows = {_digest(key): _row(key) for key in keys if key.kind is KeyKind.UNIQUE}
    digests = sorted(rows)
    for at in range(0, len(digests), _MAX_ROWS):
        connection.execute(_locking(connection), [rows[digest] for digest in digests[at : at + _MAX_ROWS]])


def _locking(connection: Connection) -> Any:
    if connection.dialect.name == "postgresql":
        statement = postgresql.insert(_keys)
        return statement.on_conflict_do_update(index_elements=["digest"], set_={"digest": statement.excluded.digest})
    return mysql.insert(_keys).on_duplicate_key_update(digest=_c.digest)


def claim_keys(connection: Connection, jobs: Iterable[Job]) -> dict[Job, bytes]:
    """Write the keys of these jobs. Returns those that have a key which is another job's, with that one's handle."""
    offset_s = time() - monotonic()
    wanted = [(key, job) for job in jobs for key in _shared_keys(job, offset_s)]
    if not wanted:
        return {}
    rows = {_digest(key): _row(key) for key, _ in wanted}
    handles = _add(connection, rows)
    known: dict[Job, bytes] = {}
    for key, job in wanted:
        handle = handles.get(_digest(key), job.handle)
        if handle != job.handle:
            known[job] = handle
    return known


def _add(connection: Connection, rows: Mapping[bytes, Mapping[str, Any]]) -> dict[bytes, bytes]:
    """Add rows. Returns the handles of those that were there before, by digest. The order of the digests is the same in
    all servers, so that two of them don't wait for one another."""
    found: dict[bytes, bytes] = {}
    digests = sorted(rows)
    for at in range(0, len(digests), _MAX_ROWS):
        some = digests[at : at + _MAX_ROWS]
        added = connection.execute(_insert(connection), [rows[digest] for digest in some]).rowcount
        if added != len(some) or connection.dialect.name != "postgresql":
            found.update(_those_of_others(connection, {digest: rows[digest] for digest in some}))
    return found


def _insert(connection: Connection) -> Any:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(_keys).on_conflict_do_nothing()
    # With IGNORE two that find the same row would share its lock, and then both wait for it to be theirs alone.
    return _locking(connection)


def _those_of_others(connection: Connection, rows: Mapping[bytes, Mapping[str, Any]]) -> dict[bytes, bytes]:
    """The handles of the rows that are not these; those whose time is over are taken over, and those whose job is gone:
    a failover of the database may have lost its end, for instance."""
    found: dict[bytes, bytes] = {}
    now = time()
    query = select(_c.digest, _c.handle, _c.known_until).where(_c.digest.in_(list(rows))).with_for_update()
    there = [(bytes(digest), bytes(handle), until) for digest, handle, until in connection.execute(query).all()]
    living = _living(connection, [number_of(handle) for _, handle, until in there if until == _UNTIL_ITS_END])
    for digest, handle, until in there:
        row = rows[digest]
        is_over = until <= now if until != _UNTIL_ITS_END else number_of(handle) not in living
        if handle != row["handle"] and not is_over:
            found[digest] = handle
        elif (handle, until) != (row["handle"], row["known_until"]):
            values = {"handle": row["handle"], "known_until": row["known_until"]}
            connection.execute(update(_keys).where(_c.digest == digest).values(values))
    return found


def _living(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Those of the jobs that have a row; each is written and deleted together with its key."""
    return {int(row[0]) for row in connection.execute(select(_jobs.c.id).where(_jobs.c.id.in_(ids)))} if ids else set()


def change_keys(connection: Connection, changes: Mapping[KnownKey, bool]) -> None:
    """Write keys (True), unless they are other jobs', and remove those that are these jobs' (False)."""
    written = {_digest(key): _row(key) for key, is_written in changes.items() if is_written}
    if written:
        _add(connection, written)
    for kind in KeyKind:  # a job has one key of each kind
        gone = sorted(
            (_digest(key), key.handle) for key, is_written in changes.items() if not is_written and key.kind is kind
        )
        for at in range(0, len(gone), _MAX_ROWS):
            digests, handles = zip(*gone[at : at + _MAX_ROWS], strict=True)
            connection.execute(delete(_keys).where(_c.digest.in_(digests), _c.handle.in_(handles)))


def take_over_keys(connection: Connection) -> None:
    """Write the keys that the store's former only server knew."""
    _add(connection, {_digest(key): _row(key) for key in read_keys(connection, time())})


def tidy(connection: Connection, unix_now: float) -> int:
    """Remove keys whose time is over."""
    query = select(_c.digest).where(_c.known_until <= unix_now).limit(_MOST_AT_ONCE)
    digests = [bytes(row[0]) for row in connection.execute(query)]
    gone = 0
    for at in range(0, len(digests), _MAX_ROWS):
        some = _c.digest.in_(digests[at : at + _MAX_ROWS])
        gone += connection.execute(delete(_keys).where(some, _c.known_until <= unix_now)).rowcount
    return gone


def _digest(key: KnownKey) -> bytes:
    return sha256(b"%d %d %s%s" % (key.kind, len(key.function), key.function, key.text)).digest()


def _row(key: KnownKey) -> dict[str, Any]:
    return {"digest": _digest(key), "kind": int(key.kind), "known_until": key.until, "handle": key.handle}
