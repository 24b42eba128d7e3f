"""`gearman-manager jobs stop`: workers of each kind interrupt a job and go on; one that does not react is ended."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from gearman_client import JobException, JobFailed
from gearman_manager.command.control_client import request

from .conftest import RunningManager, alive, eventually

#: Each kind of function waits, cleans up when it is stopped, and then returns as if nothing had happened.
FUNCTIONS = """
import asyncio, os, signal, time
from pathlib import Path
from gearman_manager import JobStopped, function

def _note(job, text):
    with open(Path(__file__).parent.parent / "notes", "a") as notes:
        notes.write(f"{job.workload.decode()} {text} {os.getpid()}\\n")

def _wait(job):
    _note(job, "began")
    if job.workload.startswith(b"short"):
        return str(os.getpid())
    try:
        while True:
            job.status(1, 2)  # is never cut in two
            time.sleep(0.001)
    except JobStopped:
        _note(job, "cleaned up")
    return "a result"

@function
def plain(job):
    return _wait(job)

@function
def ahead(job):
    return _wait(job)

@function
def green(job):
    return _wait(job)

@function
async def loop(job):
    _note(job, "began")
    if job.workload.startswith(b"short"):
        return str(os.getpid())
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        _note(job, "cleaned up")
        raise

@function
def deaf(job):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    return _wait(job)
"""

TOGETHER = """
import time
from pathlib import Path
from gearman_manager import function

@function(batch=3, linger="200ms")
def together(jobs):
    with open(Path(__file__).parent.parent / "notes", "a") as notes:
        notes.write(f"batch began {len(jobs)} 0\\n")
    while not (Path(__file__).parent.parent / "gate").exists():
        time.sleep(0.01)
    return [job.workload for job in jobs]
"""

CONFIG = """
defaults: {min: 1, max: 1, stop_timeout: 1s}
functions: {plain: {retries: 3}}
pools:
  plain: {functions: [plain]}
  ahead: {functions: [ahead], prefetch: 10}
  green: {functions: [green], concurrency: 5}
  loop: {functions: [loop], concurrency: 5}
  deaf: {functions: [deaf]}
  together: {functions: [together]}
"""


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> Any:
    manager = RunningManager(tmp_path_factory.mktemp("stops"))
    manager.write_module("waits.py", FUNCTIONS)
    manager.write_module("together.py", TOGETHER)
    manager.start(CONFIG)
    yield manager
    manager.destroy()


class Submitted(threading.Thread):
    """A foreground job, with what its client hears."""

    def __init__(self, manager: RunningManager, function: str, workload: str) -> None:
        super().__init__()
        self._manager, self._arguments = manager, (function, workload)
        self.heard: Any = None
        self.start()

    def run(self) -> None:
        with self._manager.client(exceptions=True, timeout_s=60) as client:
            try:
                self.heard = client.submit(*self._arguments)
            except (JobException, JobFailed) as error:
                self.heard = error

    def ended(self) -> Any:
        self.join(30)
        assert not self.is_alive()
        return self.heard


def notes(manager: RunningManager) -> list[list[str]]:
    """What the functions have noted: the workload, what, and the worker's pid."""
    file = manager.folder / "notes"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.rsplit(" ", 1)[0].split(" ", 1) + line.rsplit(" ", 1)[1:] for line in lines]


def pid_of(manager: RunningManager, workload: str, what: str = "began") -> int:
    """The worker that has noted this."""
    found = eventually(lambda: [pid for load, text, pid in notes(manager) if (load, text) == (workload, what)], what)
    return int(found[-1])


def api(manager: RunningManager, method: str, path: str, body: Any = None) -> Any:
    """One request to the control API."""
    return request(manager.folder / "run" / "control.sock", method, path, body)


def handle_of(manager: RunningManager, workload: str) -> str:
    """The handle of the job with that workload, which a worker has."""

    def look() -> list[str]:
        rows = api(manager, "GET", "/jobs?state=running")["jobs"]
        return [row["handle"] for row in rows if row["preview"] == workload]

    (handle,) = eventually(look, f"a worker has the job {workload}")
    return str(handle)


def stop(manager: RunningManager, *handles: str) -> int:
    """Stop jobs; their number."""
    return int(api(manager, "POST", "/jobs/stop", {"handles": handles})["stopped"])


@pytest.mark.parametrize("function", ["plain", "ahead", "green", "loop"])
def test_the_function_cleans_up_its_client_hears_of_it_and_the_worker_goes_on(
    stopping: RunningManager, function: str
) -> None:
    job = Submitted(stopping, function, f"long-{function}")
    pid = pid_of(stopping, f"long-{function}")
    if function in ("green", "loop"):
        other = Submitted(stopping, function, f"other-{function}")
        pid_of(stopping, f"other-{function}")
    else:
        other = Submitted(stopping, function, f"short-{function}")
    handle = handle_of(stopping, f"long-{function}")
    assert stop(stopping, handle) == 1
    heard = job.ended()
    assert isinstance(heard, JobException)
    assert heard.data == b"stopped"
    assert pid_of(stopping, f"long-{function}", "cleaned up") == pid
    if function in ("green", "loop"):
        assert other.is_alive()
        stop(stopping, handle_of(stopping, f"other-{function}"))
        assert isinstance(other.ended(), JobException)
    else:
        assert int(other.ended()) == pid
    assert [text for load, text, _ in notes(stopping) if load == f"long-{function}"] == ["began", "cleaned up"]
    assert [worker["pid"] for worker in stopping.workers(function)] == [pid]


def test_a_job_that_its_worker_has_fetched_and_not_begun_never_begins(stopping: RunningManager) -> None:
    with stopping.client() as client:
        alone = client.submit_background("ahead", "long-alone")
        pid_of(stopping, "long-alone")
        first, behind, last = (client.submit_background("ahead", f"{load}") for load in ("long-a", "long-b", "short-c"))
    assert stop(stopping, alone) == 1
    pid_of(stopping, "long-a")  # the worker has fetched all three
    handle_of(stopping, "short-c")
    assert stop(stopping, behind) == 1
    eventually(lambda: behind not in [row["handle"] for row in api(stopping, "GET", "/jobs")["jobs"]], "it is over")
    assert stop(stopping, first) == 1
    pid_of(stopping, "short-c")
    assert "long-b" not in [load for load, _, _ in notes(stopping)]
    eventually(lambda: not api(stopping, "GET", "/jobs")["jobs"], "all are over")
    refused = stopping.command("jobs", "stop", last, check=False)
    assert "0 of 1 stopped: the others are over, or unknown" in refused.stderr


def test_a_function_that_does_not_hear_of_it_is_ended_and_its_pool_has_not_crashed(stopping: RunningManager) -> None:
    job = Submitted(stopping, "deaf", "long-deaf")
    pid = pid_of(stopping, "long-deaf")
    stop(stopping, handle_of(stopping, "long-deaf"))
    assert isinstance(job.ended(), JobException)
    eventually(lambda: not alive(pid), "the worker is gone")
    eventually(stopping.settled, "another one is there")
    pool = stopping.status()["pools"]["deaf"]
    assert pool["state"] == "running"
    assert "did not react to its stop" in stopping.log()
    assert [text for load, text, _ in notes(stopping) if load == "long-deaf"] == ["began"]


def test_of_a_batch_only_the_stopped_job_is_over_and_its_call_goes_on(stopping: RunningManager) -> None:
    jobs = [Submitted(stopping, "together", f"batch-{number}") for number in range(3)]
    eventually(lambda: any(text == "began 3" for _, text, _ in notes(stopping)), "the batch began")
    stop(stopping, handle_of(stopping, "batch-1"))
    assert isinstance(jobs[1].ended(), JobException)
    assert jobs[0].is_alive()
    (stopping.folder / "gate").touch()
    assert [jobs[at].ended() for at in (0, 2)] == [b"batch-0", b"batch-2"]


PHP_WORKER = """<?php
$worker = new GearmanWorker();
$worker->addServers(getenv("GEARMAN_SERVERS"));
$worker->addFunction("shout", function ($job) { sleep(60); return "late"; });
while ($worker->work());
"""

PERL_WORKER = """
use Gearman::Worker;
my $worker = Gearman::Worker->new(job_servers => [split /,/, $ENV{GEARMAN_SERVERS}]);
$worker->register_function(whisper => sub { $SIG{TERM} = 'IGNORE'; sleep 60 });
$worker->work while 1;
"""


def test_programs_get_their_stop_signal_then_are_killed_and_replaced(manager: RunningManager) -> None:
    (manager.folder / "shout.php").write_text(PHP_WORKER)
    (manager.folder / "whisper.pl").write_text(PERL_WORKER)
    manager.start(
        """
        defaults: {min: 1, max: 1, stop_timeout: 500ms}
        pools:
          php: {command: [php, shout.php], functions: [shout], cwd: .}
          perl: {command: [perl, whisper.pl], functions: [whisper], cwd: .}
        """
    )
    stop_a_programs_job(manager, "php", "shout")
    stop_a_programs_job(manager, "perl", "whisper")
    assert {pool["state"] for pool in manager.status()["pools"].values()} == {"running"}


def stop_a_programs_job(manager: RunningManager, pool: str, function: str) -> None:
    pids = {worker["pid"] for worker in manager.workers(pool)}
    job = Submitted(manager, function, f"long-{function}")
    assert stop(manager, handle_of(manager, f"long-{function}")) == 1
    assert isinstance(job.ended(), JobException)
    eventually(lambda: not any(map(alive, pids)), "the program is gone")
    eventually(manager.settled, "another one is there")
