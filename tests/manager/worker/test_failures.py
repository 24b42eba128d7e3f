"""What is told of an error."""

from __future__ import annotations

import pytest

from gearman_manager.worker.failures import MAX_TRACE_BYTES, trace_of

LINE = "fünf Füchse\n"


@pytest.mark.parametrize("text", [LINE * 10_000, "ü" * 40_000])
def test_a_long_traceback_is_cut_to_whole_lines_that_fit_as_they_are_sent(text: str) -> None:
    trace = trace_of(ValueError(text))
    assert MAX_TRACE_BYTES - len(LINE.encode()) <= len(trace.encode()) <= MAX_TRACE_BYTES
    assert not trace.startswith("Traceback")
    assert set(trace.splitlines(keepends=True)[:-1]) <= {LINE}
