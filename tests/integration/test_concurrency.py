"""`concurrency: N`: one worker runs several jobs at once. The proof is jobs that wait for each other, not the clock."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gearman_client import JobException

from .conftest import RunningManager, eventually
from .crowd import MODULE, PLACES, at_once, results, running

HOOKS = """
import time
started = time.monotonic()

def job_start(job):
    job.log.info("the hook sees it start")
    time.sleep(0.01)
"""


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
