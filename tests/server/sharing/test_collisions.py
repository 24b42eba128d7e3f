"""A batch that the database rolls back in favour of another transaction is written again at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Thread

import pytest
from sqlalchemy import text

from gearman_client.packet import PacketType

from .conftest import Cluster, grab, submit


def _sessions(cluster: Cluster) -> set[int]:
    """The ids of the servers' connections to the database."""
    if cluster.database.kind == "postgresql":
        found = cluster.database.rows(
            "pid", "pg_stat_activity WHERE application_name = current_schema() AND pid <> pg_backend_pid()"
        )
    else:
        found = cluster.database.rows(
            "id", "information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
    return {row[0] for row in found}


def test_a_deadlock_is_no_failure_for_submitters_and_costs_no_connection(
    cluster: Cluster, until: Callable[..., None]
) -> None:
    server = cluster.start()
    submit(server.peer(), 20)
    worker, submitter = server.peer(), server.peer()
    job = grab(worker)
    assert job is not None
    until(lambda: cluster.database.rows("id", "gearman_jobs WHERE state <> 0"))
    before = _sessions(cluster)
    answers: list[tuple[int, bytes]] = []
    with cluster.database.connect() as connection:
        foreign = connection.begin()
        # It has changed more than the batch, so it is the batch that has to give way.
        connection.execute(text("UPDATE gearman_jobs SET requeues = requeues + 1"))
        worker.send(PacketType.WORK_COMPLETE, job[0], b"")
        asking = Thread(target=lambda: answers.append(submitter.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"more")))
        asking.start()
        until(lambda: cluster.waits_for_a_row())
        connection.execute(text("UPDATE gearman_servers SET fence = fence + 1"))  # which the batch has
        foreign.rollback()
    asking.join(20.0)
    assert [packet_type for packet_type, _ in answers] == [PacketType.JOB_CREATED]
    until(lambda: len(cluster.database.rows("id", "gearman_jobs")) == 20)
    assert before <= _sessions(cluster)


def test_a_deadlock_of_a_batch_that_nobody_waits_for_is_no_trouble_of_the_store(
    cluster: Cluster, until: Callable[..., None]
) -> None:
    server = cluster.start()
    submit(server.peer(), 20)
    worker = server.peer()
    job = grab(worker)
    assert job is not None
    until(lambda: cluster.database.rows("id", "gearman_jobs WHERE state <> 0"))
    with cluster.database.connect() as connection:
        foreign = connection.begin()
        connection.execute(text("UPDATE gearman_jobs SET requeues = requeues + 1"))
        worker.send(PacketType.WORK_COMPLETE, job[0], b"")
        until(lambda: cluster.waits_for_a_row())
        connection.execute(text("UPDATE gearman_servers SET fence = fence + 1"))
        foreign.rollback()
    until(lambda: len(cluster.database.rows("id", "gearman_jobs")) == 19)
    server.signal(signal.SIGTERM)
    server.wait()
    with pytest.raises(AssertionError, match="no log line"):
        server.wait_for_log(" fails: ")
