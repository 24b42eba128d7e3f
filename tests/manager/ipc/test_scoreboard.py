"""The scoreboard: one process reads whole what another one writes, across exec, and after the writer was killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pytest

from gearman_manager.ipc.scoreboard import PAGE_SLOTS, SLOT_BYTES, Scoreboard, SlotState, SlotWriter, UnreadableSlot
from gearman_manager.worker.job_slots import JobSlots


def test_a_job_is_visible_while_it_runs_and_counted_when_it_has_ended() -> None:
    board = Scoreboard.create(4)
    slot = SlotWriter(board, 2)
    slot.claim(77)
    assert board.read(2).state is SlotState.STARTING
    slot.begin(server=1, function=3, handle=b"H:box:12", now_ns=1000, deadline_ns=9000)
    view = board.read(2)
    assert (view.pid, view.state, view.server, view.function) == (77, SlotState.BUSY, 1, 3)
    assert (view.handle, view.start_ns, view.deadline_ns) == ("H:box:12", 1000, 9000)
    slot.end(4000, failed=False)
    slot.begin(0, 0, b"H:box:13", 5000, 0)
    slot.end(5500, failed=True)
    slot.error("it broke")
    view = board.read(2)
    assert (view.pid, view.state, view.handle) == (77, SlotState.IDLE, "")
    assert (view.done, view.failed, view.busy_ns, view.last_error) == (1, 1, 3500, "it broke")


def test_a_job_that_another_follows_at_once_is_shown_until_then_and_counted() -> None:
    board = Scoreboard.create(1)
    slot = SlotWriter(board, 0)
    slot.begin(0, 0, b"H:box:1", 1000, 0)
    slot.count(3000, failed=False)
    assert (board.read(0).state, board.read(0).handle, board.read(0).done) == (SlotState.BUSY, "H:box:1", 0)
    slot.begin(0, 0, b"H:box:2", 5000, 0)
    assert (board.read(0).handle, board.read(0).done, board.read(0).busy_ns) == ("H:box:2", 1, 3000)
    slot.count(500, failed=True)
    slot.idle()
    view = board.read(0)
    assert (view.state, view.handle, view.done, view.failed, view.busy_ns) == (SlotState.IDLE, "", 1, 1, 3500)


def test_slots_do_not_touch_their_neighbours() -> None:
    board = Scoreboard.create(3)
    middle = SlotWriter(board, 1)
    middle.claim(5)
    middle.begin(255, 65535, b"h" * 200, 2**63, 2**63)
    middle.error("é" * 1000)
    empty = Scoreboard.create(1).read(0)
    assert board.read(0) == empty
    assert board.read(2) == empty
    assert len(board.read(1).handle) == 64


def test_a_slot_is_busy_from_the_start_of_a_job_to_its_end() -> None:
    board = Scoreboard.create(2)
    slot = SlotWriter(board, 1)
    slot.claim(9)
    assert not board.is_busy(1)
    slot.begin(0, 0, b"H:box:1", 5, 0)
    assert (board.is_busy(0), board.is_busy(1)) == (False, True)
    slot.end(9, failed=False)
    assert not board.is_busy(1)


def test_a_cleared_slot_is_free_again() -> None:
    board = Scoreboard.create(1)
    SlotWriter(board, 0).claim(9)
    board.clear(0)
    assert board.read(0).state is SlotState.FREE


def test_a_board_that_is_passed_through_exec_is_read_whole_during_writes_and_after_a_kill() -> None:
    board = Scoreboard.create(1)
    program = """
import sys
from gearman_manager.worker.job_slots import JobSlots
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter
slot = SlotWriter(Scoreboard.take_over(int(sys.argv[1]), 0, 1), 0)
slot.claim(1)
print("ready", flush=True)
number = 0
while True:
    number += 1
    slot.begin(number % 200, number % 60000, b"H:%d" % number, number, number)
    slot.end(number, failed=False)
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(board.descriptor)], pass_fds=[board.descriptor], stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        busy = 0
        while busy < 2000:
            view = board.read(0)
            if view.state is SlotState.BUSY:
                busy += 1
                assert view.handle == f"H:{view.start_ns}"
                assert view.start_ns == view.deadline_ns
                assert view.server == view.start_ns % 200
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close() if writer.stdout else None
    assert board.read(0).pid == 1


def test_a_worker_of_several_jobs_shows_their_number_and_which_one_is_executing() -> None:
    board = Scoreboard.create(3)
    own = SlotWriter(board, 0)
    own.claim(7)
    places = JobSlots(board, (1, 2), own)
    first = places.take(0, 4, b"H:1", None)
    second = places.take(1, 5, b"H:2", 2.0)
    places.show()
    assert (places.free, board.read(0).state, board.read(0).running) == (0, SlotState.BUSY, 2)
    views = {board.read(slot).handle: board.read(slot) for slot in (1, 2)}
    assert (views["H:1"].function, views["H:1"].deadline_ns) == (4, 0)
    assert views["H:2"].deadline_ns - views["H:2"].start_ns == 2_000_000_000
    own.activate(second.number)
    assert board.active_place(0) == second.number
    places.give_back(first, failed=True)
    places.give_back(second, failed=False)
    places.show()
    view = board.read(0)
    assert (view.state, view.running, view.done, view.failed) == (SlotState.IDLE, 0, 1, 1)
    assert {board.read(slot).state for slot in (1, 2)} == {SlotState.FREE}
    assert board.active_place(0) == second.number  # this number is written separately from the rest


def test_nobody_can_change_the_size_of_the_memory() -> None:
    board = Scoreboard.create(1)
    for size in (0, 2 * PAGE_SLOTS * SLOT_BYTES):
        with pytest.raises(PermissionError):
            os.ftruncate(board.descriptor, size)
    assert board.read(PAGE_SLOTS - 1).state is SlotState.FREE


def test_a_worker_maps_its_own_pages_alone_and_keeps_no_descriptor() -> None:
    board = Scoreboard.create(3)
    identity = os.fstat(board.descriptor)
    part = Scoreboard.take_over(os.dup(board.descriptor), PAGE_SLOTS, 3)
    SlotWriter(part, PAGE_SLOTS + 2).claim(8)
    assert [board.read(PAGE_SLOTS + slot).pid for slot in (1, 2, 3)] == [0, 8, 0]
    assert len(part.memory) == PAGE_SLOTS * SLOT_BYTES
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    own = [number for number in numbers if os.path.exists(f"/proc/self/fd/{number}") and _is(number, identity)]
    # The whole's own descriptor, and the duplicate that its mapping keeps: both are the supervisor's.
    assert len(own) == 2
    part.memory.close()


def _is(number: int, identity: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(number), identity)
    except OSError:
        return False


@pytest.mark.parametrize("seed", range(50))
def test_any_bytes_are_a_view_or_no_report(seed: int) -> None:
    board = Scoreboard.create(1)
    noise = random.Random(seed)
    size = noise.choice((1, 8, 20, 100, SLOT_BYTES))
    at = noise.randrange(SLOT_BYTES - size + 1)
    board.memory[at : at + size] = noise.randbytes(size)
    try:
        view = board.read(0)
    except UnreadableSlot:
        return
    assert view.handle.isprintable()
