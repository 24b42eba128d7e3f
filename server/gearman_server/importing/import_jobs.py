"""Imports the jobs of another server's table into our store. It owns the store meanwhile: our server may not run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from sqlalchemy.engine import URL

from gearman_server.errors import RefusedError, StartError, StoreError
from gearman_server.importing.gearmand_queue import GearmandQueue, QueuedJob
from gearman_server.jobs.functions import check_function_name
from gearman_server.jobs.job import PRIORITIES
from gearman_server.stores.database import Database
from gearman_server.stores.rows import Row, waiting_row
from gearman_server.stores.settings import DEFAULT_TIMEOUT_S

_ROWS_AT_ONCE: Final = 500


def import_jobs(queue: GearmandQueue, target: URL, handle_prefix: bytes, *, keeps: bool) -> tuple[int, list[str]]:
    """Commit all jobs of a queue to a store, then delete them from the queue unless it `keeps` them.

    Returns the number of jobs, and the reasons why others were left out.

    Raises:
        StartError: the store or the queue can't be used; nothing has been taken over, unless the text says so.
    """
    queue.check()  # first, so that no store is made for nothing
    database = Database(target, DEFAULT_TIMEOUT_S)
    database.open()
    try:
        numbers = database.reserve_numbers()
        left: list[str] = []
        keys: list[tuple[Any, Any]] = []
        database.insert_rows(_chunks(queue.jobs(), numbers.start, handle_prefix, left, keys))
    except StoreError as error:
        raise StartError(f"the store {database.name} can't be written: {error}; nothing is taken over") from error
    finally:
        database.close()
    if not keeps:
        queue.remove(keys)
    return len(keys), left


def _chunks(
    jobs: Iterator[QueuedJob], number: int, handle_prefix: bytes, left: list[str], keys: list[tuple[Any, Any]]
) -> Iterator[list[Row]]:
    """The rows in chunks. Adds the keys of these to `keys`, and the reasons for leaving others out to `left`."""
    now = time.time()
    while chunk := list(islice(jobs, _ROWS_AT_ONCE)):
        rows = []
        for job in chunk:
            try:
                rows.append(_row(job, number + len(keys), handle_prefix, now))
            except RefusedError as error:
                left.append(f"a job of {job.function!r} with the unique key {job.unique!r}: {error}")
            else:
                keys.append(job.key)
        yield rows


def _row(job: QueuedJob, number: int, handle_prefix: bytes, now: float) -> Row:
    check_function_name(job.function)
    if job.priority not in PRIORITIES:
        raise RefusedError(b"", f"its priority is {job.priority}".encode())
    run_at = float(job.run_at) if job.run_at > 0 else None
    handle = b"%b:%d" % (handle_prefix, number)
    texts = {"handle": handle, "function_name": job.function, "unique_key": job.unique, "workload": job.workload}
    return waiting_row(id=number, priority=job.priority, run_at=run_at, submitted_at=now, **texts)
