"""Clients and workers in PHP, Perl, C, Python and Node, by other people (see peers/): with ours, and with each other.

A test compares the whole output of a peer, standard error included, so that any message fails the test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gearman_client import Client, JobException, JobFailed, Worker, connect_admin
from gearman_client.packet import PacketType
from gearman_server import __version__

from ..server.server_process import ServerProcess
from .conftest import RunningManager, eventually, port_of
from .peers.programs import DEADLINE_S, LANGUAGES, Command, ended, run, running
from .peers.transcripts import BINARY, CANNOT, TRANSCRIPTS

MODES = ("results", "progress", "failure", "exception")
# These libraries take a job's workload and result for text.
TEXT_WORKERS = ("python3_gearman", "gearmanode")
STEPS: list[object] = [(1, 2), b"\0piece", b"careful", (2, 2)]
# Its progress is a percentage, and it sends WORK_DATA only to a server of its own.
STEPS_OF_ABRAXAS: list[object] = [(50, 100), b"careful", (100, 100)]
TEXT = b"text, in several pieces\n" * 40_000
ENDLESS = 1_000_000


@pytest.mark.parametrize(
    ("language", "mode"), [(one, mode) for one in LANGUAGES for mode in MODES if (one, mode) not in CANNOT]
)
def test_a_foreign_client_gets_results_progress_and_failures(
    samples: RunningManager, peer: Callable[[str, str], Command], language: str, mode: str
) -> None:
    assert run([*peer(language, "client"), port_of(samples), mode]) == (0, TRANSCRIPTS[mode], "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_foreign_client_can_follow_its_background_job(
    samples: RunningManager, peer: Callable[[str, str], Command], language: str, tmp_path: Path
) -> None:
    command = [*peer(language, "client"), port_of(samples), "background", str(tmp_path / "gate")]
    assert run(command) == (0, TRANSCRIPTS["background"], "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_unique_keys_and_priorities_of_a_foreign_client_are_kept(
    samples: RunningManager, peer: Callable[[str, str], Command], language: str
) -> None:
    function = f"queue_{language}"
    command = [*peer(language, "client"), port_of(samples), "queue", function]
    assert run(command) == (0, TRANSCRIPTS["queue"], "")
    with connect_admin(samples.address) as admin, samples.client(timeout_s=DEADLINE_S) as client:
        (queued,) = [one for one in admin.priority_status() if one.function == function]
        assert (queued.high, queued.normal, queued.low) == (1, 1, 1)
        assert client.submit_background(function, "the same", unique=f"{function} normal")
        assert sum(one.total for one in admin.status() if one.function == function) == 3
    workloads = []
    with Worker(samples.address) as worker:
        worker.register(function, lambda job: workloads.append(job.workload))
        worker.work(max_jobs=3)
    assert workloads == [b"high", b"normal", b"low"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_foreign_client_and_ours_share_a_foreground_job(
    samples: RunningManager, peer: Callable[[str, str], Command], language: str
) -> None:
    function = f"join_{language}"
    unique = f"{function} shared"
    command = peer(language, "client")  # where it is missing, the test ends here
    with (
        ThreadPoolExecutor(1) as background,
        samples.client(timeout_s=DEADLINE_S) as client,
        samples.client() as observer,
        Worker(samples.address) as worker,
    ):
        ours = background.submit(client.submit, function, "ours", unique=unique)
        eventually(lambda: observer.status_unique(unique).waiting_clients == 1, "our client waits")
        with running([*command, port_of(samples), "join", function]) as theirs:
            eventually(lambda: observer.status_unique(unique).waiting_clients == 2, "both wait for one job")
            worker.register(function, lambda job: job.workload[::-1])
            assert worker.work(max_jobs=1) == 1
            assert ended(theirs) == (0, "joined: sruo\n", "")
        assert ours.result(DEADLINE_S) == b"sruo"


@contextmanager
def foreign_worker(command: Command, manager: RunningManager, jobs: int) -> Iterator[tuple[Client, str]]:
    """A worker that serves a number of jobs and must end silently; gives our client and the prefix of its functions."""
    prefix = f"foreign_{os.urandom(4).hex()}"
    with running([*command, port_of(manager), prefix, str(jobs)]) as worker:
        with manager.client(timeout_s=DEADLINE_S) as client:
            yield client, prefix
        assert ended(worker) == (0, "", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_foreign_worker_serves_our_client(
    samples: RunningManager, peer: Callable[[str, str], Command], language: str
) -> None:
    texts = [f"workload {number}" for number in range(20)]
    with foreign_worker(peer(language, "worker"), samples, jobs=len(texts) + 2) as (client, prefix):
        assert [client.submit(f"{prefix}_reverse", text) for text in texts] == [text[::-1].encode() for text in texts]
        for workload in (TEXT, b"\0" * len(TEXT)) if language in TEXT_WORKERS else (BINARY, b"\0" * len(BINARY)):
            assert client.submit(f"{prefix}_reverse", workload) == workload[::-1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_our_client_gets_progress_data_and_warnings_of_a_foreign_worker(
    samples: RunningManager, peer: Callable[[str, str], Command], language: str
) -> None:
    heard: list[object] = []
    with foreign_worker(peer(language, "worker"), samples, jobs=1) as (client, prefix):
        answer = client.submit(
            f"{prefix}_steps",
            b"",
            on_status=lambda numerator, denominator: heard.append((numerator, denominator)),
            on_data=heard.append,
            on_warning=heard.append,
        )
    assert answer == b"done"
    assert heard == (STEPS_OF_ABRAXAS if language == "abraxas" else STEPS)


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one != "abraxas"])
def test_failures_of_a_foreign_worker_arrive_and_it_goes_on(
    samples: RunningManager, peer: Callable[[str, str], Command], language: str
) -> None:
    with foreign_worker(peer(language, "worker"), samples, jobs=6) as (client, prefix):
        for _ in range(2):
            with pytest.raises(JobFailed):
                client.submit(f"{prefix}_fail", "tea")
            with pytest.raises(JobException, match=r"\Ano tea\Z"):
                client.submit(f"{prefix}_throw", "tea")
            assert client.submit(f"{prefix}_reverse", "tea") == b"aet"


def test_an_abraxas_worker_sends_every_failure_as_an_exception_and_goes_on(
    samples: RunningManager, peer: Callable[[str, str], Command]
) -> None:
    with foreign_worker(peer("abraxas", "worker"), samples, jobs=4) as (client, prefix):
        for _ in range(2):
            with pytest.raises(JobException, match="no tea"):
                client.submit(f"{prefix}_throw", "tea")
            assert client.submit(f"{prefix}_reverse", "tea") == b"aet"


def test_a_perl_worker_goes_on_after_its_function_died(
    samples: RunningManager, peer: Callable[[str, str], Command]
) -> None:
    """After an exception it also sends WORK_FAIL. It would end if an ERROR came in place of its next job."""
    with running([*peer("perl", "worker"), port_of(samples), "mortal", "3"]) as worker:
        with samples.client(timeout_s=DEADLINE_S) as client:
            for _ in range(2):
                with pytest.raises(JobException, match="no tea"):
                    client.submit("mortal_die", "tea")
            assert client.submit("mortal_reverse", "tea") == b"aet"
        assert ended(worker) == (0, "", "Job 'mortal_die' died: no tea\n" * 2)


@pytest.fixture(scope="module")
def all_workers(samples: RunningManager, peer: Callable[[str, str], Command]) -> Iterator[list[str]]:
    """A worker of each language; gives the prefixes of their functions."""
    with ExitStack() as workers:
        for language in LANGUAGES:
            command = [*peer(language, "worker"), port_of(samples), f"pair_{language}", str(ENDLESS)]
            workers.enter_context(running(command))
        yield [f"pair_{language}" for language in LANGUAGES]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_foreign_client_is_served_by_every_foreign_worker(
    samples: RunningManager, peer: Callable[[str, str], Command], language: str, all_workers: list[str]
) -> None:
    command = [*peer(language, "client"), port_of(samples), "text"]
    transcripts = {worker: run([*command, f"{worker}_reverse"]) for worker in all_workers}
    assert transcripts == dict.fromkeys(all_workers, (0, TRANSCRIPTS["text"], ""))


# --- their own views of the server


@pytest.fixture
def one_job() -> Iterator[str]:
    """The port of a job server with one function, `f`, which has a queued job and a worker named `ours`."""
    server = ServerProcess()
    try:
        worker = server.peer()
        worker.send(PacketType.SET_CLIENT_ID, b"ours")
        worker.send(PacketType.CAN_DO, b"f")
        worker.ask(PacketType.SUBMIT_JOB_BG, b"f", b"f normal", b"x")
        yield str(server.port)
    finally:
        server.stop()


ADMIN = {
    "gear": "status: 1 0 1\nworkers: ours\nunique: f normal\njob: 0 0 1\ncancelled: OK\nversion: OK {version}\n",
    "python3_gearman": "status: 1 0 1\nworkers: ours\nping: True\nversion: OK {version}\n",
    "abraxas": "status: 1 0 1\nconnections: 1\n",
}


@pytest.mark.parametrize("language", ADMIN)
def test_a_foreign_library_reads_the_servers_tables(
    one_job: str, peer: Callable[[str, str], Command], language: str
) -> None:
    expected = ADMIN[language].format(version=__version__)
    assert run([*peer(language, "client"), one_job, "admin", "f"]) == (0, expected, "")
