"""Rates: the forms that are read, the form for no limit, and the refusals."""

from __future__ import annotations

import pytest

from gearman_process.errors import UnitError
from gearman_process.values.rates import parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/s", (1, 1)),
        ("100/m", (100, 60)),
        ("2/h", (2, 3600)),
        ("100000/d", (100_000, 86400)),
        ("0" * 30 + "5/s", (5, 1)),
        ("20/1m", (20, 60)),
        ("20/90s", (20, 90)),
    ],
)
def test_a_rate_is_a_number_in_a_number_of_seconds(text: str, rate: tuple[int, float]) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("value", [0, "0"])
def test_zero_is_no_limit(value: object) -> None:
    assert parse_rate(value) is None


@pytest.mark.parametrize(
    "value", [5, "5", "0/s", "100001/s", "5/w", "5/0s", "5/10000s", "5 / s", "-1/s", [], True, False, "9" * 5000 + "/s"]
)
def test_an_invalid_rate_is_refused_with_the_allowed_forms(value: object) -> None:
    with pytest.raises(UnitError, match="such as 5/s or 100/m"):
        parse_rate(value)
