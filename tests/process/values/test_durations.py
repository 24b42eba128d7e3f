"""Durations: the forms that are read, the refusals with their words, and that reading inverts writing."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_process.errors import UnitError
from gearman_process.values.durations import MAX_DURATION_S, format_duration, parse_duration_s


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
        ("0.", 0.0),
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
def test_an_invalid_duration_is_refused_with_the_allowed_forms(value: object, message: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_duration_s(value)
    assert str(caught.value) == message


@given(st.integers(min_value=0, max_value=int(MAX_DURATION_S * 1000)))
def test_a_written_duration_is_read_back_unchanged(milliseconds: int) -> None:
    assert parse_duration_s(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.5, "500ms"), (90, "90s"), (120, "2m"), (3600, "1h"), (86400, "1d")]
)
def test_a_duration_is_written_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.integers())))
def test_any_text_is_either_read_or_refused_with_a_value_error(value: object) -> None:
    with suppress(UnitError):
        parse_duration_s(value)
