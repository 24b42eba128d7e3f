"""A transaction of somebody else stays open for long: the database keeps all that was changed and deleted since."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from gearman_server.sharing.adopting import Position, adopt
from gearman_server.stores.rows import OWNER_INDEX

from .conftest import Cluster, Until, numbered, run_all, submit, waiting

#: As many rows again; the ids of one server follow one another.
_COPIED = (
    "state, priority, requeues, failures, run_at, submitted_at, handle, function_name, unique_key, reducer, last_error,"
    " workload, owner"
)
_MORE_ROWS = f"INSERT INTO gearman_jobs (id, {_COPIED}) SELECT id + {{}}, {_COPIED} FROM gearman_jobs"


@contextmanager
def old_transaction(cluster: Cluster) -> Iterator[None]:
    """One that sees the tables as they are now until its end."""
    with cluster.database.connect() as connection:
        if cluster.database.kind == "postgresql":
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        else:
            connection.execute(text("START TRANSACTION WITH CONSISTENT SNAPSHOT"))
        seen = connection.execute(text("SELECT count(*) FROM gearman_jobs")).scalar()
        yield
        assert connection.execute(text("SELECT count(*) FROM gearman_jobs")).scalar() == seen


@pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)
def test_jobs_end_beats_go_on_and_the_dead_are_adopted_meanwhile(cluster: Cluster, until: Until) -> None:
    dead, living = cluster.start(), cluster.start()
    submit(dead.peer(), 200)
    with old_transaction(cluster):
        assert run_all(dead.peer(), 100) == numbered(100)
        submit(dead.peer(), 900, workload=b"x")
        until(lambda: sum(cluster.owners().values()) == 1000)
        dead.signal(signal.SIGKILL)
        until(lambda: waiting(living) == 1000)
        assert run_all(living.peer(), 1000) == [*numbered(200)[100:], *numbered(900, b"x")]
        until(lambda: cluster.owners() == {})
        (before,) = _beats(cluster)
        until(lambda: _beats(cluster) > [before + 2])


def _beats(cluster: Cluster) -> list[int]:
    return [row[0] for row in cluster.database.rows("beat", "gearman_beats WHERE facts <> ''")][-1:]


def test_what_is_adopted_is_found_without_going_through_what_was_adopted_before(cluster: Cluster) -> None:
    """Else a million rows take hours while such a transaction is open, since the database can't forget where they were.
    The table has grown so fast that the database knows nothing of its contents yet."""
    server = cluster.start()
    submit(server.peer(), 1000)
    server.signal(signal.SIGKILL)
    for power in range(4):
        cluster.database.execute(_MORE_ROWS.format(1000 << power))
    ((owner, priority),) = cluster.database.rows("DISTINCT owner, priority", "gearman_jobs")
    statements: list[tuple[str, Any]] = []
    with cluster.database.connect() as connection, connection.begin():
        first = adopt(connection, Position(owner, priority, -1), 7)
        event.listen(connection, "before_cursor_execute", lambda *call: statements.append((call[2], call[3])))
        second = adopt(connection, Position(owner, priority, max(first.ids)), 7)
        assert len(first.ids) == len(second.ids) > 0
        assert max(first.ids) < min(second.ids)
        find, change = (_plan(connection, *each) for each in statements[:2])
    if cluster.database.kind == "postgresql":
        assert f"Index Scan using {OWNER_INDEX}" in find
        assert "(id > " in find.partition("Index Cond")[2]
        assert OWNER_INDEX not in change, "as many as the server has"
    else:
        assert f" range {OWNER_INDEX} " in _without_other_keys(find)
        assert " range PRIMARY " in _without_other_keys(change)


def _plan(connection: Connection, statement: str, parameters: Any) -> str:
    rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
    return "\n".join(" ".join(str(column) for column in row if column is not None) for row in rows)


def _without_other_keys(plan: str) -> str:
    """MariaDB names the possible keys too, separated by commas, between the type and the key."""
    words = plan.split(" ")
    at = words.index("range")
    return " ".join(["", "range", words[at + 2], ""])
