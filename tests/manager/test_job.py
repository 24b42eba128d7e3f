"""The values that a worker function may return, and their encoding."""

from __future__ import annotations

from typing import Any

import pytest

from gearman_manager.job import MAX_RESULT_BYTES, encode_result


@pytest.mark.parametrize(
    ("returned", "sent"),
    [
        (b"\0bytes", b"\0bytes"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        ("grüße", "grüße".encode()),
        (None, b""),
        ("", b""),
        (7, b"7"),
        (True, b"true"),
        ({"ä": [1, None]}, '{"ä": [1, null]}'.encode()),
    ],
)
def test_a_return_value_becomes_the_result(returned: Any, sent: bytes) -> None:
    assert encode_result(returned) == sent


@pytest.mark.parametrize("returned", [object(), {1, 2}, {"a": b"bytes"}, float])
def test_a_value_that_json_can_not_hold_is_refused_by_its_type(returned: Any) -> None:
    with pytest.raises(TypeError, match=type(returned).__name__):
        encode_result(returned)


def test_endless_structures_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="list"):
        encode_result(endless)


def test_a_result_that_no_packet_can_hold_is_refused_with_the_limit() -> None:
    assert len(encode_result(bytes(MAX_RESULT_BYTES))) == MAX_RESULT_BYTES
    with pytest.raises(ValueError, match=f"{MAX_RESULT_BYTES + 1} bytes, the limit is {MAX_RESULT_BYTES}"):
        encode_result(bytes(MAX_RESULT_BYTES + 1))
