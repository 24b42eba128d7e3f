"""`concurrency: N`: one worker runs several jobs at once. The proof is jobs that wait for each other, not the clock."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gearman_client import GearmanError, JobException, JobFailed

from .conftest import RunningManager, alive, eventually

PLACES = 3

MODULE = f"""
import logging
import os
import signal
import subprocess
import threading
import time

import gevent
from gearman_manager import JobTimeout, function

IMPORTED_IN = os.getpid()
everybody = threading.Barrier({PLACES})
pair = threading.Barrier(2)
mine = threading.local()
one_at_a_time = threading.Lock()
interrupted = []
now = most = 0


@function
def meet(job):
    "Ends only when as many jobs as there are places run at once."
    everybody.wait(20)
    return f"{{IMPORTED_IN}} {{os.getpid()}} {{job.attempt}}"


@function
def count(job):
    global now, most
    now += 1
    most = max(most, now)
    time.sleep(0.02)
    now -= 1
    return str(most)


@function
def steps(job):
    for step in range(1, 4):
        job.status(step, 3)
        job.data(job.workload)
        pair.wait(20)


@function(timeout="500ms")
def late(job):
    try:
        time.sleep(60)
    except JobTimeout:
        interrupted.append(job.workload.decode())
        raise


@function(timeout="500ms")
def swallow(job):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@function(timeout="500ms")
def compute(job):
    while True:
        pass


@function
def who_was_interrupted(job):
    return interrupted


@function
def wait_for_file(job):
    while not os.path.exists(job.workload):
        time.sleep(0.01)
    return f"{{os.getpid()}} {{job.attempt}}"


@function
def standard_library(job):
    mine.value = job.handle
    with one_at_a_time:
        logging.getLogger("a").info("holds the lock")
        time.sleep(0.01)
    said = subprocess.run(["cat"], input=job.workload, capture_output=True, check=True).stdout
    everybody.wait(20)
    return [mine.value == job.handle, said.decode()]


@function
def raises(job):
    raise {{"exit": SystemExit, "interrupt": KeyboardInterrupt, "base": BaseException}}[job.workload.decode()]("no")


@function
def killed(job):
    gevent.getcurrent().kill()


@function
def leaves_behind(job):
    def stray():
        raise SystemExit(3)
    gevent.spawn(stray)
    threading.Thread(target=time.sleep, args=(600,)).start()
    return b"left"


@function
def forks(job):
    os.fork()


@function
class Kept:
    def setup(self, settings):
        self.calls = []

    def run(self, job):
        self.calls.append(job.handle)
        everybody.wait(20)
        return [os.getpid(), len(self.calls)]
"""

HOOKS = """
import time
started = time.monotonic()

def job_start(job):
    job.log.info("the hook sees it start")
    time.sleep(0.01)
"""


@contextmanager
def at_once(manager: RunningManager, *jobs: tuple[str, bytes | str]) -> Iterator[list[Future[Any]]]:
    """Foreground jobs, each on a connection of its own."""

    def submit(function: str, workload: bytes | str) -> bytes:
        with manager.client(timeout_s=30) as client:
            return client.submit(function, workload)

    with ThreadPoolExecutor(len(jobs)) as pool:
        yield [pool.submit(submit, *job) for job in jobs]


def results(manager: RunningManager, *jobs: tuple[str, bytes | str]) -> list[bytes]:
    with at_once(manager, *jobs) as futures:
        return [future.result(40) for future in futures]


def running(manager: RunningManager, pool: str = "crowd") -> list[dict[str, Any]]:
    return [job for worker in manager.workers(pool) for job in worker["jobs"]]


def draining(manager: RunningManager) -> list[int]:
    """The number of jobs of each worker that is to end after them."""
    return [len(worker["jobs"]) for worker in manager.workers("crowd") if worker["state"] == "draining"]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager with one worker of three places, for tests that leave the worker unchanged."""
    manager = RunningManager(tmp_path_factory.mktemp("crowd"))
    manager.write_module("crowd.py", MODULE)
    manager.write_module("_hooks.py", HOOKS)
    manager.write_module("plain.py", "import os\nIN = os.getpid()\ndef plain(job): return str(IN)\n")
    manager.start(f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 1}}, plain: {{}}}}\n")
    yield manager
    manager.destroy()


@pytest.fixture
def same_worker(crowd: RunningManager) -> Iterator[None]:
    """Asserts that the worker is the same before and after the test, unless the test has killed it."""
    before = [worker["pid"] for worker in crowd.workers("crowd")]
    yield
    assert [worker["pid"] for worker in crowd.workers("crowd")] == before


@pytest.mark.usefixtures("same_worker")
class TestOneWorker:
    """The jobs of one worker run side by side."""

    def test_as_many_jobs_as_places_run_at_once_in_a_process_that_patched_before_it_imported(
        self, crowd: RunningManager
    ) -> None:
        answers = {answer.decode() for answer in results(crowd, *[("meet", "")] * PLACES)}
        (pid,) = [worker["pid"] for worker in crowd.workers("crowd")]
        assert answers == {f"{pid} {pid} 1"}

    def test_no_more_jobs_run_at_once_than_there_are_places(self, crowd: RunningManager) -> None:
        most = results(crowd, *[("count", "")] * 12)
        assert most[-1] == b"3"
        assert int(max(most)) == PLACES

    def test_the_zygote_imports_neither_these_modules_nor_gevent(self, crowd: RunningManager) -> None:
        zygote = crowd.pid_of("gearman-manager: zygote")
        assert results(crowd, ("plain", "")) == [b"%d" % zygote]
        assert "gevent" not in Path(f"/proc/{zygote}/maps").read_text()
        (pid,) = [worker["pid"] for worker in crowd.workers("crowd")]
        assert "gevent" in Path(f"/proc/{pid}/maps").read_text()

    def test_progress_and_data_of_two_jobs_reach_the_right_clients(self, crowd: RunningManager) -> None:
        def follow(name: bytes) -> list[Any]:
            seen: list[Any] = []
            with crowd.client(timeout_s=30) as client:
                client.submit(
                    "steps", name, on_status=lambda done, total: seen.append((done, total)), on_data=seen.append
                )
            return seen

        with ThreadPoolExecutor(2) as pool:
            a, b = pool.map(follow, (b"a", b"b"))
        assert a == [(1, 3), b"a", (2, 3), b"a", (3, 3), b"a"]
        assert b == [(1, 3), b"b", (2, 3), b"b", (3, 3), b"b"]

    def test_status_lists_every_job(self, crowd: RunningManager, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        with at_once(crowd, *[("wait_for_file", str(gate))] * PLACES) as futures:
            eventually(lambda: len(running(crowd)) == PLACES, "all three are listed")
            (worker,) = crowd.workers("crowd")
            assert worker["state"] == "busy"
            assert {job["function"] for job in worker["jobs"]} == {"wait_for_file"}
            handles = {job["handle"] for job in worker["jobs"]}
            assert len(handles) == PLACES
            assert all(job["for_s"] >= 0 for job in worker["jobs"])
            table = crowd.command("status").stdout
            assert all(handle in table for handle in handles)
            assert crowd.status()["functions"]["wait_for_file"]["running"] == PLACES
            gate.touch()
            assert len({future.result(20) for future in futures}) == 1
        (worker,) = crowd.workers("crowd")
        assert (worker["state"], worker["jobs"]) == ("idle", [])

    @pytest.mark.parametrize("function", ["late", "compute"])
    def test_a_timeout_ends_one_job_and_the_others_go_on(
        self, crowd: RunningManager, tmp_path: Path, function: str
    ) -> None:
        gate = tmp_path / "gate"
        with at_once(crowd, ("wait_for_file", str(gate)), (function, "the late one")) as (other, late):
            with pytest.raises(JobException, match="took longer than its timeout"):
                late.result(20)
            assert not other.done()
            gate.touch()
            assert other.result(20).endswith(b" 1")  # its first attempt

    def test_the_interrupted_function_can_clean_up(self, crowd: RunningManager) -> None:
        with pytest.raises(JobException):
            results(crowd, ("late", "this very one"))
        assert b"this very one" in results(crowd, ("who_was_interrupted", ""))[0]

    def test_the_standard_library_gives_way_to_the_other_jobs(self, crowd: RunningManager) -> None:
        jobs = [("standard_library", f"job {number}") for number in range(PLACES)]
        assert results(crowd, *jobs) == [b'[true, "job %d"]' % number for number in range(PLACES)]

    def test_all_jobs_of_a_class_share_one_object(self, crowd: RunningManager) -> None:
        assert len(set(results(crowd, *[("Kept", "")] * PLACES))) == 1

    @pytest.mark.parametrize(
        ("function", "workload", "says"),
        [
            ("raises", "exit", "SystemExit: no"),
            ("raises", "interrupt", "KeyboardInterrupt: no"),
            ("raises", "base", "BaseException: no"),
            ("killed", "", "GreenletExit"),
            ("forks", "", "can't fork"),
        ],
    )
    def test_an_error_of_one_job_does_not_affect_another(
        self, crowd: RunningManager, tmp_path: Path, function: str, workload: str, says: str
    ) -> None:
        gate = tmp_path / "gate"
        with at_once(crowd, ("wait_for_file", str(gate)), (function, workload)) as (other, failing):
            with pytest.raises(JobException, match=says):
                failing.result(20)
            gate.touch()
            assert other.result(20).endswith(b" 1")

    def test_threads_and_greenlets_that_a_job_leaves_behind_do_no_harm(self, crowd: RunningManager) -> None:
        assert results(crowd, ("leaves_behind", "")) == [b"left"]
        assert len(results(crowd, *[("meet", "")] * PLACES)) == PLACES


def test_https_requests_wait_side_by_side(manager: RunningManager, tmp_path: Path) -> None:
    together = threading.Barrier(PLACES)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            together.wait(20)  # answers only when all three ask at once
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    certificate = tmp_path / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    manager.write_module(
        "page.py",
        """
        import ssl
        from urllib.request import urlopen

        def page(job):
            context = ssl.create_default_context(cafile=job.settings["ca"])
            return urlopen(job.workload.decode(), timeout=30, context=context).read()
        """,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            manager.start(
                f"pools: {{page: {{functions: [page], concurrency: {PLACES}, min: 1, max: 1}}}}\n"
                f"functions: {{page: {{settings: {{ca: {certificate}}}}}}}\n"
            )
            urls = [f"https://localhost:{server.server_port}/{number}" for number in range(PLACES)]
            assert results(manager, *[("page", url) for url in urls]) == [b"/0", b"/1", b"/2"]
        finally:
            server.shutdown()
            thread.join()
    assert "Warning" not in manager.log()


HANG = """
import ctypes
import os
import signal
import time
from gearman_manager import function

@function(timeout="1s")
def hang(job):
    time.sleep(float(job.workload))
    if job.attempt == 1:
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        ctypes.PyDLL(None).sleep(60)  # a library that keeps the interpreter to itself

@function(timeout="1s")
def innocent(job):
    if job.attempt == 1:
        time.sleep(60)
    return f"{os.getpid()} {job.attempt}"
"""


def test_a_job_that_blocks_the_event_loop_fails_alone_and_the_others_run_again(manager: RunningManager) -> None:
    """The innocent job is overdue too by then, even longer: the blocked loop had no chance to interrupt it."""
    manager.write_module("hang.py", HANG)
    manager.start(f"pools: {{hang: {{functions: [hang, innocent], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    (first,) = [worker["pid"] for worker in manager.workers("hang")]
    with at_once(manager, ("innocent", ""), ("hang", "0.1")) as (innocent, hanging):
        with pytest.raises((JobException, JobFailed)):
            hanging.result(20)
        pid, attempt = innocent.result(20).split()
    assert (int(pid) != first, attempt) == (True, b"2")
    eventually(lambda: not alive(first), "the worker is gone")
    assert "did not react to its timeout" in manager.status()["pools"]["hang"]["last_error"]


def test_a_job_that_ignores_its_timeout_is_given_up_and_its_worker_replaced_after_the_other_jobs(
    manager: RunningManager, tmp_path: Path
) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start(f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    (worker,) = manager.workers("crowd")
    gate = tmp_path / "gate"
    with at_once(manager, ("wait_for_file", str(gate)), ("swallow", "")) as (other, swallowing):
        with pytest.raises((JobException, JobFailed), match="goes on in spite of its timeout"):
            swallowing.result(20)
        eventually(lambda: "has a job that does not end" in manager.log(), "a replacement is on its way")
        eventually(lambda: len(manager.workers("crowd")) == 2, "it is there")
        gate.touch()
        assert other.result(20).decode() == f"{worker['pid']} 1"
    eventually(lambda: not alive(worker["pid"]), "the worker is gone")
    assert manager.status()["pools"]["crowd"]["last_error"] == ""


def test_the_jobs_of_a_killed_worker_run_again(manager: RunningManager, tmp_path: Path) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start(f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    (worker,) = manager.workers("crowd")
    gate = tmp_path / "gate"
    with at_once(manager, *[("wait_for_file", str(gate))] * PLACES) as futures:
        eventually(lambda: len(running(manager)) == PLACES, "all run")
        os.kill(worker["pid"], signal.SIGKILL)
        eventually(lambda: len(running(manager)) == PLACES and alive(manager.workers("crowd")[0]["pid"]), "all again")
        gate.touch()
        answers = {future.result(20).decode() for future in futures}
    (replacement,) = manager.workers("crowd")
    assert answers == {f"{replacement['pid']} 2"}
    assert f"died (killed by SIGKILL) with {PLACES} jobs" in manager.log()


def test_without_a_supervisor_a_worker_finishes_all_its_jobs_before_it_ends(
    manager: RunningManager, tmp_path: Path
) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start(f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 1}}}}\n")
    gate = tmp_path / "gate"
    assert manager.process is not None
    with at_once(manager, *[("wait_for_file", str(gate))] * PLACES) as futures:
        eventually(lambda: len(running(manager)) == PLACES, "all run")
        (worker,) = manager.workers("crowd")
        manager.process.kill()
        manager.process.wait()
        assert not any(future.done() for future in futures)
        gate.touch()
        assert {future.result(20).decode() for future in futures} == {f"{worker['pid']} 1"}
    eventually(lambda: not alive(worker["pid"]), "the worker is gone")


def test_max_jobs_is_exact(manager: RunningManager) -> None:
    manager.write_module(
        "count.py", "import os, time\ndef count(job):\n    time.sleep(0.01)\n    return f'{os.getpid()}'"
    )
    manager.start("pools: {count: {functions: [count], concurrency: 4, min: 1, max: 1, max_jobs: 5}}\n")
    pids = results(manager, *[("count", "")] * 20)
    assert sorted(pids.count(pid) for pid in set(pids)) == [5, 5, 5, 5]
    assert manager.status()["pools"]["count"]["last_error"] == ""


def test_a_reload_starts_the_new_worker_before_the_old_one_finishes_its_jobs(
    manager: RunningManager, tmp_path: Path
) -> None:
    source = (
        "import os, time\ndef gate(job):\n"
        "    while not os.path.exists(job.workload): time.sleep(0.01)\n"
        "    return 'VERSION'\n"
    )
    manager.write_module("gate.py", source.replace("VERSION", "old"))
    manager.start("pools: {gate: {functions: [gate], concurrency: 3, min: 1, max: 1}}\n")
    gate, failed = tmp_path / "gate", []
    with at_once(manager, *[("gate", str(gate))] * 2) as futures:
        eventually(lambda: len(running(manager, "gate")) == 2, "both run")
        manager.write_module("gate.py", source.replace("VERSION", "new"))

        def new_answers() -> bool:
            try:
                return results(manager, ("gate", __file__)) == [b"new"]
            except GearmanError as error:
                failed.append(error)
                return False

        eventually(new_answers, "the new code answers")
        assert not any(future.done() for future in futures)
        gate.touch()
        assert [future.result(20) for future in futures] == [b"old", b"old"]
    assert failed == []
    eventually(manager.settled, "one worker is left")


def test_the_number_of_workers_follows_the_places_needed_and_the_least_busy_worker_goes_first(
    manager: RunningManager, tmp_path: Path
) -> None:
    manager.write_module("crowd.py", MODULE)
    manager.start(
        f"defaults: {{scale: {{utilisation: 0.9}}}}\n"
        f"pools: {{crowd: {{functions: ['*'], concurrency: {PLACES}, min: 1, max: 4}}}}\n"
    )
    gate = tmp_path / "gate"
    with at_once(manager, *[("wait_for_file", str(gate))] * 5) as futures:
        eventually(lambda: len(running(manager)) == 5, "all five run")
        assert len(manager.workers("crowd")) == 2
        manager.command("scale", "crowd", "1")
        eventually(lambda: len(draining(manager)) == 1, "the less busy one takes no more")
        assert draining(manager) == [2]
        gate.touch()
        assert len({future.result(20) for future in futures}) == 2
