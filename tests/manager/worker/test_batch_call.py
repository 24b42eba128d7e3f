"""A function that takes a list of jobs: each job gets a fate of its own, whatever the call does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_client import Address, WorkerJob
from gearman_client.connection.connection import Connection
from gearman_client.extensions import JOB_FAILURE_OPTION, WORK_FAILURE
from gearman_client.packet import HEADER, HEADER_BYTES, PacketType
from gearman_manager import Job, JobTimeout, Reject, Retry
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter
from gearman_manager.modules.discovery import LoadedFunction
from gearman_manager.modules.hooks import Hooks
from gearman_manager.worker.batch_call import run_batch
from gearman_manager.worker.function_call import FunctionCall, mark_of_process
from gearman_manager.worker.order import OrderedFunction
from gearman_manager.worker.timeout_by_signal import TimeoutBySignal

Function = Callable[[list[Job]], Any]
SLOT = SlotWriter(Scoreboard.create(pages=1), 0)


class Server:
    """The link to a job server of ours, which notes what it is told."""

    def __init__(self) -> None:
        self.address = Address()
        self.connection: Any = object()
        self.server_is_ours = True
        self.must_leave = self.can_go_on = self.takes_lists = False
        self.done: list[Any] = []
        self.former_extensions: frozenset[bytes] = frozenset()
        self.extensions = {JOB_FAILURE_OPTION}
        self.told: list[bytes] = []

    def hears_stop(self, _connection: Connection | None, _handle: bytes) -> bool:
        return False

    def answer(self, _connection: Connection | None, _handle: bytes, packet: bytes, _attempt: int = 0) -> None:
        self.told.append(packet)

    def tell(self, _connection: Connection | None, packet: bytes, _attempt: int = 0) -> None:
        self.told.append(packet)

    @property
    def answers(self) -> dict[str, str]:
        """By handle: the result, or the verdict and the reason."""
        found = {}
        for packet in self.told:
            _, kind, _ = HEADER.unpack_from(packet)
            handle, *arguments = packet[HEADER_BYTES:].decode().split("\0")
            if kind == PacketType.WORK_COMPLETE:
                found[handle] = "\0".join(arguments)
            elif kind == WORK_FAILURE:
                verdict, wait, most, reason, _trace = arguments
                found[handle] = " ".join(filter(None, (verdict, wait, most, reason)))
        return found


def run(
    target: Function,
    jobs: int = 3,
    *,
    timeout_s: float | None = None,
    hooks: Hooks | None = None,
    redact: tuple[str, ...] = (),
    workload: bytes = b"load %d",
) -> tuple[dict[str, str], list[str]]:
    """Call the function with so many jobs; returns the answers and the reasons of the failed ones."""
    server = Server()
    ordered = OrderedFunction("f", "f", "f.py", timeout_s, {}, 1000, redact=redact)
    function = FunctionCall(ordered, LoadedFunction("f", "f.py", 1, {}, target), 0, mark_of_process())
    assigned = [WorkerJob(server, b"%d" % number, "f", b"", workload % number) for number in range(jobs)]
    reasons = run_batch(assigned, function, hooks or Hooks(), TimeoutBySignal(SLOT))
    assert all(job.answered for job in assigned)
    return server.answers, reasons


def raises(error: BaseException) -> Function:
    def function(_jobs: list[Job]) -> None:
        raise error

    return function


@pytest.mark.parametrize("kind", [list, tuple])
def test_each_job_gets_the_result_at_its_place(kind: Callable[[Any], Any]) -> None:
    answers, reasons = run(lambda jobs: kind(job.workload.upper() for job in jobs))
    assert (answers, reasons) == ({"0": "LOAD 0", "1": "LOAD 1", "2": "LOAD 2"}, [])


def test_nothing_returned_means_that_all_are_done() -> None:
    assert run(lambda jobs: None) == ({"0": "", "1": "", "2": ""}, [])


def test_an_exception_in_the_list_is_the_fate_of_one_job() -> None:
    answers, reasons = run(
        lambda jobs: ["fine", ValueError("no"), Retry("later", after=5), Reject("never"), {1, 2}, JobTimeout("own")], 6
    )
    assert answers == {
        "0": "fine",
        "1": "fail ValueError: no",
        "2": "retry 5000 25 Retry: later",
        "3": "reject Reject: never",
        "4": "[1, 2]",
        "5": "fail JobTimeout: own",
    }
    assert reasons == ["ValueError: no", "Retry: later", "Reject: never", "JobTimeout: own"]


def test_an_error_tells_nothing_that_is_private_in_one_of_the_jobs(caplog: pytest.LogCaptureFixture) -> None:
    private: dict[str, Any] = {"redact": ("password",), "workload": b'{"password": "s3cret %d", "user": "bob"}'}
    answers, reasons = run(raises(ValueError("bob has s3cret 2, not password=s3cret 1")), **private)
    told = "ValueError: bob has [redacted], not password=[redacted]"
    assert answers == dict.fromkeys("012", f"fail {told}")
    assert reasons == [told] * 3
    answers, _ = run(lambda jobs: [None, Reject("s3cret 1"), Retry(jobs[2].workload.decode())], **private)
    assert answers["1"] == "reject Reject: [redacted]"
    assert "s3cret" not in str(answers) + caplog.text
    assert "password=[redacted]" in caplog.text


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (OSError("no server"), "fail OSError: no server"),
        (Retry("busy", after="1s", attempts=None), "retry 1000 Retry: busy"),
        (Reject("nonsense"), "reject Reject: nonsense"),
        (SystemExit(3), "fail SystemExit: 3"),
    ],
)
def test_what_it_raises_is_the_fate_of_all_and_logged_once(
    error: BaseException, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers, reasons = run(raises(error), 100)
    assert answers == {str(number): answer for number in range(100)}
    assert len(reasons) == 100
    assert len(caplog.records) == 2
    assert caplog.records[1].getMessage() == "the same holds for the 99 other jobs of its call"
    assert caplog.records[1].levelno == caplog.records[0].levelno


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ([], "returned 0 results: return one for each, in order"),
        (["a", "b"], "returned 2 results"),
        (["a"] * 4, "returned 4 results"),
        ("abc", "returned str: return a list, a result for each"),
        ({"0": 1}, "returned dict"),
        (iter([1, 2, 3]), "returned list_iterator"),
    ],
)
def test_a_list_that_does_not_fit_rejects_all_for_their_work_may_be_done(returned: object, reason: str) -> None:
    answers, _ = run(lambda jobs: returned)
    assert set(answers) == {"0", "1", "2"}
    (answer,) = set(answers.values())
    assert answer.startswith(f"reject TypeError: the function got 3 jobs and {reason}")


def test_a_result_without_a_form_rejects_its_job_alone() -> None:
    answers, reasons = run(lambda jobs: ["fine", object(), "too"])
    assert (answers["0"], answers["2"]) == ("fine", "too")
    assert answers["1"].startswith("reject TypeError: the function returned object")
    assert len(reasons) == 1


def test_the_function_may_empty_its_list() -> None:
    def popping(jobs: list[Job]) -> list[bytes]:
        return [jobs.pop(0).workload for _ in range(3)]

    assert run(popping)[0] == {"0": "load 0", "1": "load 1", "2": "load 2"}


def test_one_time_limit_holds_for_the_whole_call() -> None:
    began = time.monotonic()

    def slow(jobs: list[Job]) -> None:
        for _ in jobs:
            time.sleep(60)

    answers, reasons = run(slow, timeout_s=0.05)
    assert time.monotonic() - began < 5
    assert set(answers.values()) == {"fail JobTimeout: f took longer than its timeout of 0.05 s"}
    assert len(reasons) == 3


def test_a_function_that_catches_its_timeout_saves_what_is_done() -> None:
    def careful(jobs: list[Job]) -> list[object]:
        done: list[object] = []
        try:
            for job in jobs:
                time.sleep(0 if job.handle == "0" else 60)
                done.append("sent")
        except JobTimeout as late:
            return done + [Retry(str(late) or "late")] * (len(jobs) - len(done))
        return done

    answers, _ = run(careful, timeout_s=0.05)
    assert answers == {"0": "sent", "1": "retry 25 Retry: late", "2": "retry 25 Retry: late"}


def test_hooks_run_for_each_job_and_one_that_refuses_a_job_takes_it_from_the_list() -> None:
    ended: list[tuple[str, str]] = []

    def job_start(job: Job) -> None:
        if job.handle == "1":
            raise Reject("not this one")

    hooks = Hooks(({"job_start": job_start, "job_end": lambda job, error: ended.append((job.handle, repr(error)))},))
    answers, reasons = run(lambda jobs: [f"{len(jobs)} jobs", ValueError("no")], hooks=hooks)
    assert answers == {"0": "2 jobs", "1": "reject Reject: not this one", "2": "fail ValueError: no"}
    assert sorted(ended) == [("0", "None"), ("1", "Reject('not this one')"), ("2", "ValueError('no')")]
    assert len(reasons) == 2


def test_without_a_job_that_may_start_the_function_is_not_called() -> None:
    calls: list[int] = []
    answers, _ = run(lambda jobs: calls.append(1), hooks=Hooks(({"job_start": lambda job: job.nothing},)))
    assert not calls
    assert all(answer.startswith("fail AttributeError") for answer in answers.values())


def test_a_copy_of_the_process_that_returns_too_answers_nothing() -> None:
    reader, writer = os.pipe()

    def forking(_jobs: list[Job]) -> list[str]:
        if os.fork() == 0:
            os.write(writer, b"copy ")
        return ["a", "b", "c"]

    assert run(forking)[0] == {"0": "a", "1": "b", "2": "c"}
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"copy "  # the end: the copy is gone
    os.wait()


@given(st.lists(st.sampled_from(["done", "fail", "retry", "reject", "none"]), min_size=1, max_size=50))
def test_whatever_the_fates_every_job_has_exactly_its_own(fates: list[str]) -> None:
    made = {"done": "fine", "fail": ValueError("v"), "retry": Retry("r"), "reject": Reject("j"), "none": None}
    told = {
        "done": "fine",
        "fail": "fail ValueError: v",
        "retry": "retry 25 Retry: r",
        "reject": "reject Reject: j",
        "none": "",
    }
    answers, reasons = run(lambda jobs: [made[fate] for fate in fates], len(fates))
    assert answers == {str(number): told[fate] for number, fate in enumerate(fates)}
    assert len(reasons) == sum(fate in ("fail", "retry", "reject") for fate in fates)
