"""The log is followed for a bounded time, if the reader may not stay for ever."""

from __future__ import annotations

import logging

from gearman_manager.logs.recent_log import RecentLog


def test_a_reader_with_a_lifetime_gets_what_there_is_and_then_the_end() -> None:
    log = RecentLog()
    log.emit(logging.makeLogRecord({"msg": "one"}))
    assert list(log.follow(None, 0.0)) == ["one"]
