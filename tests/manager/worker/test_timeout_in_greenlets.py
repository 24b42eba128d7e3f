"""JobTimeout among jobs that run side by side: raised in the overdue one, and never in our own code."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

PRELUDE = """
from gevent import monkey; monkey.patch_all()
import time
import gevent
import os, signal
from gearman_manager.worker import timeout_in_greenlets
from gearman_client.errors import JobStopped
from gearman_manager.errors import JobTimeout
from gearman_manager.ipc.scoreboard import Scoreboard, SlotWriter
from gearman_manager.worker.timeout_in_greenlets import GreenletTimeout, TimeoutsInGreenlets

timeout_in_greenlets.CLEAN_UP_S = 0.2
limits = TimeoutsInGreenlets()
given_up = []
board = Scoreboard.create(1)
slots = {}

def limit(name="job"):
    number = len(slots)
    slot = slots[name] = SlotWriter(board, number)
    slot.begin(0, 0, b"H:box:1", number + 1, 0)
    return GreenletTimeout(limits, lambda _limit: given_up.append(name), slot)

def stop(name, clean_up_s=0.2):
    # as the supervisor does it
    number = list(slots).index(name)
    board.tell_to_stop(number, number + 1, time.monotonic_ns() + int(clean_up_s * 1e9))
    os.kill(os.getpid(), signal.SIGALRM)

def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

def run(name, function, timeout_s):
    try:
        return name, limit(name).call(lambda _job: function(), None, timeout_s)
    except JobTimeout:
        return name, "interrupted"
    except JobStopped:
        return name, "stopped"

def together(*jobs):
    greenlets = [gevent.spawn(run, *job) for job in jobs]
    gevent.joinall(greenlets, raise_error=True)
    return [greenlet.value for greenlet in greenlets]
"""


def run(program: str) -> str:
    """Runs the program in a process of its own, because the limits own SIGALRM and the standard library is patched."""
    source = dedent(PRELUDE) + dedent(program)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.strip()


def test_of_waiting_jobs_only_the_overdue_one_is_interrupted() -> None:
    program = """
    print(together(("a", lambda: time.sleep(60), 0.1), ("b", lambda: time.sleep(0.3), 10)))
    """
    assert run(program) == "[('a', 'interrupted'), ('b', None)]"


def test_a_computing_job_is_interrupted_and_the_job_that_it_delays_is_not() -> None:
    program = """
    print(together(("a", lambda: compute(60), 0.2), ("b", lambda: time.sleep(0.05), 10)), given_up)
    """
    assert run(program) == "[('a', 'interrupted'), ('b', None)] []"


def test_an_overdue_waiting_job_does_not_interrupt_a_computing_job_within_its_own_limit() -> None:
    program = """
    print(together(("late", lambda: time.sleep(60), 0.1), ("computes", lambda: compute(0.5), 10)))
    """
    assert run(program) == "[('late', 'interrupted'), ('computes', None)]"


def test_our_own_code_is_finished_first() -> None:
    program = """
    events = []
    own = limit()

    def user():
        with own:
            compute(0.4)
            events.append("finished")
        compute(60)

    def job():
        try:
            own.call(lambda _job: user(), None, 0.1)
        except JobTimeout:
            events.append("interrupted")

    gevent.spawn(job).join()
    print(events)
    """
    assert run(program) == "['finished', 'interrupted']"


def test_after_the_call_nothing_is_raised_any_more() -> None:
    program = """
    def job():
        first = run("job", lambda: "result", 0.05)
        time.sleep(0.1)
        compute(0.2)
        return first

    print(gevent.spawn(job).get(), given_up)
    """
    assert run(program) == "('job', 'result') []"


def test_a_job_that_ignores_its_timeout_is_given_up_once() -> None:
    program = """
    def stubborn():
        try:
            time.sleep(60)
        except JobTimeout:
            time.sleep(0.5)
        return "at last"

    print(together(("stubborn", stubborn, 0.1), ("tidy", lambda: time.sleep(60), 0.1)), given_up)
    """
    assert run(program) == "[('stubborn', 'at last'), ('tidy', 'interrupted')] ['stubborn']"


def test_of_waiting_jobs_only_the_stopped_one_is_interrupted() -> None:
    program = """
    gevent.spawn_later(0.1, stop, "a")
    print(together(("a", lambda: time.sleep(60), None), ("b", lambda: time.sleep(0.5), None)), given_up)
    """
    assert run(program) == "[('a', 'stopped'), ('b', None)] []"


def test_a_computing_job_is_stopped() -> None:
    program = """
    print(together(("a", lambda: (stop("a"), compute(60)), None), ("b", lambda: time.sleep(0.05), None)), given_up)
    """
    assert run(program) == "[('a', 'stopped'), ('b', None)] []"


def test_a_job_that_was_told_before_its_function_began_is_stopped() -> None:
    program = """
    def job():
        own = limit("a")
        stop("a")
        try:
            own.call(compute, 60, None)
        except JobStopped:
            return "stopped"

    print(gevent.spawn(job).get(), given_up)
    """
    assert run(program) == "stopped []"


def test_a_job_that_ignores_its_stop_is_given_up_after_the_time_that_it_has() -> None:
    program = """
    def stubborn():
        try:
            time.sleep(60)
        except JobStopped:
            time.sleep(0.8)
        return "at last"

    gevent.spawn_later(0.1, stop, "stubborn", 0.3)
    print(together(("stubborn", stubborn, None)), given_up)
    """
    assert run(program) == "[('stubborn', 'at last')] ['stubborn']"
