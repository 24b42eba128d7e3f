"""Conversations with workers that register, sleep, grab, answer and are lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Conversation


def grabbing(talk: Conversation) -> None:
    talk.step("grab without functions", "worker", "GRAB_JOB")
    talk.step("can do", "worker", "CAN_DO", b"f")
    talk.step("none", "worker", "GRAB_JOB")
    talk.step("none uniq", "worker", "GRAB_JOB_UNIQ")
    talk.step("none all", "worker", "GRAB_JOB_ALL")
    for number, unique in enumerate((b"", b"", b"u", b"", b"v")):
        talk.step(f"submit {number}", "client", "SUBMIT_JOB_BG", b"f", unique, b"w")
    for number, kind in enumerate(("", "_UNIQ", "_UNIQ", "_ALL", "_ALL")):
        talk.step(f"grab{kind} {number}", "worker", f"GRAB_JOB{kind}")
    talk.step("a body that has no place", "worker", "GRAB_JOB", b"xyz")


def sleeping(talk: Conversation) -> None:
    for worker in ("worker", "worker 2"):
        talk.step(f"can do {worker}", worker, "CAN_DO", b"f")
        talk.step(f"sleep {worker}", worker, "PRE_SLEEP")
    talk.step("submit", "client", "SUBMIT_JOB_BG", b"f", b"", b"1", wakes=("worker", "worker 2"))
    talk.step("submit again", "client", "SUBMIT_JOB_BG", b"f", b"", b"2")
    talk.step("grab 1", "worker", "GRAB_JOB")
    talk.step("grab 2", "worker 2", "GRAB_JOB")
    talk.step("grab 3", "worker 2", "GRAB_JOB")
    talk.step("awake", "client", "SUBMIT_JOB_BG", b"f", b"", b"3")
    talk.step("sleep with work there", "worker 2", "PRE_SLEEP")
    talk.step("grab 4", "worker 2", "GRAB_JOB")
    talk.step("busy and asleep", "worker 2", "PRE_SLEEP")
    talk.step("wakes the busy one", "client", "SUBMIT_JOB_BG", b"f", b"", b"4")
    talk.step("asleep before it can do", "worker 3", "PRE_SLEEP")
    talk.step("learns it", "worker 3", "CAN_DO", b"f")


def results(talk: Conversation) -> None:
    talk.step("exceptions", "curious", "OPTION_REQ", b"exceptions")
    talk.step("EXCEPTIONS", "curious", "OPTION_REQ", b"EXCEPTIONS")
    talk.step("can do", "worker", "CAN_DO", b"f")
    for number, unique in enumerate((b"1", b"2", b"3")):
        talk.step(f"submit {number}", "client", "SUBMIT_JOB", b"f", unique, b"w")
        talk.step(f"join {number}", "curious", "SUBMIT_JOB", b"f", unique, b"w")
        talk.step(f"grab {number}", "worker", "GRAB_JOB")
    talk.step("status", "worker", "WORK_STATUS", b"{1}", b"3", b"10")
    talk.step("data", "worker", "WORK_DATA", b"{1}", b"some\0data")
    talk.step("warning", "worker", "WORK_WARNING", b"{1}", b"careful")
    talk.step("ask", "client", "GET_STATUS", b"{1}")
    talk.step("ask by unique", "client", "GET_STATUS_UNIQUE", b"1")
    talk.step("complete", "worker", "WORK_COMPLETE", b"{1}", b"res\0ult")
    talk.step("complete twice", "worker", "WORK_COMPLETE", b"{1}", b"again")
    talk.step("fail", "worker", "WORK_FAIL", b"{2}")
    talk.step("exception", "worker", "WORK_EXCEPTION", b"{3}", b"why")
    talk.step("fail after exception", "worker", "WORK_FAIL", b"{3}")
    talk.step("ask for what has ended", "client", "GET_STATUS", b"{1}")
    for kind in ("WORK_COMPLETE", "WORK_DATA", "WORK_WARNING", "WORK_EXCEPTION"):
        talk.step(f"unknown {kind}", "worker", kind, b"H:x:1", b"")
    talk.step("unknown WORK_STATUS", "worker", "WORK_STATUS", b"H:x:1", b"1", b"2")
    talk.step("unknown WORK_FAIL", "worker", "WORK_FAIL", b"H:x:1")


def odd_progress(talk: Conversation) -> None:
    talk.step("can do", "worker", "CAN_DO", b"f")
    talk.step("submit", "client", "SUBMIT_JOB", b"f", b"", b"w")
    talk.step("grab", "worker", "GRAB_JOB")
    for number, (numerator, denominator) in enumerate([(b"x", b"y"), (b"5", b""), (b"4294967295", b"1")]):
        talk.step(f"status {number}", "worker", "WORK_STATUS", b"{1}", numerator, denominator)
        talk.step(f"ask {number}", "client", "GET_STATUS", b"{1}")
    talk.step("long denominator", "worker", "WORK_STATUS", b"{1}", b"1", b"1" * 12)


def results_of_others(talk: Conversation) -> None:
    talk.step("can do", "worker", "CAN_DO", b"f")
    talk.step("other can do", "worker 2", "CAN_DO", b"f")
    talk.step("submit", "client", "SUBMIT_JOB", b"f", b"", b"w")
    talk.step("grab", "worker", "GRAB_JOB")
    talk.step("forged", "worker 2", "WORK_COMPLETE", b"{1}", b"forged")
    talk.step("complete", "worker", "WORK_COMPLETE", b"{1}", b"r")


def lost_worker(talk: Conversation) -> None:
    talk.step("can do", "worker", "CAN_DO", b"f")
    talk.step("other can do", "worker 2", "CAN_DO", b"f")
    for number in range(3):
        talk.step(f"submit {number}", "client", "SUBMIT_JOB", b"f", b"", b"%d" % number)
    talk.step("grab 1", "worker", "GRAB_JOB")
    talk.step("grab 2", "worker", "GRAB_JOB")
    talk.step("progress", "worker", "WORK_STATUS", b"{1}", b"1", b"2")
    talk.step("third", "worker 2", "GRAB_JOB")
    talk.step("sleep", "worker 2", "PRE_SLEEP")
    talk.leave("worker is lost", "worker")
    talk.step("ask", "client", "GET_STATUS", b"{1}")
    talk.text("show jobs", "client", b"show jobs")
    talk.step("grab 3", "worker 2", "GRAB_JOB")
    talk.step("grab 4", "worker 2", "GRAB_JOB")
    talk.step("complete", "worker 2", "WORK_COMPLETE", b"{1}", b"r")


def giving_up(talk: Conversation) -> None:
    talk.step("can do f", "worker", "CAN_DO", b"f")
    talk.step("can do g", "worker", "CAN_DO", b"g")
    talk.step("other can do", "worker 2", "CAN_DO", b"f")
    talk.step("sleep", "worker 2", "PRE_SLEEP")
    talk.step("submit", "client", "SUBMIT_JOB", b"f", b"", b"w")
    talk.step("grab", "worker", "GRAB_JOB")
    talk.step("grab by the other", "worker 2", "GRAB_JOB")
    talk.step("sleep again", "worker 2", "PRE_SLEEP")
    talk.step("cant do", "worker", "CANT_DO", b"f")
    talk.step("late", "worker", "WORK_COMPLETE", b"{1}", b"late")
    talk.step("no more of it", "worker", "GRAB_JOB")
    talk.step("other takes it", "worker 2", "GRAB_JOB")
    talk.step("reset", "worker 2", "RESET_ABILITIES")
    talk.step("cant do the unknown", "worker", "CANT_DO", b"nothing")
    talk.text("status", "client", b"status")


def timing_out(talk: Conversation) -> None:
    talk.step("can do", "worker", "CAN_DO_TIMEOUT", b"f", b"1000")
    talk.step("other can do", "worker 2", "CAN_DO", b"f")
    talk.step("submit", "client", "SUBMIT_JOB", b"f", b"", b"w")
    talk.step("grab", "worker", "GRAB_JOB")
    talk.step("sleep", "worker 2", "PRE_SLEEP")
    talk.wait("the other is woken", "worker 2")
    talk.step("late", "worker", "WORK_COMPLETE", b"{1}", b"late")
    talk.step("other takes it", "worker 2", "GRAB_JOB")
    talk.step("complete", "worker 2", "WORK_COMPLETE", b"{1}", b"r")


def sleeping_over_a_job(talk: Conversation) -> None:
    talk.step("can do", "worker", "CAN_DO_TIMEOUT", b"f", b"1000")
    talk.step("grab nothing", "worker", "GRAB_JOB")
    talk.step("submit", "client", "SUBMIT_JOB", b"f", b"", b"w")
    talk.step("grab", "worker", "GRAB_JOB")
    talk.step("sleep", "worker", "PRE_SLEEP")
    # This clock goes on, and runs out after the first one would have.
    talk.step("other can do", "worker 2", "CAN_DO_TIMEOUT", b"g", b"1000")
    talk.step("submit another", "client", "SUBMIT_JOB", b"g", b"", b"w")
    talk.step("grab the other", "worker 2", "GRAB_JOB")
    talk.step("third can do", "worker 3", "CAN_DO", b"g")
    talk.step("third sleeps", "worker 3", "PRE_SLEEP")
    talk.wait("the third is woken", "worker 3")
    talk.step("complete", "worker", "WORK_COMPLETE", b"{1}", b"r")


def registering(talk: Conversation) -> None:
    talk.step("id", "worker", "SET_CLIENT_ID", b"worker one")
    for name in (b"a", b"b"):
        talk.step(f"can do {name!r}", "worker", "CAN_DO", name)
    talk.text("workers", "operator", b"workers")
    talk.step("empty id", "worker", "SET_CLIENT_ID", b"")
    talk.step("cant do", "worker", "CANT_DO", b"a")
    talk.text("workers again", "operator", b"workers")
    talk.text("status", "operator", b"status")
    talk.step("twice", "worker", "CAN_DO", b"b")
    talk.text("counted", "operator", b"status")
    talk.step("reset", "worker", "RESET_ABILITIES")
    talk.text("none", "operator", b"status")
    talk.step("long id", "worker", "SET_CLIENT_ID", b"i" * 300)
    talk.text("cut", "operator", b"workers")


CONVERSATIONS = (
    grabbing,
    sleeping,
    results,
    odd_progress,
    results_of_others,
    lost_worker,
    giving_up,
    timing_out,
    sleeping_over_a_job,
    registering,
)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.__name__)
def test_our_server_answers_as_gearmand_does(
    conversation: Callable[[Conversation], None], assert_same: Callable[..., None]
) -> None:
    assert_same(conversation)
