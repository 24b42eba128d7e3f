"""JobTimeout and JobStopped: raised in user code, never in our own code that user code calls."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

PRELUDE = """
import os, signal, sys, time
from gearman_client.errors import JobStopped
from gearman_manager.errors import JobTimeout
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter
from gearman_client import Address, WorkerJob
from gearman_manager import Job
from gearman_manager.modules.discovery import LoadedFunction
from gearman_manager.modules.hooks import Hooks
from gearman_manager.worker.function_call import FunctionCall, mark_of_process, run_job
from gearman_manager.worker.order import OrderedFunction
from gearman_manager.worker.timeout_by_signal import TimeoutBySignal

board = Scoreboard.create(1)
slot = SlotWriter(board, 0)
limit = TimeoutBySignal(slot)
events = []

def begin(start_ns):
    slot.begin(0, 0, b"H:box:1", start_ns, 0)

def stop(start_ns):
    # as the supervisor does it
    board.tell_to_stop(0, start_ns, time.monotonic_ns() + 10**9)
    os.kill(os.getpid(), signal.SIGALRM)

def call(user, timeout_s=10):
    try:
        return limit.call(lambda _job: user(), None, timeout_s)
    except (JobStopped, JobTimeout) as error:
        return type(error).__name__

class Link:
    # answers and reports of a job; `during` runs while a report is sent
    address, connection, server_is_ours, extensions = Address(), None, True, {b"job-failure"}
    takes_lists = False
    during = None
    def tell(self, *_packet):
        if Link.during is not None:
            Link.during()
    answer = tell

assigned = WorkerJob(Link(), b"H:box:1", "f", b"", b"")

def report(during):
    Link.during = during
    Job(assigned, {}, None, limit).status(1, 2)
    Link.during = None

def run(user):
    # as `call`, by `run_job`, for a function without a time limit
    Link.during = None
    returned = []
    loaded = LoadedFunction("f", "f.py", 1, {}, lambda _job: returned.append(user()))
    function = FunctionCall(OrderedFunction("f", "f", "f.py", None, {}), loaded, 0, mark_of_process())
    job = WorkerJob(Link(), b"H:box:1", "f", b"", b"")
    failure = run_job(job, function, Hooks(), limit)
    return returned[0] if failure is None else failure.partition(":")[0]

def wait_for_alarm():
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
"""


def run(program: str) -> str:
    """Runs the program in a process of its own, because the limit owns SIGALRM."""
    source = dedent(PRELUDE) + dedent(program)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.strip()


def test_user_code_that_takes_too_long_is_interrupted_even_if_it_catches_exception() -> None:
    program = """
    def user():
        try:
            time.sleep(60)
        except Exception:
            return "swallowed"
    try:
        limit.call(lambda _job: user(), None, 0.05)
    except JobTimeout:
        print("interrupted")
    """
    assert run(program) == "interrupted"


def test_our_own_code_is_finished_first() -> None:
    program = """
    def user():
        with limit:
            wait_for_alarm()
            events.append("finished")
        events.append("never here")
    try:
        limit.call(lambda _job: user(), None, 0.05)
    except JobTimeout:
        events.append("interrupted")
    print(events)
    """
    assert run(program) == "['finished', 'interrupted']"


@pytest.mark.parametrize("timeout_s", [0.05, 10])
def test_after_the_call_nothing_is_raised_any_more(timeout_s: float) -> None:
    program = f"""
    print(limit.call(lambda _job: "result", None, {timeout_s}))
    wait_for_alarm()
    """
    assert run(program) == "result"


@pytest.fixture(params=["call", "run"])
def how(request: pytest.FixtureRequest) -> str:
    """With a time limit, or as `run_job` calls a function without one."""
    return str(request.param)


def test_a_job_that_is_to_stop_is_interrupted_once_and_can_clean_up(how: str) -> None:
    program = f"""
    def user():
        try:
            stop(7)
            time.sleep(60)
        except JobStopped:
            stop(7)
            wait_for_alarm()
            events.append("cleaned up")
            raise
    begin(7)
    print({how}(user), events, limit.has_rung)
    """
    assert run(program) == "JobStopped ['cleaned up'] True"


def test_a_stop_waits_for_our_own_code(how: str) -> None:
    program = f"""
    def user():
        report(lambda: (stop(7), wait_for_alarm(), events.append("finished")))
        time.sleep(60)
    begin(7)
    print({how}(user), events)
    """
    assert run(program) == "JobStopped ['finished']"


def test_a_stop_that_is_too_late_harms_no_other_job(how: str) -> None:
    program = f"""
    begin(7)
    print({how}(lambda: "result"))
    stop(7)  # it has just ended
    begin(8)
    print({how}(lambda: (stop(7), wait_for_alarm(), "result")[2]))
    """
    assert run(program).split() == ["result", "result"]


def test_a_time_that_was_up_at_the_very_end_does_not_end_the_next_job() -> None:
    program = """
    def late():
        report(wait_for_alarm)
    begin(7)
    print(call(late, 0.05))
    begin(8)
    print(call(lambda: "result"))
    """
    assert run(program).split() == ["JobTimeout", "result"]
