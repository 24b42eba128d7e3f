"""The broker's memory after a large backlog is done."""

from __future__ import annotations

import sys

from gearman_client.packet import PacketType

from ..broker_harness import BrokerHarness

JOBS = 30_000


def test_the_indexes_shrink_after_a_large_backlog_and_keep_their_entries(broker: BrokerHarness) -> None:
    client, table = broker.peer(), broker.broker.table
    handles = [client.submit(b"f", b"", b"%d" % number, kind="SUBMIT_JOB_BG") for number in range(JOBS)]
    by_key = table.by_key
    largest = sys.getsizeof(table.jobs), sys.getsizeof(by_key)
    worker = broker.worker(b"f")
    for handle in handles[:-1]:
        assert worker.grab() == handle
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
    assert (sys.getsizeof(table.jobs), sys.getsizeof(by_key)) == largest
    broker.broker.table.shrink()
    assert sys.getsizeof(table.jobs) < largest[0] / 1000
    assert sys.getsizeof(by_key) < largest[1] / 1000
    assert list(table.jobs) == handles[-1:]
    assert client.submit(b"f", b"", b"%d" % (JOBS - 1)) == handles[-1]
    assert worker.grab() == handles[-1]
