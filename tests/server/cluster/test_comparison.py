"""What a server finds when it compares its jobs with the rows that are its own."""

from __future__ import annotations

from gearman_client.packet import PacketType
from gearman_server.cluster.comparison import Comparison
from gearman_server.jobs.store import InsertsFailed, number_of

from ..broker_harness import BatchStore, DurableBroker


def compared(durable: DurableBroker, stored: set[int]) -> tuple[int, set[int]]:
    """The number of jobs that are missing, and the rows that are left over."""
    found: list[tuple[int, set[int]]] = []
    Comparison(durable.broker._life).start(stored, lambda *outcome: found.append(outcome))
    durable.do_chores()
    return found[0]


def test_a_row_whose_commit_is_not_told_yet_is_no_surplus(durable: DurableBroker, batch_store: BatchStore) -> None:
    """Its acknowledgement may leave at the end of this very pass."""
    durable.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    (job,) = durable.broker.table.jobs.values()
    batch_store.start_commit()
    assert compared(durable, {number_of(job.handle)}) == (0, set())


def test_what_is_missing_is_written_again_and_what_has_no_job_is_left_over(
    durable: DurableBroker, batch_store: BatchStore
) -> None:
    durable.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    (job,) = durable.broker.table.jobs.values()
    durable.commit()
    batch_store.rows.clear()
    assert compared(durable, {7}) == (1, {7})
    durable.commit()
    assert list(batch_store.rows) == [job.handle]


def test_a_job_whose_row_is_in_the_way_of_its_own_insert_is_others_and_acknowledged(
    durable: DurableBroker, batch_store: BatchStore
) -> None:
    """The commit got no answer, and had succeeded; then the server was declared dead."""
    durable.broker.durability.are_keys_shared = True
    peer = durable.peer()
    peer.ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
    (job,) = durable.broker.table.jobs.values()
    batch_store.start_commit()
    durable.broker._inserts.failed(InsertsFailed([job], are_unknown=True))
    durable.broker._inserts.failed(InsertsFailed([job], are_refused=True))
    assert peer.take() == [(PacketType.JOB_CREATED, job.handle)]
    assert durable.broker.table.jobs == {}
    assert durable.status(b"f") == (0, 0, 0)
