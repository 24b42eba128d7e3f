"""The supervisor is killed: no worker runs for longer than its `stop_timeout`, whatever its job does."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import RunningManager, alive, eventually

STOP_TIMEOUT_S = 2.0
#: Jobs that never end. The one in C holds the interpreter's lock, so that no Python code can run beside it.
BUSY = """
import re, signal, subprocess, time
from gearman_manager import function

def begin(job):
    open(job.workload, "w").close()

@function
def python(job):
    begin(job)
    while True:
        try:
            time.sleep(0.001)
        except BaseException:
            pass

@function
def in_c(job):
    begin(job)
    re.match(r"(a+)+$", "a" * 60 + "b")

@function
def deaf(job):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = subprocess.Popen(["sleep", "600"])
    begin(job)
    child.wait()

@function
def many(job):
    begin(job)
    while True:
        pass
"""
CONFIG = f"""
defaults: {{min: 1, max: 1, stop_timeout: {STOP_TIMEOUT_S:g}s}}
pools:
  python: {{functions: [python]}}
  in_c: {{functions: [in_c]}}
  deaf: {{functions: [deaf]}}
  many: {{functions: [many], concurrency: 2}}
  program: {{command: [sh, -c, "trap '' TERM; while :; do sleep 1; done"], functions: [other]}}
"""


@pytest.fixture
def running(tmp_path: Path) -> RunningManager:
    manager = RunningManager(tmp_path)
    manager.write_module("busy.py", BUSY)
    return manager.start(CONFIG)


@pytest.mark.parametrize("reloaded", [False, True])
def test_a_job_that_never_ends_ends_with_the_supervisor_after_stop_timeout(
    running: RunningManager, reloaded: bool
) -> None:
    assert running.process is not None
    busy = ("python", "in_c", "deaf", "many")
    with running.client(timeout_s=20) as client:
        for function in busy:
            client.submit_background(function, str(running.folder / function))
    eventually(lambda: all((running.folder / function).exists() for function in busy), "all jobs run")
    if reloaded:  # the workers' own zygote is gone then
        zygote = running.pid_of("gearman-manager: zygote")
        running.write_module("busy.py", BUSY + "\n")
        eventually(lambda: not alive(zygote), "another zygote has taken over")
    family = [pid for pid in running.family() if pid != running.process.pid]
    os.kill(running.process.pid, signal.SIGKILL)
    killed = time.monotonic()
    running.process.wait()
    eventually(lambda: not any(map(alive, family)), "all processes end", within_s=STOP_TIMEOUT_S + 10)
    assert time.monotonic() - killed >= STOP_TIMEOUT_S


def test_what_such_a_job_has_started_ends_with_it(running: RunningManager) -> None:
    assert running.process is not None
    running.write_module(
        "start.py",
        """
        import subprocess, time
        def start(job):
            started = [
                subprocess.Popen(["sleep", "600"], start_new_session=True),
                subprocess.Popen(["env", "-i", "/bin/sleep", "600"], start_new_session=True),
                subprocess.Popen(["setsid", "sh", "-c", "setsid sleep 600 & wait"]),
            ]
            with open(job.workload, "w") as file:
                file.write(" ".join(str(process.pid) for process in started))
            while True:
                try:
                    time.sleep(600)
                except BaseException:
                    pass
        """,
    )
    mark = running.folder / "started"
    eventually(lambda: "start" in running.status()["functions"], "the new module is served")
    with running.client(timeout_s=20) as client:
        client.submit_background("start", str(mark))
    eventually(lambda: mark.exists() and len(mark.read_text().split()) == 3, "the job has started its processes")
    started = [int(pid) for pid in mark.read_text().split()]
    running.process.kill()
    running.process.wait()
    eventually(lambda: not any(map(alive, started)), "they end", within_s=STOP_TIMEOUT_S + 10)


def test_nothing_that_a_job_writes_looks_like_the_supervisors_end(tmp_path: Path) -> None:
    manager = RunningManager(tmp_path)
    manager.write_module(
        "write.py",
        """
        import os
        def write(job):
            for name in os.listdir("/proc/self/fd"):
                kind = os.readlink(f"/proc/self/fd/{name}") if os.path.exists(f"/proc/self/fd/{name}") else ""
                if kind.startswith("pipe") and int(name) > 2:
                    try:
                        with open(f"/proc/self/fd/{name}", "wb", 0) as pipe:
                            pipe.write(b"x")
                    except OSError:
                        pass
            return str(os.getpid())
        """,
    )
    manager.write_module("other.py", "import os\ndef other(job): return str(os.getpid())\n")
    try:
        manager.start("pools: {write: {functions: [write], max: 1}, other: {functions: [other], max: 1}}")
        with manager.client(timeout_s=20) as client:
            other = client.submit("other", b"")
            client.submit("write", b"")
            manager.write_module("third.py", "def third(job): return 'third'\n")  # its worker starts only now
            eventually(lambda: "third" in manager.status()["pools"], "it is loaded")
            assert client.submit("third", b"") == b"third"
            assert client.submit("other", b"") == other
        assert manager.log().count("ended (") <= 1  # at most the worker whose own wake-up pipe was written to
    finally:
        manager.destroy()
