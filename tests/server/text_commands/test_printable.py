"""Bytes from outside as text in an answer's column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_server.text_commands.printable import printable


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain text", b"plain text"),
        (b"a\tb\nc", b"a\\x09b\\x0ac"),
        (b"C:\\new", b"C:\\x5cnew"),
        (b"\x1b[2J\x7f\xff\x00", b"\\x1b[2J\\x7f\\xff\\x00"),
        ("größe\n".encode(), "größe\\x0a".encode()),
        ("日本\n🙂".encode(), "日本\\x0a🙂".encode()),
        ("\u200b\U000e0001".encode(), b"\\xe2\\x80\\x8b\\xf3\\xa0\\x80\\x81"),
    ],
)
def test_what_is_no_printable_character_is_shown_as_its_bytes(data: bytes, shown: bytes) -> None:
    assert printable(data) == shown
    assert printable(data) == shown  # the second time from what was kept


@given(st.binary())
def test_nothing_is_lost_and_nothing_acts(data: bytes) -> None:
    shown = printable(data)
    assert shown.decode("utf-8", "surrogateescape").isprintable()
    assert shown.decode().encode().decode("unicode_escape").encode("latin-1") == data
