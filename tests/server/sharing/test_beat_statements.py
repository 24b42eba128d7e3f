"""The statements of a beat: who there is, and whether any batch of jobs is due."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from gearman_server.jobs.batch_rows import BatchState
from gearman_server.sharing.beat_statements import BeatStatements
from gearman_server.sharing.servers_table import read_members

from .conftest import Cluster

_COUNTS = "is_cancelled, jobs, complete, failed, expired, cancelled, stopped"


@pytest.fixture
def statements(cluster: Cluster) -> Iterator[BeatStatements]:
    """Over a connection as a heart has it, to the tables of a server that has ended."""
    server = cluster.start()
    server.stop()
    engine = create_engine(cluster.database.url, poolclass=NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield BeatStatements(connection)


def test_a_beat_is_seen_by_all_and_tells_the_servers_facts(cluster: Cluster, statements: BeatStatements) -> None:
    before, has_due = statements.read(looks_for_batches=False)
    assert has_due is None, "nobody has looked"
    for beats in (1, 2):
        statements.beat(before[0].id, b"\0facts\xff")
        (member,), _ = statements.read(looks_for_batches=False)
        assert member == before[0]._replace(beat=(before[0].beat or 0) + beats, facts=b"\0facts\xff")
    with cluster.database.connect() as connection:
        assert read_members(connection) == [member]


@pytest.mark.parametrize(
    ("state", "row", "is_due"),
    [
        (BatchState.OPEN, "0, 2, 1, 1, 0, 0, 0", False),
        (BatchState.CLOSED, "0, 6, 1, 1, 1, 1, 1", False),
        (BatchState.CLOSED, "0, 5, 1, 1, 1, 1, 1", True),
        (BatchState.CLOSED, "0, NULL, 0, 0, 0, 0, 0", True),
        (BatchState.CLOSED, "1, 2, 1, 0, 0, 0, 0", True),
        (BatchState.OPEN, "1, 0, 0, 0, 0, 0, 0", True),
        (BatchState.DONE, "1, 1, 0, 0, 0, 1, 0", False),
        (BatchState.DONE, "0, 1, 1, 0, 0, 0, 0", False),
    ],
    ids=str,
)
def test_every_second_beat_tells_whether_a_batch_is_over_or_cancelled(
    statements: BeatStatements, cluster: Cluster, state: BatchState, row: str, is_due: bool
) -> None:
    assert statements.read(looks_for_batches=True)[1] is False
    cluster.database.execute(
        f"INSERT INTO gearman_batches (name, opened_at, callbacks, unwritten, state, {_COUNTS})"
        f" VALUES ('b', 0, '', '', {int(state)}, {row})"
    )
    assert statements.read(looks_for_batches=True)[1] is is_due
