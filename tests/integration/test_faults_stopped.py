"""A worker that is stopped with SIGSTOP: another takes its place, its job waits or times out, and other jobs run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from gearman_client import JobException, JobFailed

from . import neighbour
from .conftest import NAP, RunningManager, alive, eventually

CONFIG = """
functions: {short: {timeout: 1s}}
pools:
  nap: {functions: [nap], min: 1, max: 1}
  short: {functions: [short], min: 1, max: 1}
  program: {command: [sleep, '600'], functions: [other], min: 1, max: 1, stop_timeout: 500ms}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager whose pools have one worker each."""
    manager = RunningManager(tmp_path_factory.mktemp("stopped"))
    manager.write_module("nap.py", NAP)
    manager.write_module("short.py", "import time\ndef short(job): time.sleep(float(job.workload))\n")
    manager.write_module("neighbour.py", neighbour.MODULE)
    yield manager.start(CONFIG)
    manager.destroy()


@pytest.fixture
def watched(running: RunningManager) -> Iterator[RunningManager]:
    """That manager, while a neighbour is called all the time."""
    with neighbour.undisturbed(running):
        yield running
    assert "Traceback" not in running.log()


def only_worker(manager: RunningManager, pool: str) -> int:
    (worker,) = manager.workers(pool)
    return int(worker["pid"])


def test_a_stopped_idle_worker_is_replaced_and_leaves_when_it_is_continued(watched: RunningManager) -> None:
    stopped = only_worker(watched, "nap")
    os.kill(stopped, signal.SIGSTOP)
    with watched.client(timeout_s=20) as client:
        assert int(client.submit("nap", "0")) != stopped
    assert f"pid {stopped}: stopped by a signal from outside, a replacement is started" in watched.log()
    assert alive(stopped)
    os.kill(stopped, signal.SIGCONT)
    eventually(lambda: not alive(stopped), "it leaves")
    eventually(watched.settled, "one worker is left")
    assert watched.status()["pools"]["nap"]["last_error"] == ""


def test_the_job_of_a_stopped_worker_waits_while_its_replacement_runs_other_jobs(
    watched: RunningManager,
) -> None:
    stopped = only_worker(watched, "nap")
    answers: list[bytes] = []

    def wait() -> None:
        with watched.client(timeout_s=30) as client:
            answers.append(client.submit("nap", "0.2"))

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: watched.workers("nap")[0]["jobs"], "it has the job")
    os.kill(stopped, signal.SIGSTOP)
    with watched.client(timeout_s=20) as client:
        assert int(client.submit("nap", "0.3")) != stopped
    assert answers == []
    os.kill(stopped, signal.SIGCONT)
    waiting.join(20)
    assert answers == [str(stopped).encode()]
    eventually(lambda: not alive(stopped), "it leaves")


def test_a_job_with_a_timeout_fails_at_its_time_though_its_worker_is_stopped(watched: RunningManager) -> None:
    stopped = only_worker(watched, "short")
    stop = threading.Timer(0.3, os.kill, (stopped, signal.SIGSTOP))
    began = time.monotonic()
    stop.start()
    with watched.client(timeout_s=30) as client, pytest.raises((JobException, JobFailed)):
        client.submit("short", "60")
    assert time.monotonic() - began < 1 + 2 + 1  # the limit, two seconds, and one for a busy machine
    eventually(lambda: not alive(stopped), "it is gone")
    with watched.client(timeout_s=20) as client:
        client.submit("short", "0")


def test_a_stopped_program_is_replaced_and_gone_after_its_stop_timeout(watched: RunningManager) -> None:
    stopped = only_worker(watched, "program")
    os.kill(stopped, signal.SIGSTOP)
    eventually(lambda: f"pid {stopped}: stopped by a signal" in watched.log(), "it is noticed")
    eventually(lambda: not alive(stopped) and watched.settled(), "another one runs")


def test_a_stopped_worker_delays_a_stop_no_longer_than_its_pools_stop_timeout(napping: RunningManager) -> None:
    manager = napping.start("pools: {nap: {functions: [nap], min: 1, max: 1, stop_timeout: 500ms}}\n")
    stopped = only_worker(manager, "nap")
    os.kill(stopped, signal.SIGSTOP)
    eventually(lambda: "stopped by a signal" in manager.log(), "it is noticed")
    assert manager.stop() == 0
    assert not alive(stopped)
