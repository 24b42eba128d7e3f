"""Durations, sizes and counts: what is read, what is refused and with which words, and that writing inverts reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.units import (
    MAX_DURATION_S,
    MAX_SIZE_BYTES,
    UnitError,
    WorkerCount,
    format_duration,
    format_size,
    parse_duration_s,
    parse_size_bytes,
    parse_worker_count,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("7d", 604800.0),
        ("0s", 0.0),
        (0, 0.0),
        ("0", 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(text: object, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (30, "a duration needs a unit: write 30s (allowed: 500ms, 30s, 5m, 1h or 7d), not 30"),
        ("30", "a duration needs a unit: write 30s (allowed: 500ms, 30s, 5m, 1h or 7d), not '30'"),
        (1.5, "a duration needs a unit: write 1.5s (allowed: 500ms, 30s, 5m, 1h or 7d), not 1.5"),
        ("soon", "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not 'soon'"),
        ("-5s", "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not '-5s'"),
        (-5, "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not -5"),
        ("5 s", "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not '5 s'"),
        ("1w", "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not '1w'"),
        ("30s\n", "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not '30s\\n'"),
        ("", "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not ''"),
        (True, "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not true"),
        (None, "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not nothing"),
        ([], "a duration such as 500ms, 30s, 5m, 1h or 7d is expected, not a list"),
        ("9999d", "'9999d' is too long, at most 3650d is allowed"),
        ("9" * 400 + "d", f"'{'9' * 37}...' is too long, at most 3650d is allowed"),
    ],
)
def test_what_is_no_duration_is_refused_with_what_is_allowed(value: object, message: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_duration_s(value)
    assert str(caught.value) == message


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
def test_what_is_no_size_is_refused_with_what_is_allowed(value: object, message: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_size_bytes(value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "cores", "workers"), [(4, 8, 4), ("4", 8, 4), ("2/core", 8, 16), ("1/core", 1, 1), (0, 8, 0)]
)
def test_a_worker_count_is_absolute_or_per_core(value: object, cores: int, workers: int) -> None:
    assert parse_worker_count(value).resolve(cores) == workers


@pytest.mark.parametrize("value", ["0/core", "2/cores", "1.5/core", "many", -1, 1.5, True, None, "9" * 30])
def test_what_is_no_worker_count_is_refused(value: object) -> None:
    with pytest.raises(UnitError):
        parse_worker_count(value)


def test_a_count_below_its_minimum_names_the_minimum() -> None:
    with pytest.raises(
        UnitError, match=r"^a whole number from 1 up, or a number per core such as 2/core, is .*, not 0$"
    ):
        parse_worker_count(0, minimum=1)


@given(st.integers(min_value=0, max_value=int(MAX_DURATION_S * 1000)))
def test_a_duration_that_is_written_is_read_as_the_same(milliseconds: int) -> None:
    assert parse_duration_s(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(min_value=0, max_value=MAX_SIZE_BYTES))
def test_a_size_that_is_written_is_read_as_the_same(size_bytes: int) -> None:
    assert parse_size_bytes(format_size(size_bytes)) == size_bytes


@given(st.builds(WorkerCount, st.integers(1, 100_000), st.booleans()))
def test_a_worker_count_that_is_written_is_read_as_the_same(count: WorkerCount) -> None:
    assert parse_worker_count(str(count)) == count


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.integers())))
def test_whatever_is_written_is_read_or_refused_and_nothing_else(value: object) -> None:
    for parse in (parse_duration_s, parse_size_bytes, parse_worker_count):
        try:
            parse(value)
        except UnitError:
            continue


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.5, "500ms"), (90, "90s"), (120, "2m"), (3600, "1h"), (86400, "1d")]
)
def test_a_duration_is_written_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
