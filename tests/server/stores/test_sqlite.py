"""Jobs without attempts in SQLite: one statement, a transaction of its own, for all that they have in common."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from gearman_server.jobs.function import Function
from gearman_server.jobs.job import NORMAL, PRIORITIES, Extras, Job, JobExtras, extras_of
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.schedule_rules import ScheduleMark
from gearman_server.jobs.store import StoredJob
from gearman_server.options.reading import read_options
from gearman_server.stores.batch import Batch
from gearman_server.stores.database import Database
from gearman_server.stores.engine import parse_url
from gearman_server.stores.small_tables import read_marks
from gearman_server.stores.sqlite import MAX_ROWS, plain_insert

PAIRS = b"", b"retries=2\0tag=a", b"tag=a\0header:x=\xff", b"key=k"
OPTIONS: list[Extras | None] = [extras_of(read_options(pairs)) for pairs in PAIRS]
#: Those of a job in the line of its key.
IN_LINE = JobExtras()
IN_LINE.own, IN_LINE.key, IN_LINE.order = b"key=k", b"k", 7
OPTIONS.append(IN_LINE)
FUNCTIONS = [Function(name, FunctionPolicy()) for name in (b"f", b"g", b"\xff" * 8192)]
numbers = count(1)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory() as folder:
        opened = Database(parse_url(f"sqlite:///{Path(folder) / 'jobs.db'}"), timeout_s=5.0)
        opened.open()
        yield opened
        opened.close()


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """The statements to the driver from now on, on this connection and later ones."""
    told: list[str] = []

    def trace(driver_connection: Any, _record: object = None) -> None:
        driver_connection.set_trace_callback(told.append)

    trace(database._connected().connection.driver_connection)
    event.listen(database.engine, "connect", trace)
    yield told
    event.remove(database.engine, "connect", trace)
    database._drop_connection()


def a_job(
    function: Function = FUNCTIONS[0],
    unique: bytes = b"",
    workload: bytes = b"w",
    priority: int = 1,
    prefix: bytes = b"H:test",
    extras: Extras | None = None,
) -> Job:
    job = Job(b"%s:%d" % (prefix, next(numbers)), function, unique, workload, priority, now=float(next(numbers)))
    job.extras = extras
    return job


def batch_of(jobs: list[Job]) -> Batch:
    batch = Batch()
    batch.inserts = dict.fromkeys(jobs)
    return batch


def stored(database: Database, jobs: list[Job]) -> dict[bytes, StoredJob]:
    """The stored rows, by their ids."""
    rows: dict[bytes, StoredJob] = {}
    first = min(int(job.handle.rpartition(b":")[2]) for job in jobs)
    pages = database.stored_rows(end=1 << 62)
    for priority in PRIORITIES:
        last_id: int | None = first - 1
        while last_id is not None:
            page = pages.page(priority, last_id)
            rows.update((job.handle, job) for job in page.jobs)
            last_id = page.last_id
    pages.close()
    return rows


jobs_of_all_kinds = st.builds(
    a_job,
    st.sampled_from(FUNCTIONS),
    st.sampled_from([b"", b"-", b"\0\xff", b"u" * 64]),
    st.binary(max_size=20),
    st.sampled_from(PRIORITIES),
    st.sampled_from([b"H:test", b"H:caf\xc3", b"H:1:2"]),
    st.sampled_from(OPTIONS),
)


@settings(deadline=None)  # there may be a thousand jobs, and the disk may be busy
@given(
    st.one_of(
        st.lists(jobs_of_all_kinds, min_size=1),
        st.builds(
            lambda n, extras: [a_job(extras=extras) for _ in range(n)],
            st.integers(1, 2 * MAX_ROWS),
            st.sampled_from(OPTIONS),
        ),
    )
)
def test_the_stored_values_are_the_given_ones(database: Database, jobs: list[Job]) -> None:
    assert database.write(batch_of(jobs), is_repeated=False) == []
    rows = stored(database, jobs)
    offset_s = rows[jobs[0].handle].submitted_at - jobs[0].submitted
    for job in jobs:
        row = rows.pop(job.handle)
        assert (row.function, row.unique, row.workload) == (job.function.name, job.unique, job.workload)
        assert (row.priority, row.was_running, row.requeues, row.failures) == (job.priority, False, 0, 0)
        assert row.options == job.kept_pairs
        assert row.submitted_at == pytest.approx(offset_s + job.submitted, abs=1e-3)
    assert rows == {}


@pytest.mark.parametrize("number", [1, 5, MAX_ROWS])
@pytest.mark.parametrize("kinds", [OPTIONS[:1], OPTIONS[1:2], OPTIONS])
def test_a_batch_of_plain_jobs_is_one_statement_and_one_transaction(
    database: Database, statements: list[str], number: int, kinds: list[Extras | None]
) -> None:
    jobs = [a_job(extras=kinds[at % len(kinds)]) for at in range(number)]
    database.write(batch_of(jobs), is_repeated=False)
    assert [statement.split()[0] for statement in statements] == ["INSERT"]


@pytest.mark.parametrize(
    "jobs", [[a_job() for _ in range(MAX_ROWS + 1)], [a_job(workload=b"w" * (3 << 20)) for _ in range(2)]]
)
def test_several_statements_are_one_transaction(database: Database, statements: list[str], jobs: list[Job]) -> None:
    database.write(batch_of(jobs), is_repeated=False)
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "INSERT", "INSERT", "COMMIT"]


def test_other_changes_of_a_batch_are_in_the_same_transaction(database: Database, statements: list[str]) -> None:
    batch = batch_of([a_job()])
    batch.deletes.append(next(numbers))
    database.write(batch, is_repeated=False)
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "DELETE", "INSERT", "COMMIT"]


def test_only_a_job_that_can_not_be_stored_is_refused(database: Database) -> None:
    jobs = [a_job() for _ in range(5)]
    database.write(batch_of(jobs[2:3]), is_repeated=False)
    assert database.write(batch_of(jobs), is_repeated=False) == [jobs[2]]
    assert set(stored(database, jobs)) == {job.handle for job in jobs}


def test_a_batch_with_one_refused_job_is_still_one_transaction(database: Database, statements: list[str]) -> None:
    jobs = [a_job() for _ in range(3)]
    database.write(batch_of(jobs[:1]), is_repeated=False)
    batch = batch_of(jobs)
    batch.marks["tick"] = ScheduleMark("every 1 s", 1.0, None)
    statements.clear()
    assert database.write(batch, is_repeated=False) == jobs[:1]
    transactions = "\n".join(statements).split("BEGIN IMMEDIATE")
    assert len([one for one in transactions if "INSERT" in one and "COMMIT" in one]) == 1
    assert set(stored(database, jobs)) == {job.handle for job in jobs}
    assert database.call(read_marks) == batch.marks


def test_numbers_of_handles_with_prefixes_that_begin_alike() -> None:
    handles = [b"H:host:7", b"H:host:8", b"H:host:other:9", b"H:elsewhere:10"]
    jobs = [Job(handle, Function(b"f", FunctionPolicy()), b"", b"", NORMAL, 0.0) for handle in handles]
    _, values = plain_insert(jobs, 0.0)
    assert [value for value in values if isinstance(value, int) and value > NORMAL] == [7, 8, 9, 10]
