"""One client where it is used: in gunicorn's kinds of workers, forked after it connected; in a patched program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from gearman_client import Client

from ...gearmand import Gearmand
from ..conftest import RunningWorker

PATIENCE_S = 60.0
HERE = Path(__file__).parent
KINDS = {"sync": [], "gthread": ["--threads", "8"], "gevent": ["--worker-connections", "50"]}


@pytest.fixture
def echoing(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> Gearmand:
    """A job server with a worker of the function echo."""
    start_worker(gearmand.address, {"echo": lambda job: job.workload})
    return gearmand


class Gunicorn:
    """gunicorn with two workers of a kind, which share what the application made before the fork."""

    def __init__(self, kind: str, servers: str) -> None:
        options = ["-k", kind, *KINDS[kind], "-w", "2", "--preload", "-b", "127.0.0.1:0", "--chdir", str(HERE)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "gunicorn_application:application"],
            env={**os.environ, "GEARMAN_SERVERS": servers},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        assert self._process.stderr is not None
        self._stderr = self._process.stderr
        self.port = self._wait_for_port()
        self._reader = threading.Thread(target=lambda: self.log.extend(self._stderr), daemon=True)
        self._reader.start()

    def _wait_for_port(self) -> int:
        for line in self._stderr:
            self.log.append(line)
            listening = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line)
            if listening is not None:
                return int(listening[1])
        raise AssertionError(f"gunicorn did not start: {''.join(self.log)}")

    def get(self, path: str) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, f"{body!r}: {''.join(self.log)}"
            return body
        finally:
            connection.close()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._reader.join(PATIENCE_S)
            self._stderr.close()


@pytest.fixture(params=KINDS)
def gunicorn(request: pytest.FixtureRequest, echoing: Gearmand) -> Iterator[Gunicorn]:
    server = Gunicorn(request.param, str(echoing.address))
    yield server
    server.stop()


def test_each_request_gets_its_own_result_in_workers_forked_after_the_client_connected(gunicorn: Gunicorn) -> None:
    paths = [f"/{number}" for number in range(60)]
    processes: set[bytes] = set()
    deadline = time.monotonic() + PATIENCE_S
    with ThreadPoolExecutor(20) as callers:
        while len(processes) < 2:
            assert time.monotonic() < deadline, "one of the two workers never answers"
            answers = [answer.split() for answer in callers.map(gunicorn.get, paths)]
            assert [answer[0].decode() for answer in answers] == paths
            processes |= {answer[1] for answer in answers}


PATCHED = """
import sys
import eventlet
eventlet.monkey_patch()
from gearman_client import Client, CouldNotConnect, Timeout

client = Client(sys.argv[1], timeout_s=60)

def many(number):
    return all(client.submit("echo", f"{number} {job}") == f"{number} {job}".encode() for job in range(20))

slow = eventlet.spawn(client.submit, "nobody", b"", timeout_s=1)
print(sum(eventlet.GreenPool().imap(many, range(8))))
print(client.status(client.submit_background("none", b"x" * 3_000_000)).known)
try:
    slow.wait()
except Timeout:
    print("timeout")
try:
    Client("127.0.0.1:1").echo()
except CouldNotConnect:
    print("refused")
print(Client(sys.argv[1].replace("127.0.0.1", "localhost"), timeout_s=60).echo(b"by name"))
"""


def test_a_program_that_eventlet_patched_shares_a_client_among_its_greenlets(echoing: Gearmand) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PATCHED, str(echoing.address)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (run.stdout, run.returncode) == ("8\nTrue\ntimeout\nrefused\nb'by name'\n", 0), run.stderr


def test_a_hundred_threads_share_a_client(echoing: Gearmand) -> None:
    threads, jobs = 100, 10
    started = threading.Barrier(threads)
    with Client(echoing.address, timeout_s=PATIENCE_S) as client:

        def many(number: int) -> bool:
            started.wait(PATIENCE_S)
            return all(
                client.submit("echo", f"{number} {job}") == f"{number} {job}".encode()
                and client.status(client.submit_background("none", b"", unique=f"{number}")).known
                for job in range(jobs)
            )

        with ThreadPoolExecutor(threads) as pool:
            assert sum(pool.map(many, range(threads))) == threads
