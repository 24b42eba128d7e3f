"""The eager server beside our real one: the same calls of a client, the same functions, the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Client, GearmanError, JobHandle, WorkerJob
from gearman_client.testing import EagerServer

from ..conftest import JobServer, RunningWorker

PATIENCE_S = 60.0
POLICIES: dict[str, dict[str, Any]] = {
    "flaky": {"retries": 2, "backoff": "10ms"},
    "kept": {"keep_result": "60s", "retries": 1, "backoff": "10ms"},
    "rejected": {"retries": 5, "backoff": "10ms"},
    "often": {"retries": 0, "backoff": "10ms"},
    "full": {"max_queue": 2},
}
Transcript = list[object]


def talk(job: WorkerJob) -> bytes:
    job.status(1, 3)
    job.data(b"a\0b")
    job.data(b"")
    job.warning(b"careful")
    job.status(3, 3)
    return job.workload + b"\0end"


def flaky(job: WorkerJob) -> str:
    job.data(f"attempt {job.attempt};")
    if job.attempt is not None and job.attempt <= int(job.workload):
        raise OSError(f"attempt {job.attempt}")
    return f"done in attempt {job.attempt}"


def rejected(job: WorkerJob) -> None:
    job.reject("never")


def often(job: WorkerJob) -> bytes | None:
    if job.attempt is not None and job.attempt < 4:
        job.retry("again", after_s=0.01, attempts=int(job.workload))
        return None
    return b"at last"


def answered(job: WorkerJob) -> bytes:
    job.complete(b"first")
    return b"second"


def refuse(job: WorkerJob) -> None:
    raise ValueError


FUNCTIONS: dict[str, Callable[[WorkerJob], object]] = {
    "talk": talk,
    "flaky": flaky,
    "kept": flaky,
    "rejected": rejected,
    "often": often,
    "answered": answered,
    "refuse": refuse,
    "fail": lambda job: job.fail(),
    "exception": lambda job: job.exception(b"\0data"),
    "echo": lambda job: f"{job.function} {job.unique} {job.workload!r}",
    "nothing": lambda job: None,
    "json": lambda job: {"a": (1, None)},
    "wrong": lambda job: {"a": object()},
}


class Party:
    """A job server with the functions, a client, and what the client hears."""

    def __init__(self, client: Client, end: Callable[[JobHandle], object]) -> None:
        self.client = client
        self.end = end  # has the background jobs run to their end
        self.transcript: Transcript = []

    def note(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make a call, and write down its outcome."""
        try:
            outcome = call(*arguments, **options)
        except GearmanError as error:
            outcome = None
            self.transcript.append((type(error).__name__, self._plain(str(error))))
        else:
            self.transcript.append(self._plain(str(outcome)))
        return outcome

    def submit(self, function: str, workload: bytes | str, **options: Any) -> None:
        """A foreground job with all callbacks."""
        self.note(
            self.client.submit,
            function,
            workload,
            on_status=lambda *progress: self.transcript.append(progress),
            on_data=self.transcript.append,
            on_warning=self.transcript.append,
            on_exception=self.transcript.append,
            **options,
        )

    @staticmethod
    def _plain(text: str) -> str:
        """Without the server's name and its handles, which differ."""
        words = ("HANDLE" if word.strip(":,").startswith("H:") else word for word in text.split(" "))
        return " ".join("SERVER" if ":" in word and word.rpartition(":")[2].isdigit() else word for word in words)


@pytest.fixture
def real(
    start_ours: Callable[..., JobServer],
    start_worker: Callable[..., RunningWorker],
    wait_for: Callable[[Callable[[], Any], str], Any],
    tmp_path: Path,
) -> Iterator[Party]:
    policies = tmp_path / "policies.yaml"
    policies.write_text(f"functions: {POLICIES!r}\n")
    server = start_ours("--policies", str(policies))
    start_worker(server.address, FUNCTIONS)
    with Client(server.address, timeout_s=PATIENCE_S) as client:
        yield Party(client, lambda handle: wait_for(lambda: not client.status(handle).known, "the job has ended"))


@pytest.fixture
def eager(real: Party) -> Iterator[Party]:
    """After the real one, whose worker and client are connected when this comes."""
    assert real.client.ping()
    with EagerServer() as server, Client("any.host", timeout_s=PATIENCE_S) as client:
        for name, function in FUNCTIONS.items():
            server.register(name, function, **POLICIES.get(name, {}))
        server.register("full", refuse, **POLICIES["full"])  # its policy; nobody runs it
        yield Party(client, lambda _handle: server.run_all())


def foreground(party: Party) -> None:
    party.submit("talk", b"x\0y")
    party.submit("nothing", b"")
    party.submit("json", b"")
    party.submit("answered", "")
    party.submit("echo", "é", unique="key", priority="high")
    party.submit("echo", b"", unique="-")
    party.submit("echo", b"r", reducer="nothing")


def failures(party: Party) -> None:
    for function in ("refuse", "fail", "exception", "wrong", "rejected"):
        party.submit(function, b"")


def retries(party: Party) -> None:
    for workload in ("0", "2", "3"):
        party.submit("flaky", workload)
    for workload in ("4", "3"):
        party.submit("often", workload)


def kept_results(party: Party) -> None:
    for workload in ("0", "1", "2"):
        handle = party.note(party.client.submit_background, "kept", workload)
        data: list[bytes] = []
        party.note(party.client.result, handle, on_data=data.append)
        data.clear()  # who comes in the middle hears of an attempt that is tried again; afterwards the last one is kept
        party.note(party.client.result, handle, timeout_s=0, on_data=data.append)
        party.transcript.append(list(data))
        party.note(party.client.status, handle)


def other_results(party: Party) -> None:
    handle = party.note(party.client.submit_background, "nothing", b"")
    party.end(handle)
    party.note(party.client.result, handle, timeout_s=0)
    party.note(party.client.result, "H:nobody:1")
    party.note(party.client.status, handle)
    delayed = party.note(party.client.submit_background, "kept", "0", delay=3600)
    party.note(party.client.status, delayed)
    party.note(party.client.result, delayed, timeout_s=0)
    unkept = party.note(party.client.submit_background, "nothing", "", delay=3600)
    party.note(party.client.result, unkept)


def batches(party: Party) -> None:
    batch = party.client.batch(id="all", on_complete="echo", on_failure="echo")
    party.note(batch.status)
    with batch:
        chain = batch.background("json", b"1", then=["echo", "rejected"], on_failure="echo")
        batch.background("flaky", b"1")
        waiting = batch.background("nothing", b"", delay=3600)
        party.note(party.client.submit_background, "echo", b"", batch="nobody")
    party.end(chain)
    party.note(party.client.stop, waiting)
    while batch.status().state != "done":
        party.end(chain)  # and what follows it
    party.note(party.client.batch_status, "all")
    party.note(party.client.submit_background, "echo", b"", batch="all")
    party.note(party.client.batch, id="all")


def queues(party: Party) -> None:
    """Of a function that nobody does: its jobs wait."""
    for unique in ("a", "a", "b", "c"):
        party.note(party.client.submit_background, "full", b"", unique=unique)
    party.note(party.client.status_unique, "a")
    party.note(party.client.status_unique, "c")
    party.note(party.client.submit_background_many, "full", [b"", b""])
    party.note(party.client.echo, b"still there")


@pytest.mark.parametrize("scene", [foreground, failures, retries, kept_results, other_results, batches, queues])
def test_the_eager_server_answers_as_the_real_one(
    real: Party, request: pytest.FixtureRequest, scene: Callable[[Party], None]
) -> None:
    scene(real)
    eager = request.getfixturevalue("eager")
    scene(eager)
    assert len(real.transcript) > 4
    assert eager.transcript == real.transcript
