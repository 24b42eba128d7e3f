"""A worker's end is joined with its exit status, whichever process reaped it, and logged."""

from __future__ import annotations

import os
import signal
import time

import pytest

from gearman_manager.pools import exits as module
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.pool_state import PoolState

from .conftest import Staff

FAILING = ("sh", "-c", "echo first; echo second; echo third; echo why; exit 3")


def reaped_by_the_zygote(live: LiveWorker) -> None:
    """Reap a worker as its zygote would: in the test the workers are our own children."""
    os.waitpid(live.pid, 0)


def died(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if text.startswith("died")]


def test_a_status_that_comes_before_the_kernels_news_is_kept(staff: Staff, caplog: pytest.LogCaptureFixture) -> None:
    (live,) = staff.serving(1)
    os.kill(live.pid, signal.SIGKILL)
    reaped_by_the_zygote(live)
    staff.workforce.exited(live.pid, -9)
    staff.gone(live)
    assert died(caplog) == ["died (killed by SIGKILL), replaced now"]


def test_a_status_that_comes_after_the_kernels_news_is_waited_for(
    staff: Staff, caplog: pytest.LogCaptureFixture
) -> None:
    (live,) = staff.serving(1)
    os.kill(live.pid, signal.SIGKILL)
    reaped_by_the_zygote(live)
    staff.gone(live)
    assert not died(caplog)
    staff.workforce.exited(live.pid, 5)
    assert died(caplog) == ["died (exit status 5), replaced now"]
    with pytest.raises(OSError, match="Bad file"):  # of no more use
        os.fstat(live.pidfd)


def test_an_end_is_told_in_the_moment_in_which_the_pool_fails_though_its_status_comes_later(staff: Staff) -> None:
    staff.arrange(1)
    staff.workforce.reconcile(0.0)
    (live,) = staff.workers
    staff.fork(live)
    staff.slot(live).error("setup failed: no database")
    os.kill(live.pid, signal.SIGKILL)
    reaped_by_the_zygote(live)
    told: list[str] = []
    staff.workforce.wake = lambda: told.append(staff.pool.last_error)
    staff.gone(live)
    assert staff.pool.state is PoolState.FAILING
    assert told[-1] == f"mail/1 pid {live.pid}: ended: setup failed: no database"
    staff.workforce.exited(live.pid, 3)
    assert staff.pool.last_error == f"mail/1 pid {live.pid}: exit status 3: setup failed: no database"


def test_a_status_that_never_comes_is_logged_as_unknown(
    staff: Staff, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STATUS_WAIT_S", 0.01)
    (live,) = staff.serving(1)
    os.kill(live.pid, signal.SIGKILL)
    reaped_by_the_zygote(live)
    staff.gone(live)
    staff.until(lambda: died(caplog), "it is told")
    assert died(caplog) == ["died (for an unknown reason), replaced now"]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(live.pidfd)


def test_the_status_of_a_foreign_process_is_not_kept(staff: Staff) -> None:
    staff.exits.reaped(12345678, 0, still_known=False)
    assert not staff.exits._statuses


def test_an_expected_end_is_logged_with_the_number_of_jobs(staff: Staff, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (live,) = staff.serving(1)
    writer = staff.slot(live)
    writer.count(1, failed=False)
    writer.count(1, failed=True)
    writer.idle()
    staff.pool.target = 0
    staff.workforce.reconcile(0.0)
    staff.gone(live)
    assert "ended (killed by SIGTERM) after 2 jobs" in caplog.messages
    assert staff.pool.last_error == ""


def test_the_last_lines_of_the_output_are_the_reason(staff: Staff, caplog: pytest.LogCaptureFixture) -> None:
    staff.start.command = FAILING
    (live,) = staff.serving(1)
    staff.gone(live)
    assert staff.pool.last_error == f"mail/1 pid {live.pid}: exit status 3: second | third | why"
    assert died(caplog)[0].startswith("died (exit status 3), replaced ")


def test_lines_from_long_before_a_kill_are_not_blamed_for_it(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    staff.start.command = ("sh", "-c", "echo a warning of yesterday; exec sleep 60")
    (live,) = staff.serving(1)
    staff.until(lambda: live.output.last_lines, "it has written")
    monkeypatch.setattr("gearman_manager.pools.exits.KILLED_S", 0.0)  # that was long ago
    os.kill(live.pid, signal.SIGKILL)
    staff.gone(live)
    assert staff.pool.last_error == f"mail/1 pid {live.pid}: killed by SIGKILL"


def test_the_workers_own_reason_for_a_failed_start_is_used(staff: Staff) -> None:
    staff.start.command = FAILING
    staff.arrange(1)
    staff.workforce.reconcile(0.0)
    (live,) = staff.workers
    staff.fork(live)
    staff.slot(live).error("setup failed: no database")
    staff.gone(live)
    assert staff.pool.last_error.endswith("exit status 3: setup failed: no database")


def test_the_log_names_the_job_that_the_worker_had(staff: Staff, caplog: pytest.LogCaptureFixture) -> None:
    (live,) = staff.serving(1)
    staff.slot(live).begin(0, 0, b"H:7", time.monotonic_ns(), 0)
    os.kill(live.pid, signal.SIGKILL)
    staff.gone(live)
    (record,) = [record for record in caplog.records if record.getMessage().startswith("died")]
    assert (record.__dict__["function"], record.__dict__["handle"]) == ("mail", "H:7")
    assert record.__dict__["worker"] == "mail/1"
