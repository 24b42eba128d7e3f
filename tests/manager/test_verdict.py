"""The exceptions by which a function decides about its job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gearman_manager import Reject, Retry, Throttled
from gearman_manager.verdict import DEFAULT_ATTEMPTS


@pytest.mark.parametrize(
    ("after", "seconds"),
    [(None, None), ("10m", 600), ("250ms", 0.25), (30, 30), (0.5, 0.5), (0, 0), (timedelta(minutes=2), 120)],
)
def test_a_wait_is_a_duration_or_a_number_of_seconds(
    after: str | float | timedelta | None, seconds: float | None
) -> None:
    assert Retry(after=after).after_s == seconds


@pytest.mark.parametrize("after", ["10", "soon", -1, "-1s", float("nan"), float("inf"), "9999d", [10], b"10m", True])
def test_an_invalid_wait_is_refused(after: Any) -> None:
    with pytest.raises(ValueError, match=r"duration|too long"):
        Retry(after=after)


def test_attempts_are_limited_unless_the_function_asks_otherwise() -> None:
    assert Retry().attempts == DEFAULT_ATTEMPTS
    assert Retry(attempts=None).attempts is None
    with pytest.raises(ValueError, match="a number from 1 up"):
        Retry(attempts=0)


def test_a_hold_has_a_time_and_a_scope() -> None:
    throttled = Throttled("421 busy", after="5m")
    assert (str(throttled), throttled.after_s, throttled.scope) == ("421 busy", 300, "key")
    assert Throttled(after=1, scope="function").scope == "function"
    with pytest.raises(ValueError, match="after: a time above 0 is expected"):
        Throttled(after=0)
    with pytest.raises(ValueError, match="scope: key or function is expected, not 'pool'"):
        Throttled(after=1, scope="pool")


def test_the_reason_is_the_text_of_the_exception() -> None:
    assert str(Retry("the server is busy", after=1)) == "the server is busy"
    assert str(Reject("no such customer")) == "no such customer"
