"""The broker's events in the log: how many lines of one kind there may be."""

from __future__ import annotations

import logging

import pytest

from gearman_server.event_log import MOST_LINES_A_SECOND, EventLog
from gearman_server.jobs.access import Identity
from gearman_server.jobs.events import JobQueued, RequestRefused


def test_a_flood_of_one_kind_of_event_is_cut_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    seconds = [7.0]
    write = EventLog(logging.WARNING, lambda: seconds[0])
    other = EventLog(logging.WARNING, lambda: seconds[0])
    refusal = RequestRefused(Identity("192.0.2.1", 5), b"QUEUE_ERROR", b"Job queue is full")
    with caplog.at_level(logging.WARNING, logger="gearman_server"):
        for _ in range(MOST_LINES_A_SECOND + 5):
            write(refusal)
        assert len(caplog.records) == MOST_LINES_A_SECOND
        other(refusal)  # the limit is for each kind alone
        assert len(caplog.records) == MOST_LINES_A_SECOND + 1
        seconds[0] = 8.0
        write(refusal)
        assert caplog.records[-1].getMessage().endswith("(and 5 more lines of this kind before it, left out)")
        assert vars(caplog.records[-1])["fields"]["left_out"] == 5
        write(refusal)
        assert "left out" not in caplog.records[-1].getMessage()


def test_at_level_debug_every_event_has_its_line(caplog: pytest.LogCaptureFixture) -> None:
    write = EventLog(logging.DEBUG, lambda: 7.0)
    with caplog.at_level(logging.DEBUG, logger="gearman_server"):
        for _ in range(MOST_LINES_A_SECOND + 5):
            write(JobQueued(b"H:test:1", b"f"))
    assert len(caplog.records) == MOST_LINES_A_SECOND + 5
