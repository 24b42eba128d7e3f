"""Worker counts: the forms that are read, the refusals, and that reading inverts writing."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.config.worker_count import WorkerCount, parse_worker_count
from gearman_process.errors import UnitError


@pytest.mark.parametrize(
    ("value", "cores", "workers"), [(4, 8, 4), ("4", 8, 4), ("2/core", 8, 16), ("1/core", 1, 1), (0, 8, 0)]
)
def test_a_worker_count_is_absolute_or_per_core(value: object, cores: int, workers: int) -> None:
    assert parse_worker_count(value).resolve(cores) == workers


@pytest.mark.parametrize("value", ["0/core", "2/cores", "1.5/core", "many", -1, 1.5, True, None, "9" * 30])
def test_an_invalid_worker_count_is_refused(value: object) -> None:
    with pytest.raises(UnitError):
        parse_worker_count(value)


def test_the_message_for_a_count_below_its_minimum_names_the_minimum() -> None:
    with pytest.raises(
        UnitError, match=r"^a whole number from 1 up, or a number per core such as 2/core, is .*, not 0$"
    ):
        parse_worker_count(0, minimum=1)


@given(st.builds(WorkerCount, st.integers(1, 100_000), st.booleans()))
def test_a_written_worker_count_is_read_back_unchanged(count: WorkerCount) -> None:
    assert parse_worker_count(str(count)) == count


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.integers())))
def test_any_text_is_either_read_or_refused_with_a_value_error(value: object) -> None:
    with suppress(UnitError):
        parse_worker_count(value)
