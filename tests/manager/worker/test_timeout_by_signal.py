"""JobTimeout: raised in user code, never in our own code that user code calls."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

PRELUDE = """
import signal, sys, time
from gearman_manager.errors import JobTimeout
from gearman_manager.worker.timeout_by_signal import TimeoutBySignal

limit = TimeoutBySignal()
events = []

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
        limit.call(user, 0.05)
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
        limit.call(user, 0.05)
    except JobTimeout:
        events.append("interrupted")
    print(events)
    """
    assert run(program) == "['finished', 'interrupted']"


@pytest.mark.parametrize("timeout_s", [0.05, 10])
def test_after_the_call_nothing_is_raised_any_more(timeout_s: float) -> None:
    program = f"""
    print(limit.call(lambda: "result", {timeout_s}))
    wait_for_alarm()
    """
    assert run(program) == "result"
