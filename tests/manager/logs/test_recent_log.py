"""The last lines of the log: those of one pool, worker or job, and followers that may not stay for ever."""

from __future__ import annotations

import logging

from gearman_manager.logs.recent_log import RecentLog, Subject


def test_lines_are_told_apart_by_pool_worker_and_job() -> None:
    log = RecentLog()
    for text, pool, worker, handle in (
        ("started", "mail", "mail/1", None),
        ("sent", "mail", "mail/1", "H:a:1"),
        ("also sent", "mail", "mail/2", "H:a:11"),  # a handle that begins like the other one
        ("printed", "print", "print/1", "H:b:1"),
        ("ready", None, None, None),
    ):
        log.emit(logging.makeLogRecord({"msg": text, "pool": pool, "worker": worker, "handle": handle}))
    assert log.lines(Subject(job="H:a:1")) == ["sent"]
    assert log.lines(Subject(job="H:a")) == []
    assert log.lines(Subject("mail")) == ["started", "sent", "also sent"]
    assert log.lines(Subject("mail/2", "H:a:11")) == ["also sent"]
    assert log.lines(Subject("print", "H:a:1")) == []
    assert len(log.lines()) == 5
    assert list(log.follow(Subject(job="H:b:1"), 0.0)) == ["printed"]


def test_a_reader_with_a_lifetime_gets_what_there_is_and_then_the_end() -> None:
    log = RecentLog()
    log.emit(logging.makeLogRecord({"msg": "one"}))
    assert list(log.follow(lifetime_s=0.0)) == ["one"]
