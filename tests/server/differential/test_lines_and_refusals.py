"""Conversations with text lines, odd names, and malformed packets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.packet import ARGUMENT_COUNTS, PacketType, encode_request

from .conftest import Conversation


def functions(talk: Conversation) -> None:
    talk.text("create", "operator", b"create function abc\r")
    talk.text("create again", "operator", b"create function abc\r")
    talk.text("status", "operator", b"status")
    talk.text("drop unknown", "operator", b"drop function nothing")
    talk.text("drop", "operator", b"drop function abc")
    talk.text("gone", "operator", b"status")
    talk.step("can do", "worker", "CAN_DO", b"f")
    talk.text("drop with a worker", "operator", b"drop function f")
    talk.text("bare line feed", "operator", b"create function abcdef")
    talk.text("cut name", "operator", b"status")


def text_lines(talk: Conversation) -> None:
    for line in (
        b"status",
        b"STATUS extra words",
        b"prioritystatus",
        b"show jobs",
        b"show unique jobs",
        b"Show Unique Jobs",
        b"show",
        b"show unique",
        b"show foo",
        b"cancel",
        b"cancel job",
        b"cancel foo bar",
        b"cancel job H:x:1",
        b"create function",
        b"create foo bar",
        b"create function a b",
        b"drop function",
        b"drop foo bar",
        b"maxqueue",
        b"maxqueue f 1",
        b"shutdown",
        b"shutdown graceful",
        b"nonsense",
        b"nonsense with words",
        b"",
        b" status",
        b"version\t",
        b"sta\0tus",
    ):
        talk.text(repr(line), "operator", line)
    talk.text("maxqueue f", "operator", b"maxqueue f")
    talk.text("six words", "operator", b"a b c d e f")


def refusals(talk: Conversation) -> None:
    for number in (5, 6, 8, 10, 11, 17, 19, 20, 27, 31, 40, 42):
        talk.step(f"type {number}", "client", number, *[b"x"] * ARGUMENT_COUNTS.get(number, 0))
    talk.step("all yours", "client", "ALL_YOURS")
    talk.step("option", "client", "OPTION_REQ", b"something")
    talk.raw("a response's magic", "client", b"\0RES" + encode_request(PacketType.GRAB_JOB)[4:], is_answered=True)
    talk.step("echo", "client", "ECHO_REQ", b"da\0ta")
    talk.step("still served", "client", "SUBMIT_JOB_BG", b"f", b"", b"")
    for name, garbage in (
        ("no magic", b"\0XYZ" + b"\0" * 8),
        ("type 0", b"\0REQ" + b"\0" * 8),
        ("type 43", b"\0REQ\0\0\0\x2b\0\0\0\0"),
        ("type 43 as a response", b"\0RES\0\0\0\x2b\0\0\0\0"),
    ):
        talk.raw(name, f"villain {name}", garbage)


def too_few_arguments(talk: Conversation) -> None:
    talk.raw("submit", "villain", encode_request(PacketType.SUBMIT_JOB, b"f"))
    talk.raw("complete", "villain 2", encode_request(PacketType.WORK_COMPLETE, b"H:x:1"))
    talk.raw("three strings", "villain 3", encode_request(PacketType.SUBMIT_REDUCE_JOB, b"f", b"u", b"sum", b"work"))


def odd_names(talk: Conversation) -> None:
    talk.step("with a blank", "client", "SUBMIT_JOB_BG", b"a b", b"", b"w")
    talk.step("utf-8", "client", "SUBMIT_JOB_BG", "straße".encode(), b"", b"w")
    talk.step("can do", "worker", "CAN_DO", b"own")
    talk.step("submits to itself", "worker", "SUBMIT_JOB", b"own", b"", b"w")
    talk.step("runs it", "worker", "GRAB_JOB")
    talk.step("can do nothing", "worker", "CAN_DO", b"")
    talk.step("submit to nothing", "client", "SUBMIT_JOB_BG", b"", b"", b"w")


def tabs_in_names(talk: Conversation) -> None:
    talk.step("submit", "client", "SUBMIT_JOB_BG", b"a\tb", b"", b"w")
    talk.step("can do", "worker", "CAN_DO", b"a\tb")
    talk.step("can do another", "worker", "CAN_DO", b"a\t1\t2\t3")
    talk.text("status", "operator", b"status")
    talk.text("prioritystatus", "operator", b"prioritystatus")
    talk.text("workers", "operator", b"workers")
    talk.text("create", "operator", b"create function c\td\r")
    talk.text("limit", "operator", b"maxqueue a\tb 1")
    talk.step("refused", "client", "SUBMIT_JOB_BG", b"a\tb", b"", b"w")
    talk.text("drop", "operator", b"drop function c\td")
    talk.step("grab", "worker", "GRAB_JOB")


CONVERSATIONS = (
    functions,
    text_lines,
    refusals,
    too_few_arguments,
    odd_names,
    tabs_in_names,
)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.__name__)
def test_our_server_answers_as_gearmand_does(
    conversation: Callable[[Conversation], None], assert_same: Callable[..., None]
) -> None:
    assert_same(conversation)
