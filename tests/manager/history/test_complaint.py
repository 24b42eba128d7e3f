"""Of failures in a row the log has the first, and of those after a success again."""

from __future__ import annotations

import logging

import pytest

from gearman_manager.history.complaint import Complaint


def test_of_failures_in_a_row_the_first_is_told_until_one_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    complaint, other = (Complaint(logging.getLogger("history")) for _ in range(2))
    for _ in range(2):
        complaint.make("100 %: the disk is full")
        complaint.make("the disk is full still")
        other.make("so is the other one")
        complaint.end()
    first, second = "100 %: the disk is full", "so is the other one"
    assert caplog.messages == [first, second, first]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_with_an_exception_its_traceback_is_told(caplog: pytest.LogCaptureFixture) -> None:
    complaint = Complaint(logging.getLogger("history"))
    try:
        raise KeyError("gone")
    except KeyError as error:
        complaint.make("a look failed", error)
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "a look failed")
    assert "KeyError: 'gone'" in caplog.text
