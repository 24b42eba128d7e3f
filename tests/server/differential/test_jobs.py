"""Conversations about jobs that clients submit, join, leave and cancel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType, encode_request

from .conftest import Conversation


def submissions(talk: Conversation) -> None:
    for kind in ("", "_BG", "_HIGH", "_HIGH_BG", "_LOW", "_LOW_BG"):
        talk.step(f"submit{kind}", "client", f"SUBMIT_JOB{kind}", b"f", b"", b"work\0load")
    talk.step("empty workload", "client", "SUBMIT_JOB_BG", b"f", b"", b"")
    talk.text("status", "client", b"status")
    talk.text("prioritystatus", "client", b"prioritystatus")
    talk.text("show jobs", "client", b"show jobs")
    talk.step("scheduled", "client", "SUBMIT_JOB_SCHED", b"f", b"u", b"1", b"1", b"1", b"1", b"1", b"w")


def coalescing(talk: Conversation) -> None:
    for number, (unique, workload) in enumerate(
        [(b"u", b"1"), (b"u", b"2"), (b"", b"1"), (b"", b"1"), (b"-", b"1"), (b"-", b"1"), (b"-", b"2"), (b"-", b"")]
    ):
        talk.step(f"submit {number}", "client", "SUBMIT_JOB", b"f", unique, workload)
    talk.step("empty again", "client", "SUBMIT_JOB", b"f", b"-", b"")
    talk.step("other client", "client 2", "SUBMIT_JOB_HIGH", b"f", b"u", b"3")
    talk.step("background", "client 2", "SUBMIT_JOB_BG", b"f", b"u", b"3")
    talk.step("unique status", "client", "GET_STATUS_UNIQUE", b"u")
    talk.step("other function", "client", "SUBMIT_JOB", b"g", b"u", b"1")
    talk.text("show unique jobs", "client", b"show unique jobs")
    talk.step("can do", "worker", "CAN_DO", b"f")
    talk.step("grab", "worker", "GRAB_JOB_UNIQ")
    talk.step("joins while it runs", "client 3", "SUBMIT_JOB", b"f", b"u", b"")
    talk.step("data", "worker", "WORK_DATA", b"{1}", b"some")
    talk.step("complete", "worker", "WORK_COMPLETE", b"{1}", b"result")
    talk.step("free again", "client", "SUBMIT_JOB_BG", b"f", b"u", b"1")


def long_arguments(talk: Conversation) -> None:
    talk.step("unique 64", "client", "SUBMIT_JOB_BG", b"f", b"u" * 63 + b"1", b"1")
    talk.step("another unique 64", "client", "SUBMIT_JOB_BG", b"f", b"u" * 63 + b"2", b"1")
    talk.step("unique 65", "client", "SUBMIT_JOB_BG", b"f", b"u" * 65, b"1")
    talk.step("reducer 65", "client", "SUBMIT_REDUCE_JOB", b"f", b"u", b"r" * 65, b"", b"1")
    talk.step("reduce unique 65", "client", "SUBMIT_REDUCE_JOB", b"f", b"v" * 65, b"r", b"", b"1")
    talk.raw("status handle 64", "client 2", encode_request(PacketType.GET_STATUS, b"h" * 64))
    talk.raw("status unique 64", "client 3", encode_request(PacketType.GET_STATUS_UNIQUE, b"h" * 64))
    talk.step("fail handle 64", "worker", "WORK_FAIL", b"h" * 64)
    talk.step("option 64", "client", "OPTION_REQ", b"o" * 64)


def priorities(talk: Conversation) -> None:
    for kind in ("_LOW", "", "_HIGH", "_LOW", "", "_HIGH"):
        talk.step(f"submit{kind} {talk.count}", "client", f"SUBMIT_JOB{kind}", b"f", b"", b"%d" % talk.count)
    talk.step("can do", "worker", "CAN_DO", b"f")
    for number in range(7):
        talk.step(f"grab {number}", "worker", "GRAB_JOB")
    talk.text("status", "client", b"status")


def priorities_across_functions(talk: Conversation) -> None:
    for name in (b"f1", b"f2"):
        talk.step(f"can do {name!r}", "worker", "CAN_DO", name)
    talk.step("low of the last", "client", "SUBMIT_JOB_LOW", b"f2", b"", b"low")
    talk.step("high of the first", "client", "SUBMIT_JOB_HIGH", b"f1", b"", b"high")
    talk.step("grab 1", "worker", "GRAB_JOB")
    talk.step("grab 2", "worker", "GRAB_JOB")


def reducing(talk: Conversation) -> None:
    talk.step("can do", "worker", "CAN_DO", b"f")
    for number in range(3):
        talk.step(f"submit {number}", "client", "SUBMIT_REDUCE_JOB", b"f", b"", b"sum", b"slot", b"w")
    talk.step("background", "client", "SUBMIT_REDUCE_JOB_BACKGROUND", b"f", b"u", b"sum", b"", b"w\0w")
    for number, kind in enumerate(("", "_UNIQ", "_ALL", "_ALL")):
        talk.step(f"grab{kind} {number}", "worker", f"GRAB_JOB{kind}")
    talk.step("complete", "worker", "WORK_COMPLETE", b"{1}", b"r")


def epochs(talk: Conversation) -> None:
    talk.step("can do", "worker", "CAN_DO", b"f")
    talk.step("sleep", "worker", "PRE_SLEEP")
    far = b"4000000000"
    talk.step("future", "client", "SUBMIT_JOB_EPOCH", b"f", b"u", far, b"later")
    talk.step("none yet", "worker", "GRAB_JOB")
    talk.step("coalesces", "client", "SUBMIT_JOB_BG", b"f", b"u", b"w")
    talk.step("ask", "client", "GET_STATUS", b"{1}")
    talk.text("status", "client", b"status")
    talk.text("prioritystatus", "client", b"prioritystatus")
    for number, when in enumerate((b"0", b"1000", b"-7")):
        talk.step(f"past {number}", "client", "SUBMIT_JOB_EPOCH", b"f", b"", when, b"w")
        talk.step(f"grab {number}", "worker", "GRAB_JOB")
    talk.step("no number", "client", "SUBMIT_JOB_EPOCH", b"f", b"", b"soon", b"w")
    talk.step("out of range", "client", "SUBMIT_JOB_EPOCH", b"f", b"", b"9" * 30, b"w")


def full_queues(talk: Conversation) -> None:
    talk.text("create", "operator", b"create function f\r")
    talk.text("limit", "operator", b"maxqueue f 4 2 1")
    talk.step("low", "client", "SUBMIT_JOB_LOW_BG", b"f", b"u", b"w")
    talk.step("low refused", "client", "SUBMIT_JOB_LOW_BG", b"f", b"", b"w")
    talk.step("coalesces", "client", "SUBMIT_JOB_LOW_BG", b"f", b"u", b"w")
    talk.step("normal", "client", "SUBMIT_JOB_BG", b"f", b"", b"w")
    talk.step("normal refused", "client", "SUBMIT_JOB_BG", b"f", b"", b"w")
    talk.step("high 1", "client", "SUBMIT_JOB_HIGH_BG", b"f", b"", b"w")
    talk.step("high 2", "client", "SUBMIT_JOB_HIGH_BG", b"f", b"", b"w")
    talk.step("high refused", "client", "SUBMIT_JOB_HIGH_BG", b"f", b"", b"w")
    talk.text("two numbers", "operator", b"maxqueue f 1 1")
    talk.step("low has no limit", "client", "SUBMIT_JOB_LOW_BG", b"f", b"", b"w")
    talk.text("no limit", "operator", b"maxqueue f 0")
    talk.step("accepted", "client", "SUBMIT_JOB_BG", b"f", b"", b"w")
    talk.text("a limit again", "operator", b"maxqueue f 1")
    talk.step("refused again", "client", "SUBMIT_JOB_BG", b"f", b"", b"w")
    talk.text("no numbers", "operator", b"maxqueue f")
    talk.step("accepted again", "client", "SUBMIT_JOB_BG", b"f", b"", b"w")
    talk.text("of an unknown function", "operator", b"maxqueue g 1")


def cancelling(talk: Conversation) -> None:
    talk.step("can do", "worker", "CAN_DO", b"f")
    for number in range(2):
        talk.step(f"submit {number}", "client", "SUBMIT_JOB", b"f", b"%d" % number, b"w")
    talk.step("grab", "worker", "GRAB_JOB")
    talk.text("cancel the waiting one", "operator", b"cancel job {2}")
    talk.text("cancel it twice", "operator", b"cancel job {2}")
    talk.text("status", "operator", b"status")
    talk.text("cancel the running one", "operator", b"cancel job {1}")
    talk.step("its result", "worker", "WORK_COMPLETE", b"{1}", b"r")
    talk.step("nothing waits", "worker", "GRAB_JOB")


def leaving_clients(talk: Conversation) -> None:
    talk.step("can do", "worker", "CAN_DO", b"f")
    talk.step("submit", "client", "SUBMIT_JOB", b"f", b"u", b"1")
    talk.step("background", "client", "SUBMIT_JOB_BG", b"f", b"", b"2")
    talk.leave("the client leaves", "client")
    talk.step("grab what is left", "worker", "GRAB_JOB")
    talk.step("and nothing more", "worker", "GRAB_JOB")
    talk.step("submit again", "client 2", "SUBMIT_JOB", b"f", b"u", b"3")
    talk.step("grab it", "worker", "GRAB_JOB")
    talk.leave("the next client leaves", "client 2")
    talk.step("join the running job", "client 3", "SUBMIT_JOB", b"f", b"u", b"4")
    talk.step("complete", "worker", "WORK_COMPLETE", b"{3}", b"r")


def abandoning(talk: Conversation) -> None:
    talk.step("submit", "client", "SUBMIT_JOB", b"f", b"u", b"1")
    talk.leave("the client leaves", "client")
    talk.text("status", "client 2", b"status")
    talk.step("submit the same", "client 2", "SUBMIT_JOB", b"f", b"u", b"2")
    talk.step("can do", "worker", "CAN_DO", b"f")
    talk.step("grab", "worker", "GRAB_JOB")


CONVERSATIONS = (
    submissions,
    coalescing,
    long_arguments,
    priorities,
    priorities_across_functions,
    reducing,
    epochs,
    full_queues,
    cancelling,
    leaving_clients,
    abandoning,
)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.__name__)
def test_our_server_answers_as_gearmand_does(
    conversation: Callable[[Conversation], None], assert_same: Callable[..., None]
) -> None:
    assert_same(conversation)
