"""Lists in packets about many jobs: they come back as they were, and no bytes of a peer do anything but be refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_client.packet import count_of, encode_workloads, split_workloads

MOST = 200


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=MOST))
def test_workloads_of_any_bytes_come_back(workloads: list[bytes]) -> None:
    assert split_workloads(encode_workloads(workloads), len(workloads)) == workloads


@given(st.binary(max_size=100), st.integers(1, MOST))
def test_any_bytes_are_so_many_workloads_or_none(data: bytes, count: int) -> None:
    try:
        workloads = split_workloads(data, count)
    except ValueError:
        return
    assert len(workloads) == count
    assert encode_workloads(workloads) == data


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 1),
        (b"\0\0\0", 1),
        (b"\0\0\0\0", 2),
        (b"\0\0\0\1", 1),
        (b"\0\0\0\1ab", 1),
        (b"\xff\xff\xff\xffab", 1),
        (b"\0\0\0\1\xff\xff\xff\xffa", 2),
        (b"\0\0\0\0\0", 1),
    ],
)
def test_lengths_that_do_not_fit_are_refused(data: bytes, count: int) -> None:
    with pytest.raises(ValueError, match=r"workloads of|lengths"):
        split_workloads(data, count)


@pytest.mark.parametrize("digits", [b"", b"0", b"201", b"-1", b"+1", b" 1", b"1e2", b"\xb2", b"9" * 5000])
def test_numbers_out_of_range_are_refused(digits: bytes) -> None:
    with pytest.raises(ValueError, match="no number of jobs from 1 to 200"):
        count_of(digits, MOST)
    assert count_of(b"200", MOST) == 200
