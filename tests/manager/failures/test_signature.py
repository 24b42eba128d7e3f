"""Which failures are the same: by the exception and the place in the user's code, whatever stands around it."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_manager.failures.signature import MOST_CHARACTERS, Signature, signature_of

FRAMES = """Traceback (most recent call last):
  File "/opt/gm/gearman_manager/worker/function_call.py", line 121, in run_job
    result = function.call(job)
  File "/srv/workers/mail/send_email.py", line 12, in send_email
    deliver(job)
  File "/srv/workers/mail/send_email.py", line 30, in deliver
    smtp.send(message)
  File "/usr/lib/python3.11/smtplib.py", line 350, in send
    raise SMTPServerDisconnected("please run connect() first")
smtplib.SMTPServerDisconnected: please run connect() first
"""
ROOTS = ("/srv/workers",)


def test_the_innermost_frame_of_the_users_code_is_the_place() -> None:
    found = signature_of("SMTPServerDisconnected: please run connect() first", FRAMES, "exception", ROOTS)
    assert found == Signature(
        "SMTPServerDisconnected", "mail.send_email.deliver", "/srv/workers/mail/send_email.py", 30
    )
    moved = FRAMES.replace("line 30", "line 99")
    again = signature_of("SMTPServerDisconnected: another text", moved, "exception", ROOTS)
    assert again.group_of("f") == found.group_of("f") != found.group_of("g")
    assert again.line == 99
    elsewhere = signature_of("SMTPServerDisconnected: x", FRAMES, "exception")  # another manager's folder
    assert elsewhere.place == "send_email.deliver"


def test_a_traceback_whose_beginning_is_cut_is_enough() -> None:
    found = signature_of("SMTPServerDisconnected: x", FRAMES[FRAMES.index("deliver(job)") + 4 :], "exception", ROOTS)
    assert found.place == "mail.send_email.deliver"


def test_what_python_itself_writes_is_understood(tmp_path: Path) -> None:
    source = """
import json

def parse(text):
    try:
        json.loads(text)
    except ValueError as error:
        raise LookupError("no such thing") from error

def several(text):
    try:
        parse(text)
    except LookupError as error:
        raise ExceptionGroup("two", [error, KeyError("k")])

def deep(text):
    import json
    json.loads(text)

class Shop:
    def buy(self, text):
        [int(each) for each in text]
"""
    (tmp_path / "shop").mkdir()
    file = tmp_path / "shop" / "__init__.py"
    names: dict[str, object] = {}
    exec(compile(source, str(file), "exec"), names)

    def failure(act: Callable[[], object]) -> Signature:
        try:
            act()
        except Exception as error:  # noqa: BLE001 (as a worker does)
            text = "".join(traceback.format_exception(error))
            return signature_of(f"{type(error).__name__}: {error}", text, "exception", [str(tmp_path)])
        raise AssertionError

    def called(name: str) -> Signature:
        return failure(lambda: names[name]("{"))  # type: ignore[operator]

    assert (called("parse").exception, called("parse").place, called("parse").line) == ("LookupError", "shop.parse", 8)
    assert (called("deep").exception, called("deep").place) == ("JSONDecodeError", "shop.deep")
    assert called("several").exception == "ExceptionGroup"
    assert called("several").place.startswith("shop.")
    bought = failure(lambda: names["Shop"]().buy("x"))  # type: ignore[operator]
    assert bought.exception == "ValueError"
    assert bought.place == ("shop.listcomp" if sys.version_info < (3, 12) else "shop.buy")


def test_frames_of_libraries_alone_are_better_than_none() -> None:
    text = 'Traceback (most recent call last):\n  File "/usr/lib/python3.11/json/decoder.py", line 3, in decode\n'
    assert signature_of("ValueError", text, "exception") == Signature(
        "ValueError", "decoder.decode", "/usr/lib/python3.11/json/decoder.py", 3
    )


@pytest.mark.parametrize(
    ("one", "other", "general"),
    [
        ("SQLSTATE[HY000] [2002] timeout", "SQLSTATE[HY000] [2003] timeout", "SQLSTATE[HYN] [N] timeout"),
        ("job H:box:12 is 3 s late", "job H:other-box:99 is 40 s late", "job HANDLE is N s late"),
        ("user 'ann' unknown", 'user "bob" unknown', "user '…' unknown"),
        ("at 0x7f00aa1 <obj>", "at 0x1 <obj>", "at HEX <obj>"),
        ("key deadbeef0123", "key 0123456789abcdef", "key HEX"),
        ("id 6f1c1a52-9f3e-4a55-8b5e-0e8b7c1d2f3a\nline 2", "id 00000000-0000-0000-0000-000000000000", "id UUID"),
        ("disk full at line 7", "disk full at line 8", "disk full at line N"),
    ],
)
def test_texts_without_frames_are_the_same_but_for_what_changes(one: str, other: str, general: str) -> None:
    assert signature_of(one, "", "exception") == signature_of(other, "", "exception") == Signature(general)


def test_without_a_text_the_outcome_is_what_one_knows() -> None:
    assert signature_of("", "", "failed") == Signature("failed")
    assert signature_of(" \n", "", "lost") == Signature("lost")


@pytest.mark.parametrize(
    "text",
    [
        '  File "' * 4000,
        "H:" + "a" * 16_000,
        "'" * 16_000,
        "0x" * 8000 + "g",
        "a" * 16_000,
        "a." * 8000,
        "-" * 16_000,
        "|" * 15_000 + 'File "x", line 1, in y',
        "Traceback (most recent call last):\n" * 400,
        "\ud800\x00\x1b[31m<script>",
        "\u0661" * 4000,
    ],
)
def test_hostile_texts_take_no_time_and_have_a_bounded_name(text: str) -> None:
    began = time.thread_time()
    for error, trace in ((text, ""), ("", text), (text, text)):
        found = signature_of(error, trace, "failed")
        assert len(found.exception) <= MOST_CHARACTERS
        assert len(found.place) <= MOST_CHARACTERS
        assert len(found.group_of(text)) == 16
    assert time.thread_time() - began < 0.5
