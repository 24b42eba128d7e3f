"""A job that does whatever it can to its process: its own worker may end for it, the manager and all others go on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from textwrap import dedent

import pytest

from gearman_client import JobException, JobFailed

from . import neighbour
from .conftest import NAP, RunningManager, alive, eventually

#: Runs the workload as code; its variable `result` is the job's result.
RUN = """
import os
from gearman_manager import function

@function(timeout="1s")
def timed(job):
    return run(job)

@function
def run(job):
    names = {"job": job, "os": os, "result": str(os.getpid())}
    exec(job.workload.decode(), names)
    return names["result"]
"""
#: The class that is found wherever people ask how to end a program gracefully.
GRACEFUL = """
import signal

class GracefulKiller:
    kill_now = False
    def __init__(self):
        signal.signal(signal.SIGINT, self.exit_gracefully)
        signal.signal(signal.SIGTERM, self.exit_gracefully)
    def exit_gracefully(self, signum, frame):
        self.kill_now = True

killer = GracefulKiller()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM])
signal.alarm(1)

def graceful(job):
    GracefulKiller()
    return "done"
"""
MANY = GRACEFUL.replace("graceful(job)", "many(job)")
CONFIG = """
functions: {run: {crash_retries: 0}, timed: {crash_retries: 0}}
pools:
  run: {functions: [run, timed], min: 1, max: 1, stop_timeout: 2s}
  graceful: {functions: [graceful], min: 1, max: 1}
  many: {functions: [many], min: 1, max: 1, concurrency: 4}
  nap: {functions: [nap], min: 1, max: 1}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    manager = RunningManager(tmp_path_factory.mktemp("faults"))
    manager.write_module("run.py", RUN)
    manager.write_module("nap.py", NAP)
    manager.write_module("graceful.py", GRACEFUL)
    manager.write_module("many.py", MANY)
    manager.write_module("neighbour.py", neighbour.MODULE)
    manager.environment["MARK"] = str(manager.folder / "mark")
    yield manager.start(CONFIG)
    manager.destroy()


@pytest.fixture
def watched(running: RunningManager) -> Iterator[RunningManager]:
    """That manager, while a neighbour is called all the time."""
    eventually(running.settled, "all workers are there")
    with neighbour.undisturbed(running):
        yield running
    assert "looking after the pools failed" not in running.log()
    assert "the manager goes on" not in running.log()


def has_ended(pid: int) -> bool:
    return not alive(pid)


def run(manager: RunningManager, code: str, function: str = "run") -> bytes:
    with manager.client(timeout_s=20) as client:
        return client.submit(function, dedent(code))


def pid_of(manager: RunningManager, pool: str) -> int:
    (worker,) = manager.workers(pool)
    return int(worker["pid"])


def test_a_job_that_cuts_and_fills_every_file_it_finds_disturbs_nobody(watched: RunningManager) -> None:
    others = pid_of(watched, "nap"), watched.process and watched.process.pid
    code = """
        result = ""
        for number in range(3, 256):
            try:
                kind = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue
            if "scoreboard" in kind:
                result += kind
            if not kind.startswith("socket"):
                for act in (lambda: os.ftruncate(number, 0), lambda: os.write(number, b"\\xff" * 4096)):
                    try:
                        act()
                    except OSError:
                        pass
    """
    assert run(watched, code) == b""
    eventually(watched.settled, "all workers are there")
    assert (pid_of(watched, "nap"), watched.process and watched.process.pid) == others


def test_a_job_that_fills_its_own_report_with_nonsense_ends_its_worker_alone(watched: RunningManager) -> None:
    victim, other = pid_of(watched, "run"), pid_of(watched, "nap")
    code = """
        import gc
        from gearman_manager.ipc.scoreboard import SlotWriter
        for found in gc.get_objects():
            if isinstance(found, SlotWriter):
                found._memory[:] = b"\\xff" * len(found._memory)
        import time
        time.sleep(60)
    """
    with pytest.raises(JobFailed):
        run(watched, code)
    eventually(lambda: not alive(victim), "the worker is ended")
    eventually(lambda: watched.settled() and pid_of(watched, "run") != victim, "another takes its place")
    assert "a job wrote nonsense into its report" in watched.log()
    assert pid_of(watched, "nap") == other


@pytest.mark.parametrize(
    "act",
    [
        "signal.signal(signal.SIGTERM, lambda *_: None)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(0.005)",
        "import faulthandler; faulthandler.register(signal.SIGTERM); time.sleep(0.005)",
        "import ctypes; ctypes.CDLL(None).signal(15, 1); time.sleep(0.005)",
    ],
)
def test_a_worker_leaves_although_a_job_has_taken_the_signal_over(watched: RunningManager, act: str) -> None:
    worker = int(run(watched, f"import signal, time; {act}"))
    watched.command("pause", "run")
    eventually(lambda: not alive(worker), "it leaves", within_s=4)
    watched.command("resume", "run")


@pytest.mark.parametrize("function", ["graceful", "many"])
def test_a_worker_leaves_although_its_module_has_taken_the_signal_over(watched: RunningManager, function: str) -> None:
    for calls in (0, 1):
        worker = pid_of(watched, function)
        assert [run(watched, "", function) for _ in range(calls)] == [b"done"] * calls
        watched.command("pause", function)
        eventually(partial(has_ended, worker), "it leaves", within_s=4)
        watched.command("resume", function)
        eventually(watched.settled, "another takes its place")


def test_a_worker_that_is_told_to_leave_during_a_job_takes_no_further_one(watched: RunningManager) -> None:
    mark, go = watched.folder / "job runs", watched.folder / "go"
    code = f"""
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open({str(mark)!r}, "w").close()
        while not os.path.exists({str(go)!r}):
            time.sleep(0.01)
    """
    worker = pid_of(watched, "run")
    with watched.client(timeout_s=20) as client:
        client.submit_background("run", dedent(code))
        eventually(mark.exists, "the job runs")
        watched.command("restart", "run")
        waiting = client.submit_background("run", "")
        go.touch()
        eventually(lambda: not alive(worker), "the worker leaves", within_s=4)
        eventually(lambda: not client.status(waiting).known, "the replacement has run the job")
    assert "has not left" not in watched.log()


@pytest.mark.parametrize(
    "act",
    [
        "signal.signal(signal.SIGALRM, signal.SIG_DFL); signal.alarm(1)",
        "signal.setitimer(signal.ITIMER_VIRTUAL, 0.5)",
        "signal.signal(signal.SIGPROF, print); signal.setitimer(signal.ITIMER_PROF, 0.3, 0.1)",
        "import faulthandler; faulthandler.dump_traceback_later(0.7, exit=True)",
        "import ctypes; ctypes.CDLL(None).signal(14, 0); signal.setitimer(signal.ITIMER_REAL, 1)",
        "os.umask(0o777); signal.signal(signal.SIGCHLD, signal.SIG_IGN); sys.settrace(lambda *_: None)",
    ],
)
def test_what_a_job_leaves_behind_does_not_touch_the_next_one(watched: RunningManager, act: str) -> None:
    worker = run(watched, f"import signal, sys, time; {act}; time.sleep(0.005)")
    code = """
        import subprocess, sys, tempfile, time
        assert sys.gettrace() is None
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            pass
        assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(f"{folder}/own")
            open(f"{folder}/own/file", "w").close()
    """
    assert run(watched, code) == worker


@pytest.mark.parametrize(
    "act", ["signal.signal(signal.SIGALRM, signal.SIG_IGN)", "signal.alarm(30)", "signal.alarm(0)"]
)
def test_a_time_limit_holds_although_a_job_has_taken_the_alarm_over(watched: RunningManager, act: str) -> None:
    worker = run(watched, f"import signal; {act}", "timed")
    with pytest.raises(JobException, match="JobTimeout"):
        run(watched, "import time; time.sleep(15)", "timed")
    assert run(watched, "") == worker
    with pytest.raises((JobException, JobFailed)):
        run(watched, f"import signal, time; {act}; time.sleep(15)", "timed")
    eventually(watched.settled, "all workers are there")


def test_an_alarm_of_a_job_does_not_count_as_its_time_limit(watched: RunningManager) -> None:
    code = "import signal, time; signal.setitimer(signal.ITIMER_REAL, 0.1); time.sleep(0.3)"
    assert int(run(watched, code, "timed")) == pid_of(watched, "run")


def test_what_a_timed_out_job_has_started_ends_with_it_and_what_was_there_before_stays(
    watched: RunningManager,
) -> None:
    folder = watched.folder
    code = f"""
        import subprocess, time
        before = subprocess.Popen(["sleep", "600"])
        open({str(folder / "before")!r}, "w").write(str(before.pid))
        time.sleep(0.05)
    """
    worker = run(watched, code)
    code = f"""
        import subprocess, time
        mark = {str(folder / "started")!r}
        say = "echo $$ >> " + mark + "; exec sleep 600"
        subprocess.Popen(["sh", "-c", say])
        subprocess.Popen(["sh", "-c", say], start_new_session=True)
        subprocess.run(["sh", "-c", "setsid sh -c '" + say + "' &"])
        subprocess.run(["sh", "-c", "sh -c '" + say + "' &"])
        while not os.path.exists(mark) or len(open(mark).readlines()) < 4:
            time.sleep(0.01)
        time.sleep(60)
    """
    with pytest.raises(JobException, match="JobTimeout"):
        run(watched, code, "timed")
    started = [int(line) for line in (folder / "started").read_text().split()]
    assert len(started) == 4
    eventually(lambda: not any(map(alive, started)), "what it had started ends", within_s=5)
    assert run(watched, "") == worker
    assert alive(int((folder / "before").read_text()))


def test_a_stop_ends_a_manager_whose_worker_reports_nonsense(running: RunningManager) -> None:
    code = """
        import gc, time
        from gearman_manager.ipc.scoreboard import SlotWriter
        for found in gc.get_objects():
            if isinstance(found, SlotWriter):
                found._memory[:] = b"\\xff" * len(found._memory)
        open(os.environ["MARK"], "w").close()
        time.sleep(60)
    """
    mark = running.folder / "mark"
    with running.client(timeout_s=20) as client:
        client.submit_background("run", dedent(code))
    eventually(mark.exists, "the job has begun")
    assert running.stop(within_s=20) == 0
