"""`prefetch` and `batch`: a worker gets several jobs at once, and each of them has the fate that it had alone."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gearman_client import JobException, connect_admin

from .conftest import DEADLINE_S, RunningManager, eventually

MODULE = """
import os
import signal
import time

from gearman_manager import Reject, Retry, function


def do(job):
    name, word, rest = (job.workload.decode().split() + ["", ""])[:3]
    with open(job.settings["notes"], "ab", buffering=0) as notes:
        notes.write(f"{name} {job.attempt} {os.getpid()} {time.monotonic_ns()}\\n".encode())
    if word == "wait":  # for a file
        while not os.path.exists(rest):
            time.sleep(0.002)
    elif word == "late":
        time.sleep(60)
    elif word == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(60)
    elif word == "fail":
        raise ValueError(rest)
    elif word == "retry" and job.attempt == 1:
        raise Retry("later", after=0.001)
    elif word == "reject":
        raise Reject(rest)
    return f"{name} {job.attempt}"


@function
def turn(job):
    return do(job)


@function
def pair(job):
    return do(job)


@function
def elsewhere(job):  # with `pair`
    return do(job)


@function
def few(job):
    return do(job)


@function(timeout="300ms")
def limited(job):
    return do(job)


@function(batch=100, linger="100ms", timeout="1s")
def lists(jobs):
    results = []
    for number, job in enumerate(jobs):
        job.status(number, len(jobs))
        job.data(job.workload)
        try:
            results.append(f"{do(job)} of {len(jobs)}")
        except Exception as error:
            results.append(error)
    return results
"""
CONFIG = """
run_dir: run
server: {{listen: '127.0.0.1:0', store: '{store}'}}
defaults: {{keep_result: 1h, settings: {{notes: {folder}/notes}}}}
pools:
  turn: {{prefetch: 50, min: 1, max: 1}}
  pair: {{functions: [pair, elsewhere], prefetch: 50, min: 2, max: 2}}
  few: {{prefetch: 50, max_jobs: 5, min: 1, max: 1}}
  limited: {{prefetch: 50, min: 1, max: 1}}
  lists: {{min: 1, max: 1}}
"""
#: No test names a job so itself.
names = (f"held{number}" for number in itertools.count())


def start(manager: RunningManager, store: str = "memory") -> RunningManager:
    """Start it and wait until all workers are registered."""
    manager.write_module("many.py", MODULE)
    manager.config_file.write_text(CONFIG.format(store=store, folder=manager.folder))
    manager.launch()
    eventually(manager.settled, "all workers registered")
    (manager.address,) = manager.status()["servers"]
    return manager


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager whose workers may be killed, if they are there again after the test."""
    manager = RunningManager(tmp_path_factory.mktemp("many"))
    yield start(manager)
    manager.destroy()


def runs(manager: RunningManager) -> list[tuple[str, int]]:
    """The beginnings of jobs so far: name and attempt."""
    return [(name, int(attempt)) for name, attempt, _, _ in _notes(manager)]


def begun_at_ns(manager: RunningManager, name: str) -> int:
    return next(int(moment) for other, _, _, moment in _notes(manager) if other == name)


def _notes(manager: RunningManager) -> list[list[str]]:
    file: Path = manager.folder / "notes"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def submit(manager: RunningManager, function: str, *workloads: str) -> list[str]:
    """Leave jobs at once, so that one worker gets them together; returns their handles.

    The function is paused meanwhile: else the first could begin before the server has read the others.
    """
    with manager.client() as client, connect_admin(manager.address) as admin:
        admin.pause_function(function)
        handles = [str(handle) for handle in client.submit_background_many(function, workloads)]
        admin.resume_function(function)
    return handles


def fates(manager: RunningManager, handles: Sequence[str]) -> list[str]:
    """The result, or the error, of each."""
    found = []
    with manager.client(timeout_s=DEADLINE_S) as client:
        for handle in handles:
            try:
                found.append(client.result(handle).decode())
            except JobException as error:
                found.append(error.data.decode())
    return found


def reports(manager: RunningManager, handle: str) -> tuple[list[bytes], list[tuple[int, int]]]:
    """The data and the progress of a job."""
    data: list[bytes] = []
    progress: list[tuple[int, int]] = []
    with manager.client(timeout_s=DEADLINE_S) as client:
        client.result(handle, on_data=data.append, on_status=lambda done, total: progress.append((done, total)))
    return data, progress


def has_begun(manager: RunningManager, name: str) -> None:
    """Wait until the job has begun."""
    eventually(lambda: name in dict(runs(manager)), f"{name} has begun")


def counts(manager: RunningManager, function: str) -> tuple[int, int]:
    """The waiting and the running jobs, by the job server."""
    with connect_admin(manager.address) as admin:
        row = next(row for row in admin.status() if row.function == function)
    return row.total - row.running, row.running


@contextmanager
def held(manager: RunningManager, *behind: str) -> Iterator[tuple[str, list[str]]]:
    """A worker is in its first job and has fetched those behind it; the name of the first, and the handles of all.

    In the end the first may end.
    """
    first = next(names)
    gate = manager.folder / first
    handles = submit(manager, "turn", f"{first} wait {gate}", *behind)
    eventually(lambda: counts(manager, "turn") == (0, len(handles)), "all are in its hands")
    has_begun(manager, first)
    yield first, handles
    gate.touch()


def pid_of(manager: RunningManager, pool: str) -> int:
    (worker,) = manager.workers(pool)
    pid: int = worker["pid"]
    return pid


class TestFates:
    """Nothing here disturbs the workers."""

    @pytest.mark.parametrize("function", ["turn", "lists"])
    def test_each_job_has_its_own(self, many: RunningManager, function: str) -> None:
        before = len(runs(many))
        answers = fates(many, submit(many, function, "a", "b fail no", "c retry", "d reject never", "e"))
        end = " of 5" if function == "lists" else ""
        assert answers[:2] == [f"a 1{end}", "ValueError: no"]
        assert answers[2].startswith("c 2")
        assert answers[3:] == ["Reject: never", f"e 1{end}"]
        assert Counter(runs(many)[before:]) == Counter([("a", 1), ("b", 1), ("c", 1), ("c", 2), ("d", 1), ("e", 1)])

    def test_progress_and_data_are_of_the_job_that_reports_them(self, many: RunningManager) -> None:
        handles = submit(many, "lists", "x", "y", "z")
        fates(many, handles)
        assert [reports(many, handle) for handle in handles] == [
            ([b"x"], [(0, 3)]),
            ([b"y"], [(1, 3)]),
            ([b"z"], [(2, 3)]),
        ]

    def test_a_list_waits_for_others_no_longer_than_its_linger(self, many: RunningManager) -> None:
        assert fates(many, submit(many, "lists", "alone")) == ["alone 1 of 1"]
        answers = fates(many, submit(many, "lists", *(f"n{number}" for number in range(150))))
        assert answers == [*(f"n{n} 1 of 100" for n in range(100)), *(f"n{n} 1 of 50" for n in range(100, 150))]

    def test_a_time_limit_ends_its_job_or_the_whole_call(self, many: RunningManager) -> None:
        workers = pid_of(many, "limited"), pid_of(many, "lists")
        late = "JobTimeout: limited took longer than its timeout of 0.3 s"
        assert fates(many, submit(many, "limited", "p", "q late", "r")) == ["p 1", late, "r 1"]
        assert set(fates(many, submit(many, "lists", "s", "t late", "u"))) == {
            late.replace("limited", "lists").replace("0.3", "1")
        }
        assert (pid_of(many, "limited"), pid_of(many, "lists")) == workers

    def test_counters_count_jobs(self, many: RunningManager) -> None:
        def sums() -> dict[str, tuple[int, int]]:
            pools = many.status()["pools"]
            workers = {pool: pools[pool]["workers"][0] for pool in ("turn", "lists")}
            return {pool: (worker["done"], worker["failed"]) for pool, worker in workers.items()}

        after = {pool: (done + 2, failed + 1) for pool, (done, failed) in sums().items()}
        fates(many, submit(many, "turn", "a", "b fail", "c"))
        fates(many, submit(many, "lists", "a", "b fail", "c"))
        eventually(lambda: sums() == after, "all are counted")
        assert sums() == after  # and none twice

    def test_an_answer_does_not_wait_for_a_long_job_behind_it(self, many: RunningManager) -> None:
        second, end = next(names), many.folder / "end"
        with held(many, f"{second} wait {end}") as (first, handles):
            (many.folder / first).touch()
            assert fates(many, handles[:1]) == [f"{first} 1"]
            assert counts(many, "turn") == (0, 1)
            end.touch()
        assert fates(many, handles[1:]) == [f"{second} 1"]


class TestGivingBack:
    """A job that has not begun goes back, and is none the worse for it."""

    def test_when_its_worker_is_killed(self, many: RunningManager) -> None:
        before = len(runs(many))
        with held(many, "b", "c", "d") as (first, handles):
            os.kill(pid_of(many, "turn"), signal.SIGKILL)
        assert fates(many, handles) == [f"{first} 2", "b 1", "c 1", "d 1"]
        assert Counter(runs(many)[before:]) == Counter([(first, 1), (first, 2), ("b", 1), ("c", 1), ("d", 1)])

    def test_when_its_worker_is_told_to_leave(self, many: RunningManager) -> None:
        before = len(runs(many))
        with held(many, "b", "c", "d") as (first, handles):
            assert [worker["fetched"] for worker in many.workers("turn")] == [3], many.log()[-5000:]
            many.command("pause", "turn")
            eventually(lambda: counts(many, "turn") == (3, 1), "they are back, in the middle of the first job")
        many.command("resume", "turn")
        assert fates(many, handles) == [f"{first} 1", "b 1", "c 1", "d 1"]
        assert Counter(runs(many)[before:]) == Counter([(first, 1), ("b", 1), ("c", 1), ("d", 1)])

    def test_when_its_worker_has_had_its_max_jobs(self, many: RunningManager) -> None:
        before, jobs = len(runs(many)), [next(names) for _ in range(17)]
        assert fates(many, submit(many, "few", *jobs)) == [f"{name} 1" for name in jobs]
        assert Counter(runs(many)[before:]) == Counter((name, 1) for name in jobs)

    def test_when_its_worker_does_not_react_to_a_timeout(self, many: RunningManager) -> None:
        before = len(runs(many))
        assert fates(many, submit(many, "limited", "h hang", "i", "j")) == ["timeout", "i 1", "j 1"]
        assert Counter(runs(many)[before:]) == Counter([("h", 1), ("i", 1), ("j", 1)])

    def test_when_another_worker_is_idle_within_50_ms(self, many: RunningManager) -> None:
        """The best of several tries counts: the machine may have other work."""
        took_ms: list[float] = []
        while len(took_ms) < 10 and min(took_ms, default=99) > 50:
            busy, long, *behind = (next(names) for _ in range(5))
            submit(many, "elsewhere", f"{busy} wait {many.folder / busy}")
            has_begun(many, busy)  # on one of the two workers
            handles = submit(many, "pair", f"{long} wait {many.folder / long}", *behind)
            has_begun(many, long)
            eventually(lambda: counts(many, "pair") == (0, 4), "the other holds all")
            released_ns = time.monotonic_ns()
            (many.folder / busy).touch()
            assert fates(many, handles[1:]) == [f"{name} 1" for name in behind]
            took_ms.append((begun_at_ns(many, behind[-1]) - released_ns) / 1e6)
            (many.folder / long).touch()
            fates(many, handles[:1])
        assert min(took_ms) <= 50, took_ms


def test_the_jobs_of_a_call_whose_worker_is_killed_are_given_out_alone(many: RunningManager) -> None:
    before = len(runs(many))
    gate = many.folder / "never"
    handles = submit(many, "lists", "e", f"f wait {gate}", "g")
    has_begun(many, "f")
    os.kill(pid_of(many, "lists"), signal.SIGKILL)
    gate.touch()
    assert fates(many, handles) == ["e 2 of 1", "f 2 of 1", "g 2 of 1"]
    assert Counter(runs(many)[before:]) == Counter([("e", 1), ("f", 1), ("e", 2), ("f", 2), ("g", 2)])


def test_a_call_is_finished_by_a_worker_that_is_told_to_leave(many: RunningManager) -> None:
    first, second = next(names), next(names)
    handles = submit(many, "lists", first, f"{second} wait {many.folder / second}")
    has_begun(many, second)
    pid = pid_of(many, "lists")
    os.kill(pid, signal.SIGTERM)
    (many.folder / second).touch()
    assert fates(many, handles) == [f"{first} 1 of 2", f"{second} 1 of 2"]
    eventually(lambda: many.settled() and pid_of(many, "lists") != pid, "another worker is there")


def test_whichever_process_ends_no_job_is_lost_and_none_runs_twice_but_the_one_that_had_begun(
    manager: RunningManager,
) -> None:
    start(manager, "sqlite:///jobs.db")
    with held(manager, *"bcde") as (first, _):
        os.kill(manager.pid_of("gearman-server"), signal.SIGKILL)
        # Its first thread may be gone before the connections are.
        eventually(lambda: "the job server ended" in manager.log(), "it is gone")
    have_run(manager, *"bcde")
    eventually(manager.settled, "the server is back")
    expected = dict.fromkeys((first, *"bcde"), 1)  # what had begun goes on: its server is durable

    with held(manager, *"xyz") as (first, _):
        assert manager.process is not None
        manager.process.terminate()
        eventually(lambda: counts(manager, "turn") == (3, 1), "what it has not begun is given back")
    assert manager.process.wait(DEADLINE_S) == 0
    assert not {"x", "y", "z"} & dict(runs(manager)).keys()
    expected |= {first: 1} | dict.fromkeys("xyz", 1)

    relaunch(manager)
    have_run(manager, *"xyz")
    with held(manager, *"uvw") as (first, _):
        call = submit(manager, "lists", "k", f"l wait {manager.folder / first}", "m")
        has_begun(manager, "l")
        manager.process.kill()
        manager.process.wait()
    relaunch(manager)
    have_run(manager, *"uvw")
    eventually(lambda: counts(manager, "turn") == (0, 0), "all are done")
    assert fates(manager, call) == ["k 1 of 3", "l 1 of 3", "m 1 of 3"], "a call is finished"
    expected |= {first: 1} | dict.fromkeys("uvwklm", 1)
    assert Counter(name for name, _ in runs(manager)) == expected

    gate = manager.folder / "gate"
    call = submit(manager, "lists", "o", f"p wait {gate}", "q")
    has_begun(manager, "p")
    for pid in manager.family():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    manager.process.wait()
    gate.touch()
    relaunch(manager)
    assert [fate.split()[0] for fate in fates(manager, call)] == ["o", "p", "q"]
    assert Counter(name for name, _ in runs(manager)) == expected | {"o": 2, "p": 2, "q": 1}


def relaunch(manager: RunningManager) -> None:
    manager.launch()
    eventually(manager.settled, "all workers registered")
    (manager.address,) = manager.status()["servers"]


def have_run(manager: RunningManager, *jobs: str) -> None:
    eventually(lambda: set(jobs) <= dict(runs(manager)).keys(), f"{jobs} have run")
