"""The job for rq."""

from __future__ import annotations

import noop_counter


def noop() -> None:
    """Do nothing."""
    noop_counter.count()
