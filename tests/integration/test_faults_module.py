"""Modules that misbehave: each costs at most its own job, while another pool answers all the time."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gearman_client import Client, JobException, JobFailed

from . import neighbour
from .conftest import RunningManager, eventually
from .observing import WORKER, titled

MODULES = {
    "leak": """
        import os
        import resource
        kept = []

        def leak(job):
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            if job.workload == b"all":
                while True:
                    kept.append(open("/dev/null"))
            return str(os.getpid())
        """,
    "folder": """
        import os
        import time
        from pathlib import Path

        def folder(job):
            if job.workload:
                gone = Path(job.workload.decode())
                gone.mkdir()
                os.chdir(gone)
                gone.rmdir()
            return os.getcwd()
        """,
    "output": """
        import os
        import sys
        import time

        HOW = {
            b"stream": lambda: (sys.stdout.close(), sys.stderr.close()),
            b"descriptors": lambda: (os.close(1), os.close(2), open("/dev/null"), open("/dev/null")),
            b"none": lambda: (setattr(sys, "stdout", None), setattr(sys, "stderr", None)),
            b"deleted": lambda: (delattr(sys, "stdout"), delattr(sys, "stderr")),
        }

        def output(job):
            if job.workload in HOW:
                HOW[job.workload]()
                time.sleep(0.005)  # what follows a shorter job may come a millisecond too early
                job.log.warning("nobody hears this")
            else:
                print("printed", job.workload.decode())
                job.log.warning("logged %s", job.workload.decode())
            return str(os.getpid())
        """,
    "twice": """
        import os
        import sys

        def fail():
            raise RuntimeError("in the child")

        ENDS = {b"return": lambda: None, b"raise": fail, b"exit": lambda: sys.exit(3), b"_exit": lambda: os._exit(0)}

        def twice(job):
            if os.fork() == 0:
                ENDS[job.workload]()
            return str(os.getpid())
        """,
    "mute": """
        import os
        import sys

        class Speechless(Exception):
            def __str__(self):
                if self.how == b"raise":
                    raise RuntimeError
                if self.how == b"exit":
                    sys.exit()
                return 7

        def mute(job):
            if job.workload:
                error = Speechless()
                error.how = job.workload
                raise error
            return str(os.getpid())
        """,
    "forge": """
        def forge(job):
            print('{"level": "CRITICAL", "message": "forged"}')
        """,
    "ignored": """
        import subprocess

        def ignored(job):
            return subprocess.run(["cat", "/proc/self/status"], capture_output=True, check=True).stdout
        """,
    "leave": """
        import asyncio
        import os
        import sys

        class Unusual(BaseException):
            pass

        def leave(job):
            if job.workload == b"sys.exit":
                sys.exit("with a text")
            if job.workload:
                raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "Unusual": Unusual,
                       "GeneratorExit": GeneratorExit, "CancelledError": asyncio.CancelledError,
                       "MemoryError": MemoryError, "RecursionError": RecursionError}[job.workload.decode()]("why")
            return str(os.getpid())
        """,
    "swallow": """
        import os
        import time

        def swallow(job):
            if not job.workload:
                return str(os.getpid())
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        """,
    "answer": """
        import os
        loop = []
        loop.append(loop)
        ANSWERS = {b"object": object(), b"list": [object()], b"set": {1}, b"loop": loop, b"keys": {(1, 2): 3},
                   b"bytes": {"a": b"b"}, b"class": int, b"surrogate": "\\ud800",
                   b"nested surrogate": ["\\ud800"], b"nan": [float("nan")]}

        def answer(job):
            return ANSWERS[job.workload] if job.workload else str(os.getpid())
        """,
}
CONFIG = """
defaults: {min: 1, max: 1}
functions:
  swallow: {timeout: 1s}
"""


#: Five times of what the supervisor's memory may grow. A pipe holds 64 KiB, so writer and reader take turns 1,600
#: times; on a busy machine each of these waits for a processor.
FLOOD_BYTES = 100_000_000
FLOOD = f"""
    import os

    def flood(job):
        line = job.workload + b"\\n"
        chunk = line * (1_000_000 // len(line))
        for _ in range({FLOOD_BYTES} // len(chunk)):
            os.write(1, chunk)
        print("the last line")
        return b"all written"
    """


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """One manager with all these modules, each in a pool of its own with one worker."""
    manager = RunningManager(tmp_path_factory.mktemp("hostile"))
    for name, source in MODULES.items():
        manager.write_module(f"{name}.py", source)
    manager.write_module("flood.py", FLOOD)
    manager.write_module("neighbour.py", neighbour.MODULE)
    manager.start(CONFIG)
    yield manager
    manager.destroy()


@pytest.fixture
def client(hostile: RunningManager) -> Iterator[Client]:
    """A client, while the neighbour is called all the time; at the end the manager's log shows no traceback."""
    with neighbour.undisturbed(hostile), hostile.client(timeout_s=60) as client:
        yield client
    assert hostile.process is not None
    assert hostile.process.poll() is None
    assert "the manager goes on" not in hostile.log()


def test_a_worker_without_free_descriptors_fails_its_job_and_is_replaced(
    hostile: RunningManager, client: Client
) -> None:
    first = client.submit("leak", b"")
    with pytest.raises(JobException, match="Too many open files"):
        client.submit("leak", b"all")
    eventually(lambda: client.submit("leak", b"") != first, "another worker answers")
    assert "has used up its file descriptors" in hostile.log()
    assert hostile.status()["pools"]["leak"]["last_error"] == ""


def test_after_a_job_changed_directory_the_next_one_starts_in_the_original_one(
    hostile: RunningManager, client: Client, tmp_path: Path
) -> None:
    before = client.submit("folder", b"")
    with pytest.raises(JobException, match="FileNotFoundError"):
        client.submit("folder", str(tmp_path / "gone"))
    assert client.submit("folder", b"") == before


@pytest.mark.parametrize("how", ["stream", "descriptors", "none", "deleted"])
def test_after_a_job_closed_its_output_the_output_of_the_next_one_is_complete(
    hostile: RunningManager, client: Client, how: str
) -> None:
    worker = client.submit("output", how)
    assert client.submit("output", f"after {how}") == worker
    eventually(lambda: f"printed after {how}" in hostile.log(), "what is printed is in the log")
    eventually(lambda: f"logged after {how}" in hostile.log(), "what is logged too")


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        ("sys.exit", "SystemExit: with a text"),
        *((name, f"{name}: why") for name in ("SystemExit", "KeyboardInterrupt", "Unusual", "GeneratorExit")),
        *((name, f"{name}: why") for name in ("CancelledError", "MemoryError", "RecursionError")),
    ],
)
def test_an_error_of_any_kind_fails_its_own_job_alone(
    hostile: RunningManager, client: Client, raised: str, text: str
) -> None:
    worker = client.submit("leave", b"")
    with pytest.raises(JobException, match=text):
        client.submit("leave", raised)
    assert client.submit("leave", b"") == worker


@pytest.mark.parametrize("how", ["raise", "exit", "return 7"])
def test_an_exception_whose_text_fails_is_reported_by_its_type(
    hostile: RunningManager, client: Client, how: str
) -> None:
    worker = client.submit("mute", b"")
    with pytest.raises(JobException, match="Speechless"):
        client.submit("mute", how)
    assert client.submit("mute", b"") == worker


@pytest.mark.parametrize("end", ["return", "raise", "exit", "_exit"])
def test_a_job_that_forks_has_one_answer_and_leaves_no_second_worker(
    hostile: RunningManager, client: Client, end: str
) -> None:
    (worker,) = hostile.workers("twice")
    assert {int(client.submit("twice", end)) for _ in range(5)} == {worker["pid"]}
    eventually(lambda: titled(hostile, f"{WORKER}twice/") == [worker["pid"]], "no copy of the worker is left")
    assert hostile.workers("twice")[0]["done"] == worker["done"] + 5


def test_a_printed_line_that_looks_like_a_record_is_logged_as_the_workers_text(
    hostile: RunningManager, client: Client
) -> None:
    client.submit("forge", b"")
    eventually(lambda: "forged" in hostile.log(), "it is in the log")
    (line,) = [line for line in hostile.log().splitlines() if "forged" in line]
    assert re.search(r' INFO +forge/1 pid \d+: \{"level": "CRITICAL", "message": "forged"\}$', line)


def test_processes_started_by_a_job_ignore_no_signal(client: Client) -> None:
    status = client.submit("ignored", b"").decode()
    mask = int(dict(line.split(":\t", 1) for line in status.splitlines())["SigIgn"], 16)
    wanted = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGCHLD)
    assert [number.name for number in wanted if mask >> (number - 1) & 1] == []


def test_a_job_that_ignores_its_timeout_fails_nevertheless_and_its_worker_is_replaced(
    hostile: RunningManager, client: Client
) -> None:
    worker = client.submit("swallow", b"")
    began = time.monotonic()
    with pytest.raises((JobException, JobFailed)):
        client.submit("swallow", b"for ever")
    assert time.monotonic() - began < 1 + 2 + 1  # the limit, two seconds, and one for a busy machine
    assert client.submit("swallow", b"") != worker
    assert "did not react to its timeout" in hostile.status()["pools"]["swallow"]["last_error"]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("object", "object"),
        ("list", r"\[0\] is of type object.*JSON"),
        ("loop", "list"),
        ("keys", "dict"),
        ("class", "type"),
    ],
)
def test_an_unsendable_result_fails_its_job_with_the_reason(
    hostile: RunningManager, client: Client, what: str, text: str
) -> None:
    worker = client.submit("answer", b"")
    with pytest.raises(JobException, match=text):
        client.submit("answer", what)
    assert client.submit("answer", b"") == worker


@pytest.mark.parametrize(
    ("what", "result"),
    [
        ("set", b"[1]"),
        ("bytes", b'{"a": "b"}'),
        ("surrogate", b"?"),
        ("nested surrogate", rb'["\ud800"]'),
        ("nan", b"[null]"),
    ],
)
def test_a_result_without_an_exact_form_in_json_is_sent_in_the_nearest(
    hostile: RunningManager, client: Client, what: str, result: bytes
) -> None:
    assert client.submit("answer", what) == result


@pytest.mark.parametrize("line", [b"x" * 99, b"z" * 999_999], ids=["lines", "hardly a line"])
def test_a_flood_of_output_is_neither_kept_nor_logged(hostile: RunningManager, client: Client, line: bytes) -> None:
    assert hostile.process is not None
    supervisor = psutil.Process(hostile.process.pid)
    logged_before, memory_before = hostile.log_file.stat().st_size, supervisor.memory_info().rss
    accounts_before = hostile.log().count("of its output were dropped")
    began = time.monotonic()
    assert client.submit("flood", line) == b"all written"
    seconds = time.monotonic() - began
    eventually(lambda: hostile.log().count("of its output were dropped") > accounts_before, "the log says so")
    assert supervisor.memory_info().rss - memory_before < 20_000_000
    assert hostile.log_file.stat().st_size - logged_before < (seconds + 3) * 2_000_000
