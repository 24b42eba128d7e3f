"""The job for rq."""

import noop_counter


def noop() -> None:
    """Do nothing."""
    noop_counter.count()
