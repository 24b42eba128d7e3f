"""The parts that watch processes beside the loop: orphan reaper, limit enforcer and doorbell."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import gevent
import pytest

from gearman_manager.host import process
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.supervisor import limit_enforcer as module
from gearman_manager.supervisor.doorbell import Doorbell
from gearman_manager.supervisor.limit_enforcer import LimitEnforcer
from gearman_manager.supervisor.orphan_reaper import OrphanReaper

from ..pools.conftest import DEADLINE_S, Staff

S = 1_000_000_000


@pytest.fixture
def staff() -> Iterator[Staff]:
    made = Staff()
    yield made
    made.close()


@pytest.fixture
def enforcer(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> Iterator[LimitEnforcer]:
    monkeypatch.setattr(module, "INTERVAL_S", 0.01)
    made = LimitEnforcer(staff.workforce, staff.woken.set, staff.exits._oom_kills)
    made.start()
    yield made
    made.close()


def begin_job(staff: Staff, live: LiveWorker, deadline_ns: int = 0) -> None:
    staff.slot(live).begin(0, 0, b"H:1", time.monotonic_ns(), deadline_ns)


@pytest.mark.usefixtures("enforcer")
def test_a_job_beyond_its_grace_ends_with_its_worker(staff: Staff) -> None:
    late, fine, within_grace = staff.serving(3)
    now_ns = time.monotonic_ns()
    begin_job(staff, late, now_ns - 2 * S)
    begin_job(staff, fine)
    begin_job(staff, within_grace, now_ns + 60 * S)
    staff.gone(late)
    assert staff.workers == [fine, within_grace]
    assert staff.pool.last_error == f"mail/1 pid {late.pid}: did not react to its timeout, killed by SIGKILL"


@pytest.mark.usefixtures("enforcer")
def test_a_worker_far_over_its_memory_limit_is_killed_during_a_job(staff: Staff) -> None:
    staff.start.command = ("sh", "-c", "exec python3 -c 'import time; x = b\"1\" * 20000000; time.sleep(600)'")
    (live,) = staff.serving(1, max_memory="4MB")
    begin_job(staff, live)
    staff.gone(live)
    assert "took more than 1.5 times its max_memory of 4000000 bytes, killed by SIGKILL" in staff.pool.last_error


def test_a_worker_whose_overdue_job_has_just_ended_is_continued(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    (live,) = staff.serving(1)
    begin_job(staff, live, 1)
    enforcer = LimitEnforcer(staff.workforce, staff.woken.set, staff.exits._oom_kills)
    staff.slot(live).idle()
    sent: list[signal.Signals] = []
    monkeypatch.setattr(process, "send_signal", lambda _pidfd, number: sent.append(number))
    enforcer._end_overdue(live, time.monotonic_ns())
    monkeypatch.undo()
    assert not live.doom
    assert sent == [signal.SIGSTOP, signal.SIGCONT]


def test_orphans_are_reaped_and_own_processes_are_not(staff: Staff) -> None:
    mine = process.start(["sleep", "600"], (), 1)
    reaper = OrphanReaper(staff.workforce, lambda: {mine.pid})
    reaper.start()
    try:
        orphan = process.start(["true"], (), 1)
        staff.until(lambda: not os.path.exists(f"/proc/{orphan.pid}"), "it is reaped")
        os.kill(mine.pid, signal.SIGKILL)
        assert os.waitid(os.P_PIDFD, mine.pidfd, os.WEXITED | os.WNOWAIT) is not None
        reaper.reap()
        assert process.exit_status(mine.pidfd) == -signal.SIGKILL
    finally:
        reaper.close()
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


def test_the_workforce_is_told_the_status_of_a_reaped_worker(staff: Staff) -> None:
    (live,) = staff.serving(1)
    reaper = OrphanReaper(staff.workforce, set)
    os.kill(live.pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, live.pidfd, os.WEXITED | os.WNOWAIT)
    reaper.reap()  # before the kernel's report of its end has been read
    staff.gone(live)
    assert "killed by SIGKILL" in staff.pool.last_error
    reaper.close()


def test_a_ring_of_the_doorbell_is_answered_once() -> None:
    rung = gevent.event.Event()
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    Doorbell(descriptor, rung.set).start()
    os.eventfd_write(descriptor, 2)
    assert rung.wait(DEADLINE_S)
    rung.clear()
    gevent.sleep(0.01)
    assert not rung.is_set()
