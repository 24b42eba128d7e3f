"""Of a worker and its supervisor only one has a fetched job, however their looks fall together."""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearman_manager.ipc.claims import MAX_HANDLE_BYTES, RECORD_BYTES, Claim, ClaimPipe, Claims
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter

LARGEST_SET = 1000
SLOT = 3


def handles(*numbers: int) -> list[bytes]:
    return [b"H:localhost:%d" % number for number in numbers]


@pytest.fixture
def board() -> Scoreboard:
    return Scoreboard.create(1)


@pytest.fixture
def slot(board: Scoreboard) -> SlotWriter:
    return SlotWriter(board, SLOT)


@pytest.fixture
def pipe(board: Scoreboard) -> Iterator[ClaimPipe]:
    """The supervisor's side."""
    pipe = ClaimPipe(LARGEST_SET, board, SLOT)
    yield pipe
    pipe.close()


@pytest.fixture
def claims(pipe: ClaimPipe) -> Claims:
    """The worker's side."""
    reader, writer = pipe.for_worker
    return Claims(reader, writer)


def begin(slot: SlotWriter, held: int) -> int:
    return slot.begin(0, 0, b"H:localhost:0", 1, 0, held)


def test_nobody_takes_what_has_begun_and_the_worker_sees_that_the_rest_was_taken(
    pipe: ClaimPipe, claims: Claims, slot: SlotWriter
) -> None:
    calls = slot.calls
    assert claims.put(7, 2, handles(1, 2, 3)) == 3
    assert begin(slot, 3) == calls
    assert begin(slot, 2) == calls  # number 1
    assert pipe.take() == [Claim(7, 2, handle) for handle in handles(2, 3)]
    assert begin(slot, 1) != calls
    assert not pipe.take()


def test_handles_may_differ_in_length(pipe: ClaimPipe, claims: Claims, slot: SlotWriter) -> None:
    different = [b"H:a:9", b"H:a:10", b"H", b"h" * MAX_HANDLE_BYTES]
    assert claims.put(1, 2, different) == 4
    begin(slot, 4)
    assert pipe.take() == [Claim(1, 2, handle) for handle in different]


@pytest.mark.parametrize("ends", [True, False])
def test_a_set_that_is_over_leaves_nothing_for_the_next(
    pipe: ClaimPipe, claims: Claims, slot: SlotWriter, ends: bool
) -> None:
    claims.put(1, 0, handles(1, 2, 3))
    begin(slot, 0 if ends else 2)
    slot.idle()
    assert not pipe.take()
    claims.put(2, 0, handles(4))
    begin(slot, 1)
    assert pipe.take() == [Claim(2, 0, b"H:localhost:4")]


def test_before_the_first_job_of_a_set_nothing_is_taken_but_the_worker_is_called(
    pipe: ClaimPipe, claims: Claims, slot: SlotWriter
) -> None:
    calls = slot.calls
    claims.put(1, 0, handles(1, 2, 3))
    assert not pipe.take()
    assert begin(slot, 3) != calls


def test_a_worker_that_was_stopped_in_the_middle_of_its_report_keeps_its_jobs_until_it_goes_on(
    pipe: ClaimPipe, claims: Claims, slot: SlotWriter, board: Scoreboard
) -> None:
    claims.put(1, 0, handles(1, 2, 3))
    calls = begin(slot, 3)
    at = board.at(SLOT)
    board.memory[at] += 1  # the sequence number is odd, as during a write
    assert not pipe.take()
    assert begin(slot, 2) != calls


@pytest.mark.parametrize("jobs", [0, 1, 50, 512, 513, 999])
def test_a_set_fits(board: Scoreboard, slot: SlotWriter, jobs: int) -> None:
    pipe = ClaimPipe(LARGEST_SET, board, SLOT)
    claims = Claims(*pipe.for_worker)
    assert claims.put(1, 0, [b"x" * MAX_HANDLE_BYTES] * jobs) == jobs
    begin(slot, jobs)
    assert len(pipe.take()) == jobs
    pipe.close()


def test_jobs_from_the_first_too_long_handle_on_can_not_be_held(pipe: ClaimPipe, claims: Claims) -> None:
    assert claims.put(1, 0, [b"short", b"x" * (MAX_HANDLE_BYTES + 1), b"another"]) == 1


WORKER = """
import sys
from itertools import count
from gearman_manager.ipc.claims import Claims
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter
reader, writer, board, slot = map(int, sys.argv[1:])
claims = Claims(reader, writer)
board = Scoreboard.take_over(board, 0, slot + 2)
slot, server = SlotWriter(board, slot), SlotWriter(board, slot + 1)
for number in count(1):
    if slot.is_told_to_leave:
        break
    server.begin(0, 0, b"%d" % number, 1, 0)
    calls, jobs = slot.calls, [b"%d" % job for job in range(50)]
    claims.put(number, 0, jobs[1:])
    begun = []
    for position, job in enumerate(jobs):
        if slot.begin(0, 0, job, 1, 0, 49 - position) != calls:
            break
        begun.append(job.decode())
        sum(range(500))
    slot.idle()
    print(number, *begun)
"""


def test_each_job_has_one_owner_while_both_go_on_in_processes_of_their_own(board: Scoreboard, tmp_path: Path) -> None:
    pipe = ClaimPipe(50, board, SLOT)
    passed = (*pipe.for_worker, os.dup(board.descriptor))
    command = [sys.executable, "-c", WORKER, *map(str, (*passed, SLOT))]
    taken: list[Claim] = []
    chance = random.Random(1)
    with (tmp_path / "begun").open("w+") as begun:
        with subprocess.Popen(command, pass_fds=passed, stdout=begun):
            pipe.handed_over()
            while len(taken) < 1000:
                claims = pipe.take()
                given_out = board.read(SLOT + 1).handle  # the server knows the set that it gave out last
                taken.extend(claim for claim in claims if str(claim.set_number) == given_out)
                time.sleep(chance.random() * 0.001)
            board.tell_to_leave(SLOT)
        begun.seek(0)
        lines = [list(map(int, line.split())) for line in begun]
    pipe.close()
    own = [(number, job) for number, *jobs in lines for job in jobs]
    theirs = [(claim.set_number, int(claim.handle)) for claim in taken]
    assert len({*own, *theirs}) == len(own) + len(theirs)
    assert own


@pytest.mark.parametrize("nonsense", [b"x", b"x" * 127, b"\0" * 256, b"\xff" * 300])
def test_what_a_job_writes_into_the_pipe_harms_nobody(
    pipe: ClaimPipe, claims: Claims, slot: SlotWriter, nonsense: bytes
) -> None:
    _, writer = pipe.for_worker
    os.write(writer, nonsense)
    claims.put(1, 0, handles(1, 2))
    begin(slot, 60000)
    assert all(claim.handle for claim in pipe.take())
    claims.put(2, 0, handles(1, 2))
    begin(slot, 2)
    assert pipe.take() == [Claim(2, 0, handle) for handle in handles(1, 2)]


def test_a_job_that_fills_the_pipe_or_reads_from_it_loses_only_what_it_held(
    pipe: ClaimPipe, claims: Claims, slot: SlotWriter
) -> None:
    reader, writer = pipe.for_worker
    claims.put(1, 0, handles(1, 2, 3))
    begin(slot, 3)
    os.read(reader, RECORD_BYTES)
    assert pipe.take() == [Claim(1, 0, handle) for handle in handles(2, 3)]
    os.write(writer, b"x" * 1_000_000)
    assert claims.put(2, 0, handles(1)) == 1
    begin(slot, 1)
    assert pipe.take() == [Claim(2, 0, b"H:localhost:1")]


def test_a_job_that_makes_the_descriptors_blocking_does_not_block_the_supervisor(pipe: ClaimPipe) -> None:
    for descriptor in pipe.for_worker:
        os.set_blocking(descriptor, True)
    assert not pipe.take()


def test_without_its_descriptors_a_worker_holds_nothing(pipe: ClaimPipe) -> None:
    reader, writer = (os.dup(end) for end in pipe.for_worker)
    claims = Claims(reader, writer)
    os.close(writer)
    assert claims.put(1, 0, handles(1)) == 0
    os.close(reader)
    assert claims.put(2, 0, handles(1)) == 0


def test_no_program_that_is_started_inherits_the_pipe(pipe: ClaimPipe) -> None:
    assert all(fcntl.fcntl(end, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for end in pipe.for_worker)


def test_nothing_stays_open(board: Scoreboard) -> None:
    before = set(os.listdir("/proc/self/fd"))
    pipe = ClaimPipe(1, board, SLOT)
    pipe.handed_over()
    pipe.close()
    pipe.close()
    assert set(os.listdir("/proc/self/fd")) <= before
