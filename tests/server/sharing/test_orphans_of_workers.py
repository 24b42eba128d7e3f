"""Workers of the client library go on with their jobs when their server is killed; other servers take the answers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

from gearman_client import Worker, WorkerJob, WorkerSettings
from gearman_client.packet import PacketType

from ..server_process import ServerProcess
from .conftest import Cluster, Until, submit, waiting


class Runner:
    """A worker in a thread of its own, which runs jobs in any way."""

    def __init__(
        self,
        servers: tuple[ServerProcess, ...],
        callback: Callable[[WorkerJob], object],
        prefetch: int = 1,
        *,
        discover: bool = False,
    ):
        addresses = [f"127.0.0.1:{server.port}" for server in servers]
        self.worker = Worker(addresses, WorkerSettings(prefetch=prefetch, discover=discover))
        self.worker.register("f", callback)
        self.thread = threading.Thread(target=self.worker.work)

        #: Jobs wait for it as long as the test wants, and at its end.
        self.go_on = threading.Event()

    def __enter__(self) -> Runner:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.worker.stop()
        self.thread.join()
        self.worker.close()


#: The databases make no difference to workers.
pytestmark = pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)


def test_a_job_goes_on_and_its_answer_is_taken(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    dead, living = pair
    begun: list[str] = []

    def run(job: WorkerJob) -> str:
        begun.append(job.handle)
        if len(begun) == 1:
            runner.go_on.wait()
        return "result"

    with Runner(pair, run) as runner:
        (handle,) = submit(dead.peer(), 1)
        until(lambda: bool(begun))
        dead.signal(signal.SIGKILL)
        until(lambda: waiting(living) == 1)
        runner.go_on.set()
        until(lambda: cluster.database.rows("handle") == [])
    assert begun == [handle.decode()]


def test_a_job_that_reports_goes_on_for_as_long_as_it_takes(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    dead, living = pair
    begun: list[str] = []

    def run(job: WorkerJob) -> None:
        begun.append(job.handle)
        while not runner.go_on.wait(0.1):
            job.status(3, 7)

    with Runner(pair, run) as runner:
        (handle,) = submit(dead.peer(), 1)
        until(lambda: bool(begun))
        dead.signal(signal.SIGKILL)
        until(lambda: b"running" in living.text(b"jobs list"))
        time.sleep(2)  # the wait for words is over
        assert living.peer().ask(PacketType.GET_STATUS, handle)[1] == handle + b"\0" + b"1\0" + b"1\0" + b"3\0" + b"7"
        runner.go_on.set()
        until(lambda: cluster.database.rows("handle") == [])
    assert begun == [handle.decode()]


@pytest.mark.parametrize("prefetch", [1, 8])
def test_short_jobs_under_a_kill_run_once(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until, prefetch: int
) -> None:
    dead = pair[0]
    begun: list[str] = []

    def run(job: WorkerJob) -> None:
        begun.append(job.handle)
        time.sleep(0.001)

    submit(dead.peer(), 2000)
    with Runner(pair, run, prefetch):
        until(lambda: len(begun) > 300)
        dead.signal(signal.SIGKILL)
        until(lambda: cluster.database.rows("handle") == [])
    assert len(begun) == len(set(begun)) == 2000


def test_a_job_of_a_server_that_stands_still_goes_on_and_runs_once(
    cluster: Cluster, pair: tuple[ServerProcess, ServerProcess], until: Until
) -> None:
    still, living = pair
    begun: list[str] = []

    def run(job: WorkerJob) -> None:
        begun.append(job.handle)
        while not runner.go_on.wait(0.1):
            job.status(3, 7)

    with Runner(pair, run, discover=True) as runner, Runner(pair, run, discover=True):
        until(lambda: all(server.text(b"status") == b"f\t0\t0\t2\n.\n" for server in pair))
        (handle,) = submit(still.peer(), 1)
        until(lambda: (1,) in cluster.database.rows("state"))
        still.signal(signal.SIGSTOP)
        try:
            until(lambda: b"running" in living.text(b"jobs list"))
            time.sleep(2)  # whatever is in doubt is decided
            assert begun == [handle.decode()]
        except BaseException:
            runner.go_on.set()
            raise
        finally:
            still.signal(signal.SIGCONT)
        still.wait_for_log("comes back as a new one")
        until(lambda: living.peer().ask(PacketType.GET_STATUS, handle)[1].split(b"\0")[2:] == [b"1", b"3", b"7"])
        runner.go_on.set()
        until(lambda: cluster.database.rows("handle") == [])
    assert begun == [handle.decode()]
