"""Open batches that nobody uses any more: what a server of a cluster sees of them, without a database."""

from __future__ import annotations

from gearman_server.cluster.shared_batches import AbandonedBatches, SharedBatch
from gearman_server.jobs.batch_rows import BatchRow, BatchState, StoredBatch
from gearman_server.sequels.job_batches import ABANDONED_AFTER_S


def idle(name: bytes, jobs: int) -> SharedBatch:
    row = BatchRow(
        name=name,
        state=BatchState.OPEN,
        is_cancelled=False,
        opened_at=0.0,
        closed_at=None,
        ended_at=None,
        callbacks=b"",
        unwritten={},
    )
    return SharedBatch(StoredBatch(row, {}), jobs, 0)


def test_a_batch_is_abandoned_that_was_idle_for_long_and_got_no_job_meanwhile() -> None:
    abandoned, late = AbandonedBatches(), 100 + ABANDONED_AFTER_S
    assert abandoned.note([idle(b"a", 1), idle(b"used", 1), idle(b"busy", 1)], 100) == []
    assert abandoned.note([idle(b"a", 1), idle(b"used", 2)], 700) == []  # one of them has a job that has not ended
    assert abandoned.note([idle(b"a", 1), idle(b"used", 2), idle(b"busy", 1)], late - 1) == []
    assert abandoned.note([idle(b"a", 1), idle(b"used", 2), idle(b"busy", 1)], late) == [b"a"]
    assert abandoned.note([idle(b"used", 2)], late + 700) == [b"used"]
