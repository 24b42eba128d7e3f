"""Codecs: what they make of values, and what they say to values and results that they can't handle."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_client import ArgumentError, BytesCodec, GzipCodec, JsonCodec, ResultNotDecoded

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_without_a_codec_bytes_stay_and_text_is_utf_8() -> None:
    assert (BytesCodec().encode(b"\xff"), BytesCodec().encode("ä"), BytesCodec().decode(b"\xff")) == (
        b"\xff",
        b"\xc3\xa4",
        b"\xff",
    )


@given(JSON_VALUES)
def test_json_gives_back_what_it_was_given(value: Any) -> None:
    assert JsonCodec().decode(JsonCodec().encode(value)) == value


def test_no_bytes_are_none_in_json() -> None:
    assert JsonCodec().decode(b"") is None


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object(), {(1, 2): 3}, b"bytes"])
def test_a_value_without_a_json_form_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match="the workload has no JSON form"):
        JsonCodec().encode(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ArgumentError, match="no JSON form"):
        JsonCodec().encode(value)


@pytest.mark.parametrize("data", [b"sumsaR", b"{", b"\xff", b"[" * 100_000])
def test_a_result_that_is_not_json_keeps_its_bytes(data: bytes) -> None:
    with pytest.raises(ResultNotDecoded, match="the result is not JSON") as raised:
        JsonCodec().decode(data)
    assert raised.value.data == data


@given(st.binary())
def test_gzip_gives_back_what_it_was_given(data: bytes) -> None:
    codec = GzipCodec(above_bytes=10)
    assert codec.decode(codec.encode(data)) == data
    assert codec.decode(codec.encode(b"\x1f\x8b" + data)) == b"\x1f\x8b" + data


def test_gzip_compresses_above_a_size_in_the_format_of_every_other_tool() -> None:
    codec = GzipCodec(JsonCodec(), above_bytes=100)
    assert codec.encode([1]) == b"[1]"
    packed = codec.encode(["long"] * 100)
    assert len(packed) < 100
    assert gzip.decompress(packed) == JsonCodec().encode(["long"] * 100)
    assert codec.decode(gzip.compress(b'{"a": 1}')) == {"a": 1}


@pytest.mark.parametrize("data", [b"\x1f\x8bnonsense", gzip.compress(b"abc" * 100, mtime=0)[:-12]])
def test_a_result_that_is_not_whole_keeps_its_bytes(data: bytes) -> None:
    with pytest.raises(ResultNotDecoded, match="gzip") as raised:
        GzipCodec().decode(data)
    assert raised.value.data == data


def test_a_small_result_that_would_fill_the_memory_is_refused_before_it_does() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(ResultNotDecoded, match="raise max_result_bytes"):
            GzipCodec(max_result_bytes=1024 * 1024).decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_the_limits_of_gzip_are_numbers() -> None:
    with pytest.raises(ArgumentError, match="above_bytes 0"):
        GzipCodec(above_bytes=0)
