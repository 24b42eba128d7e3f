"""Workers of the library that get several jobs at once from a real server: kills, a restart, and jobs taken back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gearman_client import Batch, Client, Worker, WorkerSettings
from gearman_client.extensions import JOBS_HELD, RETURN_JOBS, key_of_set
from gearman_client.packet import PacketType

from .server_process import ServerProcess
from .stream_peer import DEADLINE_S

KEY = b"0123456789abcdef"
#: Gets jobs, prints their handles once it holds them, and never answers.
HOLDER = """
import sys, time
from gearman_client import Worker, WorkerSettings
worker = Worker(f"127.0.0.1:{sys.argv[1]}", WorkerSettings(prefetch=10))
worker.register("f")
print(*(job.handle for job in worker.grab_many()), flush=True)
time.sleep(60)
"""


def submit(server: ServerProcess, jobs: int, function: str = "f") -> list[str]:
    with Client(f"127.0.0.1:{server.port}") as client:
        return [client.submit_background(function, b"%d" % number) for number in range(jobs)]


def worker_of(server: ServerProcess, prefetch: int = 10, name: str = "") -> Worker:
    worker = Worker(f"127.0.0.1:{server.port}", WorkerSettings(prefetch=prefetch, return_key=KEY, client_id=name))
    worker.register("f")
    return worker


def finish(worker: Worker, jobs: int) -> list[list[tuple[str, int | None]]]:
    """Complete so many jobs; the handles and attempts of each set."""
    taken: list[list[tuple[str, int | None]]] = []
    while sum(map(len, taken)) < jobs:
        held = worker.grab_many(DEADLINE_S)
        assert held
        for job in held:
            job.complete()
        taken.append([(job.handle, job.attempt) for job in held])
    worker.flush()
    return taken


def test_a_killed_worker_loses_one_attempt_of_the_job_that_it_ran(server: ServerProcess) -> None:
    handles = submit(server, 4)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(server.port)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().split() == handles
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with worker_of(server) as worker:
        assert finish(worker, 4) == [[(handle, 1)] for handle in handles[1:]] + [[(handles[0], 2)]]


def test_no_held_job_is_lost_when_the_server_is_killed(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    store = ("--store", f"sqlite:///{tmp_path / 'jobs.db'}")
    server = start_server(*store)
    handles = submit(server, 4)
    with worker_of(server) as worker:
        assert [job.handle for job in worker.grab_many(DEADLINE_S)] == handles
        submit(server, 1, "another")  # the state of the jobs is written with its batch at the latest
        server.process.kill()
        server.process.wait()
        start_server(*store, "-p", str(server.port))
        taken = [pair for held in finish(worker, 4) for pair in held]
    assert taken == [(handles[0], 2), *((handle, 1) for handle in handles[1:])]


def test_a_batch_that_was_begun_when_the_server_was_killed_has_lost_an_attempt_and_comes_one_by_one(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    store = ("--store", f"sqlite:///{tmp_path / 'jobs.db'}")
    server = start_server(*store)
    handles = submit(server, 3)
    with Worker(f"127.0.0.1:{server.port}", WorkerSettings(max_backoff_s=0.1)) as worker:
        worker.register("f", batch=Batch(10))
        assert [job.handle for job in worker.grab_many(DEADLINE_S)] == handles
        submit(server, 1, "another")  # the state of the jobs is written with its batch at the latest
        server.process.kill()
        server.process.wait()
        start_server(*store, "-p", str(server.port))
        taken = finish(worker, 3)
    assert sorted(taken) == [[(handle, 2)] for handle in sorted(handles)]


def test_a_supervisor_hears_of_held_jobs_and_an_idle_worker_gets_them_at_once(server: ServerProcess) -> None:
    handles = submit(server, 3)
    supervisor = server.peer()
    supervisor.send(PacketType.SET_CLIENT_ID, b"gm:box")
    assert supervisor.ask(PacketType.OPTION_REQ, b"held-jobs")[0] == PacketType.OPTION_RES
    with worker_of(server, name="gm:box/pool/1") as busy, worker_of(server, name="gm:box/pool/2") as idle:
        held = busy.grab_many(DEADLINE_S)
        assert [job.handle for job in held] == handles
        assert idle.grab_many(0.05) == []
        assert supervisor.receive() == (JOBS_HELD, b"gm:box/pool/1\0f\0" + b"2")
        supervisor.send(RETURN_JOBS, key_of_set(KEY, busy.set_number), *(handle.encode() for handle in handles[1:]))
        started = time.monotonic()
        assert [job.handle for job in idle.grab_many(DEADLINE_S)] == handles[1:2]  # the other one is for `busy`
        assert time.monotonic() - started < 1
        held[0].complete()
        assert [job.handle for job in busy.grab_many(DEADLINE_S)] == handles[2:]


def test_a_batch_lingers_until_it_is_full_or_its_time_has_come(server: ServerProcess) -> None:
    with Worker(f"127.0.0.1:{server.port}") as worker:
        worker.register("b", batch=Batch(5, linger_s=0.2))
        assert worker.grab_many(0.01) == []
        submit(server, 7, "b")
        sizes = []
        for _ in range(2):
            held = worker.grab_many(DEADLINE_S)
            sizes.append(len(held))
            for job in held:
                job.complete()
    assert sizes == [5, 2]


def test_a_worker_that_leaves_gives_back_what_it_has_not_begun(server: ServerProcess) -> None:
    handles = submit(server, 3)
    with worker_of(server) as worker:
        held = worker.grab_many(DEADLINE_S)
        held[0].complete()
        worker.give_back(held[1:])
    with worker_of(server) as worker:
        assert finish(worker, 2) == [[(handle, 1) for handle in handles[1:]]]


def test_work_does_every_job_once(server: ServerProcess) -> None:
    handles = submit(server, 250)
    done: list[str] = []
    with worker_of(server, prefetch=50) as worker:
        worker.register("f", lambda job: done.append(job.handle))
        assert worker.work(max_jobs=230) == 230
    with worker_of(server, prefetch=50) as worker:
        worker.register("f", lambda job: done.append(job.handle))
        assert worker.work(max_jobs=20) == 20
    assert done == handles
