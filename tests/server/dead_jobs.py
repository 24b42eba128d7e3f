"""Helpers that make jobs fail for good and read the letters kept of them."""

from __future__ import annotations

from gearman_client.extensions import WORK_FAILURE

from .broker_harness import BrokerHarness


def kill(
    broker: BrokerHarness, function: bytes = b"f", workload: bytes = b"w", unique: bytes = b"", error: bytes = b"boom"
) -> bytes:
    """Makes a background job that fails; its handle."""
    handle = broker.peer().submit(function, workload, unique, "SUBMIT_JOB_BG")
    worker = broker.worker(function)
    assert worker.grab() == handle
    worker.send(WORK_FAILURE, handle, b"fail", b"", b"", error, b"Traceback:\n  line 1\n" + error)
    worker.leave()
    return handle


def listed(broker: BrokerHarness, conditions: bytes = b"") -> list[bytes]:
    """The handles in `dead list`, all pages together."""
    handles, after = [], b""
    operator = broker.peer()
    while True:
        *rows, end = operator.text(b"dead list " + conditions + after).split(b"\n")[:-1]
        assert end == b"."
        cells = [row.split(b"\t") for row in rows]
        handles += [row[0] for row in cells if len(row) > 2]
        if not cells or len(cells[-1]) != 2:
            return handles
        after = b" after=" + cells[-1][1]


def shown(broker: BrokerHarness, handle: bytes) -> dict[bytes, bytes]:
    """The fields of `dead show`, by name."""
    answer = broker.peer().text(b"dead show " + handle)
    assert answer.endswith(b"\n.\n")
    return dict(line.split(b"\t") for line in answer.split(b"\n")[:-2])
