"""Of a worker and its supervisor only one has a fetched job, however their reads fall together."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator

import pytest

from gearman_manager.ipc.claims import MAX_HANDLE_BYTES, RECORD_BYTES, Claim, ClaimPipe, Claims

LARGEST_SET = 1000


def handles(*numbers: int) -> list[bytes]:
    return [b"H:localhost:%d" % number for number in numbers]


@pytest.fixture
def pipe() -> Iterator[ClaimPipe]:
    """The supervisor's side."""
    pipe = ClaimPipe(LARGEST_SET)
    yield pipe
    pipe.close()


@pytest.fixture
def claims(pipe: ClaimPipe) -> Claims:
    """The worker's side."""
    reader, writer = pipe.for_worker
    return Claims(reader, writer)


def test_the_worker_claims_its_jobs_in_turn(pipe: ClaimPipe, claims: Claims) -> None:
    for number in (1, 2):
        claims.put(number, 0, handles(1, 2, 3))
        assert [claims.claim() for _ in range(4)] == [True, True, True, False]
    assert not pipe.take()


def test_what_the_supervisor_takes_is_no_longer_the_workers(pipe: ClaimPipe, claims: Claims) -> None:
    claims.put(7, 2, handles(1, 2, 3))
    assert claims.claim()
    assert pipe.take() == [Claim(7, 2, handle) for handle in handles(2, 3)]
    assert not claims.claim()
    assert not pipe.take()


def test_a_set_that_was_left_early_leaves_nothing_for_the_next(pipe: ClaimPipe, claims: Claims) -> None:
    claims.put(1, 0, handles(1, 2, 3))
    assert claims.claim()
    claims.put(2, 0, handles(3))
    assert pipe.take() == [Claim(2, 0, b"H:localhost:3")]


@pytest.mark.parametrize("jobs", [0, 1, 50, 512, 513, 999])
def test_a_set_fits(jobs: int) -> None:
    pipe = ClaimPipe(LARGEST_SET)
    claims = Claims(*pipe.for_worker)
    claims.put(1, 0, [b"x" * MAX_HANDLE_BYTES] * jobs)
    assert len(pipe.take()) == jobs
    pipe.close()


def test_jobs_with_longer_handles_are_nobodys(pipe: ClaimPipe, claims: Claims) -> None:
    claims.put(1, 0, [b"short", b"x" * (MAX_HANDLE_BYTES + 1), b"another"])
    assert claims.claim()
    assert not claims.claim()
    assert not pipe.take()


def test_each_job_is_claimed_once_while_both_read(pipe: ClaimPipe, claims: Claims) -> None:
    taken: list[Claim] = []
    is_over = threading.Event()

    def take() -> None:
        while not is_over.is_set():
            taken.extend(pipe.take())

    supervisor = threading.Thread(target=take)
    supervisor.start()
    own: list[tuple[int, bytes]] = []
    for number in range(1, 301):
        jobs = handles(*range(50))
        claims.put(number, 0, jobs)
        for handle in jobs:
            if not claims.claim():
                break
            own.append((number, handle))
    is_over.set()
    supervisor.join()
    theirs = [(claim.set_number, claim.handle) for claim in taken]
    assert len({*own, *theirs}) == len(own) + len(theirs)
    assert own
    assert theirs


@pytest.mark.parametrize("nonsense", [b"x", b"x" * 127, b"\0" * 256, b"\xff" * 300])
def test_what_a_job_writes_into_the_pipe_harms_nobody(pipe: ClaimPipe, claims: Claims, nonsense: bytes) -> None:
    _, writer = pipe.for_worker
    os.write(writer, nonsense)
    claims.put(1, 0, handles(1, 2))
    assert not claims.claim()  # the job goes back with the next request
    assert all(claim.handle for claim in pipe.take())
    claims.put(2, 0, handles(1, 2))
    assert claims.claim()


def test_a_job_that_fills_the_pipe_or_reads_from_it_loses_only_claims(pipe: ClaimPipe, claims: Claims) -> None:
    reader, writer = pipe.for_worker
    claims.put(1, 0, handles(1, 2, 3))
    os.read(reader, RECORD_BYTES)
    assert not claims.claim()
    os.write(writer, b"x" * 1_000_000)
    claims.put(2, 0, handles(1))
    assert claims.claim()


def test_a_job_that_makes_the_descriptors_blocking_does_not_block_the_supervisor(pipe: ClaimPipe) -> None:
    for descriptor in pipe.for_worker:
        os.set_blocking(descriptor, True)
    assert not pipe.take()


def test_without_its_descriptors_a_worker_claims_nothing(pipe: ClaimPipe) -> None:
    reader, writer = (os.dup(end) for end in pipe.for_worker)
    claims = Claims(reader, writer)
    os.close(writer)
    claims.put(1, 0, handles(1))
    pipe.handed_over()
    assert not claims.claim()
    os.close(reader)
    assert not claims.claim()


def test_no_program_that_is_started_inherits_the_pipe(pipe: ClaimPipe) -> None:
    assert all(fcntl.fcntl(end, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for end in pipe.for_worker)


def test_nothing_stays_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    pipe = ClaimPipe(1)
    pipe.handed_over()
    pipe.close()
    pipe.close()
    assert set(os.listdir("/proc/self/fd")) == before
