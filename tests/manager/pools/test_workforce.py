"""The workforce, with real processes, pipes, pidfds and a real scoreboard; only the zygote is a stand-in."""

from __future__ import annotations

import os
import signal
import struct
import time
from pathlib import Path

import pytest

from gearman_manager.host import process
from gearman_manager.host.cgroup import Cgroup
from gearman_manager.ipc.scoreboard import SLOT_BYTES, SlotState, Wear
from gearman_manager.pools import workforce as module
from gearman_manager.pools.oom import OomKills
from gearman_manager.pools.pool import BUSY_LOOK_S, Pool, WorkerState
from gearman_manager.pools.pool_state import PoolState
from gearman_manager.pools.workforce import ORDER_TIMEOUT_S, SYSTEM_RETRY_S
from gearman_manager.supervisor.limit_enforcer import LimitEnforcer

from .conftest import DEAF, Staff

LATER = 1e9


def states(staff: Staff) -> list[WorkerState]:
    return [live.worker.state for live in staff.workers]


# --- start


def test_each_wanted_worker_is_ordered_with_a_slot_of_its_own(staff: Staff) -> None:
    staff.arrange(3)
    staff.workforce.reconcile(0.0)
    assert states(staff) == [WorkerState.ORDERED] * 3
    assert len({live.slots.own for live in staff.workers}) == 3
    assert [live.client_id for live in staff.workers] == [f"gm:{staff.manager}/mail/{n}" for n in (1, 2, 3)]
    staff.workforce.reconcile(0.0)
    assert len(staff.workers) == 3


def test_a_worker_of_several_jobs_takes_a_slot_for_each(staff: Staff) -> None:
    staff.arrange(1, concurrency=4)
    staff.workforce.reconcile(0.0)
    (live,) = staff.workers
    assert len(live.slots.places) == 4


def test_a_worker_counts_as_ready_once_its_slot_says_so(staff: Staff) -> None:
    staff.arrange(1)
    staff.workforce.reconcile(0.0)
    live = staff.fork(staff.workers[0])
    assert live.pid == staff.start.children[live.name].pid
    writer = staff.slot(live)
    staff.workforce.doorbell()
    assert live.worker.state is WorkerState.STARTING
    writer.idle()
    staff.workforce.doorbell()
    assert live.worker.state is WorkerState.READY
    assert staff.workforce.pids() == {live.pid}


def test_a_worker_whose_order_is_void_is_killed(staff: Staff) -> None:
    staff.arrange(0)
    child = process.start(["sleep", "600"], (), 1)
    keep = os.dup(child.pidfd)
    staff.workforce.spawned("mail/9", child.pid, child.pidfd)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(child.pidfd)
    ended: list[int | None] = []

    def has_ended() -> bool:
        ended.append(process.exit_status(keep))
        return ended[-1] is not None

    staff.until(has_ended, "it ends")
    assert ended[-1] == -signal.SIGKILL
    os.close(keep)


def test_a_failed_fork_is_a_crash_and_frees_the_slots(staff: Staff) -> None:
    staff.arrange(1)
    staff.workforce.reconcile(0.0)
    (live,) = staff.workers
    staff.workforce.spawn_failed(live.name, "no memory")
    assert not staff.workers
    assert staff.pool.last_error == "can't fork: no memory"
    assert staff.pool.state is PoolState.FAILING
    staff.workforce.spawn_failed(live.name, "again")
    assert staff.pool.last_error == "can't fork: no memory"
    assert staff.start._slots.take(1, 1, 1).own == live.slots.own


def test_a_process_that_can_not_be_started_is_a_crash_with_its_reason(staff: Staff) -> None:
    staff.arrange(1)
    staff.start.refusal = "can't start a worker: no"
    staff.workforce.reconcile(0.0)
    assert not staff.workers
    assert staff.pool.last_error == "can't start a worker: no"
    assert staff.woken.is_set()


def test_too_few_slots_are_no_fault_of_the_pool() -> None:
    staff = Staff(slots=1)
    staff.arrange(2)
    before = time.monotonic()
    staff.workforce.reconcile(before)
    assert len(staff.workers) == 1
    assert "the scoreboard holds 1 workers" in staff.pool.last_error
    assert staff.pool.crashes.consecutive == 0
    assert staff.pool.crashes.not_before == before + SYSTEM_RETRY_S
    staff.close()


def test_a_program_counts_as_ready_after_a_while(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRAM_START_S", 0.02)
    staff.arrange(1, command=["sleep", "600"], functions=["mail"])
    staff.workforce.reconcile(0.0)
    (live,) = staff.workers
    assert live.worker.state is WorkerState.STARTING
    staff.until(lambda: live.worker.state is WorkerState.READY, "it counts as ready")


def test_the_next_owner_of_a_slot_finds_it_empty(staff: Staff) -> None:
    (live,) = staff.serving(1)
    staff.slot(live).error("it broke")
    staff.workforce.kill(live, "was too large")
    staff.gone(live)
    staff.workforce.reconcile(LATER)
    (replacement,) = staff.workers
    assert replacement.slots.own == live.slots.own
    assert (replacement.slots.view().state, replacement.slots.view().last_error) == (SlotState.FREE, "")


# --- reports that make no sense


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(b"\xff" * 4096, id="all bits"),
        pytest.param(struct.pack("=QIBBBHH", 2, 0, 0, 3, 9, 0, 1), id="a job server that is not in the list"),
        pytest.param(struct.pack("=QIBBBHH", 2, 0, 0, 3, 0, 9, 1), id="a function that is not in the list"),
        pytest.param(struct.pack("=QIBBBHH", 2, 0, 0, 3, 0, 0, 7), id="more jobs than it can have"),
        pytest.param(struct.pack("=QIBBBHHQ", 2, 0, 0, 3, 0, 0, 1, 2**64 - 1), id="a job from the future"),
        pytest.param(
            struct.pack("=QIBBBHHQQQ", 2, 0, 0, 2, 0, 0, 0, 0, 0, 2**63), id="more jobs than there was time for"
        ),
        pytest.param(struct.pack("=QIBBBHHQQQQQ", 2, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 2**64 - 1), id="centuries of work"),
        pytest.param(struct.pack("=QIBB", 2, 1, 0, 2), id="another process"),
        pytest.param(struct.pack("=QIBBBHHQQQQQ3s", 2, 0, 0, 3, 0, 0, 1, 1, 0, 0, 0, 0, b"H:\n"), id="no handle"),
    ],
)
def test_a_worker_whose_report_makes_no_sense_is_ended_and_nobody_else(staff: Staff, nonsense: bytes) -> None:
    good, bad = staff.serving(2)
    at = bad.slots.own * SLOT_BYTES
    staff.links.scoreboard.memory[at : at + len(nonsense)] = nonsense
    staff.workforce.doorbell()
    bad.slots.jobs()
    assert bad.slots.fault
    assert not good.slots.fault
    limits = LimitEnforcer(staff.workforce, staff.woken.set, OomKills(Cgroup(()), Path("/nowhere")))
    limits.start()
    staff.gone(bad)
    limits.close()
    assert staff.workers == [good]
    assert "a job wrote nonsense into its report" in staff.pool.last_error


def test_a_ring_that_a_job_has_swallowed_is_made_up_for(staff: Staff) -> None:
    staff.arrange(1)
    staff.workforce.reconcile(0.0)
    live = staff.fork(staff.workers[0])
    staff.slot(live).idle()
    limits = LimitEnforcer(staff.workforce, staff.woken.set, OomKills(Cgroup(()), Path("/nowhere")))
    limits.start()
    staff.until(lambda: live.worker.state is WorkerState.READY, "it counts as registered")
    limits.close()


def test_a_pool_that_can_not_be_looked_after_does_not_stop_the_others(
    staff: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    staff.arrange(1)
    broken = Pool("broken")
    monkeypatch.setattr(staff.workforce, "pools", {"broken": broken, **staff.workforce.pools})
    broken.target = 1  # it has no order, so its worker can't be started
    broken.arrange("1")
    assert staff.workforce.reconcile(0.0) == SYSTEM_RETRY_S
    assert len(staff.workers) == 1
    assert broken.last_error == "can't be looked after: KeyError: 'broken'"


# --- the present state


def test_a_worker_with_a_job_is_busy_and_not_drained(staff: Staff) -> None:
    first, second, third = staff.serving(3)
    writer = staff.slot(third)
    writer.begin(0, 0, b"H:1", time.monotonic_ns(), 0)
    assert staff.workforce.busy(staff.pool) == {third.name: 0}
    staff.pool.target = 1
    staff.workforce.reconcile(0.0)
    assert [live.worker.state for live in (first, second, third)] == [
        WorkerState.DRAINING,
        WorkerState.DRAINING,
        WorkerState.READY,
    ]


def test_a_worker_that_has_one_job_after_the_other_leaves_when_there_are_too_many(staff: Staff) -> None:
    hourly, short = staff.serving(2)
    staff.slot(hourly).begin(0, 0, b"H:1", time.monotonic_ns(), 0)
    writer = staff.slot(short)
    writer.begin(0, 0, b"H:2", time.monotonic_ns(), 0)
    staff.pool.target = 1
    assert staff.workforce.reconcile(0.0) == BUSY_LOOK_S
    writer.count(1, failed=False)
    writer.begin(0, 0, b"H:3", time.monotonic_ns(), 0)
    staff.workforce.reconcile(BUSY_LOOK_S)
    assert (hourly.worker.state, short.worker.state) == (WorkerState.READY, WorkerState.DRAINING)


def test_of_workers_with_several_jobs_the_least_busy_may_leave(staff: Staff) -> None:
    workers = staff.serving(3, concurrency=3)
    for live, running in zip(workers, (2, 1, 3), strict=True):
        staff.slot(live).serve(running)
    assert staff.workforce.busy(staff.pool) == {workers[0].name: 0, workers[2].name: 0}
    for live in workers:
        staff.slot(live).serve(3)
    assert len(staff.workforce.busy(staff.pool)) == 3


def test_while_a_program_has_a_job_all_programs_count_as_busy(staff: Staff) -> None:
    staff.arrange(2, command=["sleep", "600"], functions=["mail"])
    staff.workforce.reconcile(0.0)
    assert staff.workforce.busy(staff.pool) == {}
    staff.pool.running_jobs = 1
    assert staff.workforce.busy(staff.pool).keys() == {live.name for live in staff.workers}


def test_a_pools_sums_include_workers_that_are_gone(staff: Staff) -> None:
    first, second = staff.serving(2)
    for live in (first, second):
        writer = staff.slot(live)
        writer.count(500, failed=False)
        writer.count(300, failed=True)
        writer.idle()
    assert staff.workforce.sums("mail") == (4, 1600)
    staff.workforce.kill(second, "was too large")
    staff.gone(second)
    assert staff.workforce.sums("mail") == (4, 1600)


# --- end


def test_a_surplus_worker_is_told_to_stop_and_its_end_is_no_crash(staff: Staff) -> None:
    (live,) = staff.serving(1)
    staff.pool.target = 0
    staff.workforce.reconcile(0.0)
    assert live.worker.state is WorkerState.DRAINING
    staff.gone(live)
    assert staff.pool.crashes.consecutive == 0
    assert staff.pool.last_error == ""


def test_a_worker_that_was_drained_before_its_fork_is_told_to_stop_after_it(staff: Staff) -> None:
    staff.arrange(1)
    staff.workforce.reconcile(0.0)
    (live,) = staff.workers
    staff.pool.target = 0
    staff.workforce.reconcile(0.0)
    assert live.worker.state is WorkerState.DRAINING
    staff.fork(live)
    staff.gone(live)


def test_a_worker_that_is_killed_has_crashed_and_is_replaced(staff: Staff) -> None:
    (live,) = staff.serving(1)
    os.kill(live.pid, signal.SIGKILL)
    staff.gone(live)
    assert "killed by SIGKILL" in staff.pool.last_error
    staff.workforce.reconcile(LATER)
    assert [replacement.name for replacement in staff.workers] == ["mail/2"]


def test_a_worker_that_leaves_by_itself_has_not_crashed(staff: Staff) -> None:
    (live,) = staff.serving(1)
    slot = staff.slot(live)
    slot.end(0, failed=False)
    slot.leave()
    os.kill(live.pid, signal.SIGTERM)
    staff.gone(live)
    assert staff.pool.crashes.consecutive == 0
    assert staff.pool.last_error == ""


def test_workers_that_leave_without_having_run_a_job_are_replaced_more_slowly(staff: Staff) -> None:
    staff.arrange(1)
    for _ in range(8):
        staff.workforce.reconcile(LATER)
        (live,) = staff.workers
        staff.register(staff.fork(live)).leave()
        os.kill(live.pid, signal.SIGTERM)
        staff.gone(live)
    assert staff.pool.crashes.consecutive > 1
    assert staff.pool.crashes.not_before > time.monotonic()


def test_processes_in_a_workers_session_end_with_it(staff: Staff) -> None:
    staff.start.command = ("sh", "-c", "sleep 600 & echo $!; wait")
    (live,) = staff.serving(1)
    staff.until(lambda: live.output.last_lines, "it says what it started")
    started = int(live.output.last_lines[0])
    os.kill(live.pid, signal.SIGKILL)
    staff.gone(live)
    staff.until(lambda: not _runs(started), "that is gone too")


def test_at_a_stop_workers_that_do_not_finish_in_time_are_killed(staff: Staff) -> None:
    staff.start.command = DEAF
    (live,) = staff.serving(1, stop_timeout="5s")
    staff.until(lambda: "deaf" in live.output.last_lines, "it does not hear")
    staff.workforce.stop(100.0)
    assert live.kill_at == 105.0
    assert staff.workforce.reconcile(104.9) == 105.0
    assert live.worker.state is WorkerState.DRAINING
    staff.workforce.reconcile(105.0)
    assert live.worker.state is WorkerState.STOPPING
    staff.gone(live)


def test_after_a_stop_nothing_is_arranged(staff: Staff) -> None:
    staff.arrange(1)
    staff.workforce.stop(0.0)
    staff.arrange(1, version=2)
    staff.workforce.reconcile(0.0)
    assert not staff.workers


def test_a_drained_program_has_as_much_time_as_at_a_stop(staff: Staff) -> None:
    staff.arrange(1, command=["sleep", "600"], functions=["mail"], stop_timeout="7s")
    staff.workforce.reconcile(0.0)
    (live,) = staff.workers
    staff.pool.target = 0
    now = time.monotonic()
    staff.workforce.reconcile(now)
    assert live.kill_at is not None
    assert now + 7 <= live.kill_at <= now + 8
    staff.gone(live)


def test_a_worker_that_breaks_a_limit_is_killed_with_its_reason(staff: Staff) -> None:
    (live,) = staff.serving(1)
    staff.workforce.kill(live, "took too much")
    assert live.worker.state is WorkerState.STOPPING
    staff.gone(live)
    assert staff.pool.last_error == f"mail/1 pid {live.pid}: took too much, killed by SIGKILL"


def test_kill_all_waits_for_no_worker(staff: Staff) -> None:
    staff.start.command = DEAF
    workers = staff.serving(2)
    staff.workforce.kill_all()
    for live in workers:
        staff.gone(live)


# --- wear


def test_a_worker_whose_lifetime_is_over_is_replaced(staff: Staff) -> None:
    (live,) = staff.serving(1, max_lifetime="100s")
    assert live.expires_at is not None
    assert 80 <= live.expires_at <= 100
    assert staff.workforce.reconcile(live.expires_at - 1) == live.expires_at
    assert not live.worker.is_worn
    staff.workforce.reconcile(live.expires_at)
    assert live.worker.is_worn
    assert len(staff.workers) == 2


@pytest.mark.parametrize(("wear", "leaves_alone"), [(Wear.LAST_JOBS, True), (Wear.MEMORY, False)])
def test_a_worker_near_a_limit_is_replaced(staff: Staff, wear: Wear, leaves_alone: bool) -> None:
    (live,) = staff.serving(1)
    writer = staff.slot(live)
    writer.idle()
    writer.wear(wear)
    staff.workforce.doorbell()
    assert (live.worker.is_worn, live.worker.leaves_alone) == (True, leaves_alone)
    staff.workforce.reconcile(0.0)
    assert len(staff.workers) == 2


def test_new_code_replaces_running_workers(staff: Staff) -> None:
    (old,) = staff.serving(1)
    staff.arrange(1, version=2)
    staff.workforce.reconcile(0.0)
    _, fresh = staff.workers
    assert old.worker.state is WorkerState.READY
    staff.register(staff.fork(fresh))
    staff.workforce.reconcile(0.0)
    assert old.worker.state is WorkerState.DRAINING


def test_the_workers_of_a_removed_pool_leave(staff: Staff) -> None:
    (live,) = staff.serving(1)
    staff.workforce.arrange({}, 0)
    staff.workforce.reconcile(0.0)
    assert live.worker.state is WorkerState.DRAINING
    staff.gone(live)
    assert staff.workforce.active == []


def test_a_worker_that_a_foreign_signal_stopped_is_replaced_once(
    staff: Staff, caplog: pytest.LogCaptureFixture
) -> None:
    (live,) = staff.serving(1)
    staff.workforce.stopped(live.pid)
    assert not live.worker.is_worn  # the process still runs
    os.kill(live.pid, signal.SIGSTOP)
    staff.until(lambda: process.is_stopped(live.pid), "it stands still")
    for _ in range(2):
        staff.workforce.stopped(live.pid)
    assert live.worker.is_worn
    assert len([text for text in caplog.messages if text.startswith("stopped by a signal")]) == 1


# --- the zygote


def test_a_zygote_that_does_not_carry_out_an_order_is_killed(staff: Staff) -> None:
    staff.arrange(1)
    staff.workforce.reconcile(0.0)
    look_at = staff.workforce.reconcile(ORDER_TIMEOUT_S - 0.1)
    assert (look_at, staff.zygotes.kills) == (ORDER_TIMEOUT_S, 0)  # nothing else would wake the manager by then
    staff.workforce.reconcile(ORDER_TIMEOUT_S)
    assert staff.zygotes.kills == 1


def test_after_the_zygotes_death_its_orders_are_void_and_its_workers_stay(staff: Staff) -> None:
    staff.arrange(2)
    staff.workforce.reconcile(0.0)
    forked, ordered = staff.workers
    staff.register(staff.fork(forked))
    staff.workforce.zygote_lost()
    assert staff.workers == [forked]
    assert ordered.worker.state is WorkerState.DEAD
    assert staff.start._slots.take(1, 1, 1).own == ordered.slots.own
    assert staff.pool.crashes.consecutive == 0
    assert forked.slots.view().state is SlotState.IDLE


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
