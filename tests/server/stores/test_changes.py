"""Statements that change many rows name each of the ids, and no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from gearman_server.stores.rows import OWNER, delete_rows

BASE = 930_000_000_000_000_000
#: Sets of ids with long ranges, short ones and single ids, as jobs that end in nearly the order of their submission.
SOME = st.sets(st.integers(0, 120), max_size=100)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with create_engine("sqlite://").connect() as connection:
        connection.exec_driver_sql("CREATE TABLE gearman_jobs (id INTEGER PRIMARY KEY, owner INTEGER DEFAULT 1)")
        yield connection


@given(present=SOME, removed=SOME)
def test_just_the_rows_with_these_ids_are_deleted(connection: Connection, present: set[int], removed: set[int]) -> None:
    connection.exec_driver_sql("DELETE FROM gearman_jobs")
    for number in present:
        connection.exec_driver_sql(f"INSERT INTO gearman_jobs (id) VALUES ({BASE + number})")
    delete_rows(connection, [BASE + number for number in removed], OWNER)
    left = {row[0] - BASE for row in connection.exec_driver_sql("SELECT id FROM gearman_jobs")}
    assert left == present - removed


def test_ids_in_any_order_and_twice() -> None:
    with create_engine("sqlite://").connect() as connection:
        connection.exec_driver_sql("CREATE TABLE gearman_jobs (id INTEGER PRIMARY KEY, owner INTEGER DEFAULT 1)")
        connection.exec_driver_sql(f"INSERT INTO gearman_jobs (id) VALUES {', '.join(f'({n})' for n in range(5000))}")
        delete_rows(connection, [*range(4000, 2000, -1), *range(0, 5000, 2), 7, 7], OWNER)
        left = {row[0] for row in connection.exec_driver_sql("SELECT id FROM gearman_jobs")}
    assert left == set(range(5000)) - set(range(2001, 4001)) - set(range(0, 5000, 2)) - {7}
