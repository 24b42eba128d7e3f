"""Processes that a worker left behind in another session are found by their environment, and killed."""

from __future__ import annotations

import os
import signal

import gevent
import pytest

from gearman_manager.host import process
from gearman_manager.pools import leftovers as module
from gearman_manager.pools.leftovers import Leftovers
from gearman_manager.worker.order import CLIENT_ID_VARIABLE

DEADLINE_S = 10.0


def left_behind(client_id: str) -> process.Child:
    return process.start(["sleep", "600"], (), 1, {**os.environ, CLIENT_ID_VARIABLE: client_id})


def test_only_leftovers_of_a_worker_that_is_gone_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELAY_S", 0.01)
    mine, others, known = (left_behind(f"gm:leftovers/mail/{name}") for name in ("1", "2", "1"))
    Leftovers(lambda: {known.pid}).left_by("gm:leftovers/mail/1")
    try:
        with gevent.Timeout(DEADLINE_S):
            while (status := process.exit_status(mine.pidfd)) is None:
                gevent.sleep(0.005)
        assert status == -signal.SIGKILL
        assert process.exit_status(others.pidfd) is None
        assert process.exit_status(known.pidfd) is None
    finally:
        for child in (others, known):
            process.send_signal(child.pidfd, signal.SIGKILL)
            os.waitpid(child.pid, 0)
