"""Sizes: the forms that are read, the refusals with their words, and that reading inverts writing."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_process.errors import UnitError
from gearman_process.values.sizes import MAX_SIZE_BYTES, format_size, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("512B", 512),
        ("4kB", 4000),
        ("4KB", 4000),
        ("300MB", 300_000_000),
        ("300mb", 300_000_000),
        ("1GiB", 1 << 30),
        ("1.5GiB", 3 << 29),
        ("2TB", 2 * 10**12),
        (0, 0),
        ("0", 0),
    ],
)
def test_a_size_is_read_as_bytes(text: object, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (300, "a size needs a unit: write 300MB (allowed: 300MB or 1GiB), not 300"),
        ("300M", "a size such as 300MB or 1GiB is expected, not '300M'"),
        ("much", "a size such as 300MB or 1GiB is expected, not 'much'"),
        (-1, "a size such as 300MB or 1GiB is expected, not -1"),
        ({}, "a size such as 300MB or 1GiB is expected, not a mapping"),
        ("9999999TB", "'9999999TB' is too much, at most 1048576TiB is allowed"),
        ("9" * 5000 + "B", f"'{'9' * 37}...' is too much, at most 1048576TiB is allowed"),
        ("9" * 400 + ".5B", f"'{'9' * 37}...' is too much, at most 1048576TiB is allowed"),
    ],
)
def test_an_invalid_size_is_refused_with_the_allowed_forms(value: object, message: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_size_bytes(value)
    assert str(caught.value) == message


@given(st.integers(min_value=0, max_value=MAX_SIZE_BYTES))
def test_a_written_size_is_read_back_unchanged(size_bytes: int) -> None:
    assert parse_size_bytes(format_size(size_bytes)) == size_bytes


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.integers())))
def test_any_text_is_either_read_or_refused_with_a_value_error(value: object) -> None:
    with suppress(UnitError):
        parse_size_bytes(value)
